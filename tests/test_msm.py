"""The masked spectrogram model and its training: what is hidden stays hidden, and unmasked windows meet the right BatchNorm."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asdkit import msm
from asdkit.config import Config
from asdkit.msm import MSM, masked_error, random_hidden, to_cells, unpatchify
from asdkit.training import Crops, train_msm

SMALL = Config(width=16, train_hop=8, bottleneck=8, batch_size=16, steps=3)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def windows(n, width=16, seed=0):
    return torch.randn(n, 128, width, generator=generator(seed))


def new_model(width=16, bottleneck=8):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MSM(width, bottleneck).eval()


@pytest.fixture(scope="module")
def spectrograms():
    """Clips of one moving bump over mel bands: something to learn."""
    rng = np.random.default_rng(0)
    mel, time = np.arange(128)[:, None], np.arange(60)
    bumps = [np.exp(-(((mel - 64 - 40 * np.sin(time / 9 + phase)) / 12) ** 2)) for phase in rng.uniform(0, 6, 12)]
    x = np.stack(bumps) + 0.1 * rng.normal(size=(12, 128, 60))
    x = (x - x.mean((0, 2), keepdims=True)) / x.std((0, 2), keepdims=True)
    return list(torch.from_numpy(x.astype(np.float32)))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(1, 10), st.floats(0, 0.99), st.integers(0, 99))
def test_every_window_hides_the_same_number_of_patches(rows, columns, ratio, seed):
    hidden = random_hidden(4, (rows, columns), ratio, generator(seed))
    assert hidden.shape == (4, rows, columns)
    assert hidden.sum((1, 2)).tolist() == [round(ratio * rows * columns)] * 4


def test_masks_differ_by_window_and_repeat_by_seed():
    hidden = random_hidden(8, (8, 10), 0.6, generator())
    assert len(torch.unique(hidden.flatten(1), dim=0)) == 8
    assert torch.equal(hidden, random_hidden(8, (8, 10), 0.6, generator()))
    share = random_hidden(2000, (8, 10), 0.6, generator()).float().mean(0)
    assert (share - 0.6).abs().max() < 0.05  # no patch is favoured


def test_unpatchify_and_to_cells_equal_loops():
    patches = torch.randn(2, 16 * 8, 3, 4, generator=generator())
    hidden = torch.rand(2, 3, 4, generator=generator()) < 0.5
    laid_out, cells = torch.empty(2, 48, 32), torch.empty(2, 48, 32, dtype=torch.bool)
    for b, mel, frame in np.ndindex(2, 48, 32):
        laid_out[b, mel, frame] = patches[b, (mel % 16) * 8 + frame % 8, mel // 16, frame // 8]
        cells[b, mel, frame] = hidden[b, mel // 16, frame // 8]
    assert torch.equal(unpatchify(patches), laid_out)
    assert torch.equal(to_cells(hidden), cells)


def test_hidden_cells_have_no_effect_on_the_reconstruction():
    model, x = new_model(), windows(4)
    hidden = random_hidden(4, model.grid, 0.6, generator())
    seen = []

    def spy(masked):
        seen.append(model(masked))
        return seen[-1]

    masked_error(spy, x, hidden)
    masked_error(spy, torch.where(to_cells(hidden), 100 * windows(4, seed=1), x), hidden)
    assert torch.equal(*seen)
    masked_error(spy, torch.where(to_cells(hidden), x, windows(4, seed=1)), hidden)  # visible cells do have one
    assert not torch.allclose(seen[0], seen[2])


def test_error_counts_hidden_cells_only():
    model, x = new_model(), windows(3)
    hidden = random_hidden(3, model.grid, 0.6, generator())
    hidden[2] = False  # nothing hidden: all cells count
    masked, cells = x.clone(), to_cells(hidden)
    masked[cells] = 0
    with torch.no_grad():
        rebuilt, found = model(masked), masked_error(model, x, hidden)
    for i in range(3):
        counted = [c for c in np.ndindex(128, 16) if cells[i][c] or i == 2]
        naive = np.mean([(rebuilt[i][c] - x[i][c]).item() ** 2 for c in counted])
        assert found[i].item() == pytest.approx(naive, rel=1e-4)


def test_crops_are_windows_of_the_clips(spectrograms):
    crops = Crops(spectrograms, Config(width=16, train_hop=22), seed=0)(40)
    known = {spectrograms[i][:, s : s + 16].numpy().tobytes(): s for i in range(12) for s in (0, 22, 44)}
    assert {known[c.numpy().tobytes()] for c in crops} == {0, 22, 44}


def last_map(model, x):
    return model.encoder(x[:, None]).mean(-1).flatten(1)


def disagreement(model, x, read):
    """RMS distance of what is read from the scored model and from one normalised by these very windows, in its spread."""
    with torch.no_grad():
        scored = read(model.eval(), x)
        batch = read(model.train(), x)
    return ((scored - batch).square().mean().sqrt() / batch.std(0).mean()).item()


@pytest.fixture(scope="module")
def trained(spectrograms):
    """Networks after no and after some steps."""
    config = Config(width=16, train_hop=8, bottleneck=16, batch_size=32)
    return {steps: train_msm(spectrograms, replace(config, steps=steps), seed=0)[0] for steps in (0, 40)}


@pytest.mark.parametrize("steps", [0, 40])
def test_calibrated_batchnorm_agrees_with_unmasked_windows(spectrograms, trained, steps):
    """Training sees windows with holes, scoring whole ones: running statistics have to be those of whole ones."""
    model, crops = trained[steps], Crops(spectrograms, SMALL, seed=1)(512)
    assert not model.training
    for read in (MSM.embed, last_map):
        assert disagreement(copy.deepcopy(model), crops, read) < 0.1


def test_calibration_averages_batches():
    model, batches = new_model(), [windows(8, seed=s) for s in range(3)]
    msm.calibrate_batchnorm(model, batches)
    first = model.encoder[0]
    with torch.no_grad():
        outputs = [first(x[:, None]) for x in batches]
    expected = torch.stack([o.mean((0, 2, 3)) for o in outputs]).mean(0)
    torch.testing.assert_close(model.encoder[1].running_mean, expected)


def test_training_repeats_by_seed_and_leaves_the_global_generator_alone(spectrograms):
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    one, losses = train_msm(spectrograms, SMALL, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    torch.manual_seed(6)
    two, again = train_msm(spectrograms, SMALL, seed=3)
    other, _ = train_msm(spectrograms, SMALL, seed=4)
    assert losses == again and len(losses) == 3
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values()))
    assert not torch.equal(one.to_bottleneck.weight, other.to_bottleneck.weight)


def test_training_lowers_the_masked_error(spectrograms, trained):
    x = Crops(spectrograms, SMALL, seed=9)(128)
    hidden = random_hidden(128, (8, 2), 0.6, generator(9))
    with torch.no_grad():
        before, after = (masked_error(trained[n], x, hidden).mean() for n in (0, 40))
    assert after < 0.8 * before


def test_the_untrained_twin_has_the_initial_weights(spectrograms):
    model, _ = train_msm(spectrograms, replace(SMALL, steps=0), seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        initial = MSM(16, 8)
    assert torch.equal(model.to_bottleneck.weight, initial.to_bottleneck.weight)
    assert torch.equal(model.encoder[0].weight, initial.encoder[0].weight)
