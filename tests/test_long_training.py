"""The networks that `benchmarks/long_training.py` trains side by side are each trained as one is alone."""

import sys
from pathlib import Path

import pytest
import torch

from asdkit import msm
from asdkit.recordings import index_data

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))


def test_gradients_and_steps_are_those_of_torch_and_a_packed_machine_is_read_back(tiny_data, tmp_path):
    import long_training as long

    (pump, logmels), *_ = long.read(tiny_data)
    long.pack(pump, logmels, tmp_path)
    ((packed, rounded),) = long.read(tmp_path / "real-pump.npz")
    assert [c.label for c in packed.test] == [c.label for c in index_data(tiny_data)[0].test]
    assert max((a - b).abs().max() for a, b in zip(logmels, rounded)) < 0.05
    trainer = long.Trainer([long.Data(packed, rounded)], (0, 1), 1)
    trainer.reset()
    x = torch.stack([data.crops() for data, _ in trainer.nets])
    hidden = msm.random_hidden(2 * len(x[0]), (8, 10), 0.6, torch.default_generator).unflatten(0, x.shape[:2])
    for row, found, *batch in zip(trainer.weights, trainer.gradients(trainer.weights, x, hidden), x, hidden):
        model = msm.MSM().train()
        model.load_state_dict(trainer.named(row), strict=False)
        msm.masked_error(model, *batch).mean().backward()
        torch.testing.assert_close(found, torch.cat([p.grad.flatten() for p in model.parameters()]), rtol=1e-3, atol=1e-4)
    weights = torch.nn.Parameter(trainer.weights[0].clone())
    optimizer = torch.optim.AdamW([weights], lr=long.CONFIG.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, long.CONFIG.learning_rate, total_steps=4)
    given = torch.randn(4, *trainer.weights.shape)
    trainer.gradients = lambda *_: given[int(trainer.count)]
    trainer.capture(4)
    trainer.train(4)
    for gradient in given[:, 0]:
        weights.grad = gradient.clone()
        optimizer.step()
        schedule.step()
    assert trainer.weights[0].tolist() == pytest.approx(weights.tolist(), abs=1e-6)
