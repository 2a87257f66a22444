"""Learning curve of the masked model over steps and widths, longer than a processor has patience for.

    python benchmarks/long_training.py FOLDER ... [--steps 0 300 ...] [--widths 1 2 4] [--seeds 0 1 2] [--out CSV]

FOLDER  machines in the DCASE layout, or what `--pack` has made of them: log-mels rounded to half precision (0.03 dB), for a
        computer that has an accelerator but not the recordings
width   factor of the hidden layers (16, 32 channels; 128 units); the embedding keeps its 512 dimensions

The networks of all machines and seeds are trained side by side, on a GPU as one CUDA graph. Each number of steps is a training
of its own, with its own schedule. The embedding is scored alone, as in the system "msm". Rows are as in ``study.csv``, the
level the number of steps, the variant the width, the reference 300 steps of the same width. No training begins that would not
end within `--seconds`.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch
from torch import nn

from asdkit import Config, msm
from asdkit.blocks import network_seed, read_spectra
from asdkit.calibration import Fold, calibrated, hold_out
from asdkit.experiments import Evaluation, gather
from asdkit.experiments.ablation import METRICS, ablation_differences
from asdkit.experiments.families import systems
from asdkit.recordings import Clip, Machine, TrainingSet
from asdkit.recordings.files import write
from asdkit.scorer import fit_scorer
from asdkit.spectrogram import cut_windows, window_starts

CONFIG = systems(Config())["msm"]
CHANNELS, UNITS = msm.CHANNELS, msm.UNITS
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BETA_2, DECAY, EPS = 0.999, 1e-2, 1e-8  # of AdamW
REFERENCE = 300  # steps


def read(path: Path) -> list[tuple[Machine, list[torch.Tensor]]]:
    """Machines in a folder or of a packed file, each with the log-mels of its training and test clips."""
    if path.suffix != ".npz":
        return [(m, [read_spectra(c, CONFIG)["conditioned"] for c in (*m.train, *m.test)]) for m in gather([path])]
    with np.load(path) as stored:
        name, *splits = json.loads(str(stored["clips"]))
        frames = torch.from_numpy(stored["frames"]).float().split(stored["lengths"].tolist(), dim=1)
    train, test = (tuple(Clip(Path(p), domain=d, label=n, recording=r) for p, d, n, r in split) for split in splits)
    return [(Machine(name, path, train, test), list(frames))]


def pack(machine: Machine, logmels: list[torch.Tensor], folder: Path) -> None:
    """Write a machine to a file that `read` reads."""
    splits = [[(c.path.name, c.domain, c.label, c.recording) for c in split] for split in (machine.train, machine.test)]
    frames, lengths = torch.cat(logmels, dim=1).half().numpy(), [x.shape[1] for x in logmels]
    np.savez(folder / f"{machine.name}.npz", frames=frames, lengths=lengths, clips=json.dumps([machine.name, *splits]))


class Data:
    """Whitened log-mels of one machine on the device: all frames in a row, and where clips begin."""

    def __init__(self, machine: Machine, logmels: list[torch.Tensor]):
        self.machine, training = machine, TrainingSet.of(machine.train)
        by_place = dict(zip((c.place for c in machine.train), logmels))
        train, test = [by_place[c.place] for c in training.clips], logmels[len(machine.train) :]
        whiten = msm.BandWhitening.fit(train)
        self.training, self.train, self.test = training, *([whiten(x).to(DEVICE) for x in each] for each in (train, test))
        self.frames, lengths = torch.cat(self.train, dim=1), torch.tensor([x.shape[1] for x in train])
        self.windows = [self.cut(*each) for each in ((self.train, CONFIG.train_hop), (self.test, CONFIG.test_hop))]
        self.first, self.n_starts = (lengths.cumsum(0) - lengths).to(DEVICE), (lengths - CONFIG.width + 1).to(DEVICE)

    def cut(self, clips: list[torch.Tensor], hop: int) -> tuple[torch.Tensor, list[int]]:
        """The windows of all clips in a row, and how many there are of each."""
        windows = [cut_windows(x, window_starts(x.shape[1], CONFIG.width, hop), CONFIG.width) for x in clips]
        return torch.cat(windows), [len(x) for x in windows]

    def crops(self) -> torch.Tensor:
        """A batch of windows at random, (batch, n_mels, width)."""
        clip = torch.randint(len(self.first), (CONFIG.batch_size,), device=DEVICE)
        start = self.first[clip] + (torch.rand(len(clip), device=DEVICE) * self.n_starts[clip]).long()
        return self.frames[:, start[:, None] + torch.arange(CONFIG.width, device=DEVICE)].transpose(0, 1)


class Unfolded(msm.MSM):
    """The model with convolutions as matrix products, which many networks can do side by side; without running statistics."""

    def __init__(self):
        super().__init__()
        for i, layer in enumerate(self.encoder):
            if isinstance(layer, nn.Conv2d):
                self.encoder[i] = Convolution(layer)
        torch.func.replace_all_batch_norm_modules_(self)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """As `MSM.encode`."""
        return self.encoder(x[:, None])

    def forward(self, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Loss of a batch."""
        return msm.masked_error(self, x, hidden).mean()


class Convolution(nn.Module):
    """A convolution as the product of its patches and its weights."""

    def __init__(self, layer: nn.Conv2d):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.size, self.stride, self.padding = layer.kernel_size[0], layer.stride[0], layer.padding[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape: (batch, channels, rows, columns) -> the same, fewer rows and columns."""
        x = nn.functional.pad(x, 4 * [self.padding])
        rows, columns = ((n - self.size) // self.stride * self.stride + 1 for n in x.shape[2:])
        shifts = [(i, j) for i in range(self.size) for j in range(self.size)]
        patches = torch.stack([x[:, :, i : i + rows : self.stride, j : j + columns : self.stride] for i, j in shifts], dim=2)
        product = self.weight.flatten(1) @ patches.flatten(3).flatten(1, 2) + self.bias[:, None]
        return product.unflatten(2, patches.shape[3:])


class Trainer:
    """Trains the networks of one width side by side, one of each machine and seed, as `asdkit.training` trains one."""

    def __init__(self, datas: list[Data], seeds, width: int):
        msm.CHANNELS, msm.UNITS = (CHANNELS[0] * width, CHANNELS[1] * width, CHANNELS[2]), UNITS * width
        self.nets, self.seeds = [(data, seed) for data in datas for seed in seeds], seeds
        self.unfolded, self.model, self.graph = Unfolded().to(DEVICE), msm.MSM().to(DEVICE), None
        self.shapes = {name: p.shape for name, p in self.model.named_parameters()}
        self.initial = torch.stack([self.first_weights(seed) for _, seed in self.nets]).to(DEVICE)
        self.weights, self.m, self.v = (torch.zeros_like(self.initial) for _ in range(3))
        self.count = torch.zeros(1, dtype=torch.long, device=DEVICE)
        self.generator = torch.cuda.default_generators[0] if DEVICE.type == "cuda" else torch.default_generator
        self.gradients = torch.func.vmap(torch.func.grad(self.loss))

    def first_weights(self, seed: int) -> torch.Tensor:
        """Weights of a new network in one row."""
        torch.manual_seed(network_seed(seed))
        return torch.cat([p.detach().flatten() for p in msm.MSM().parameters()])

    def named(self, row: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weights in a row by their names."""
        values = row.split([shape.numel() for shape in self.shapes.values()])
        return {name: value.view(shape) for value, (name, shape) in zip(values, self.shapes.items())}

    def loss(self, row: torch.Tensor, x: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Loss of one network on one batch."""
        return torch.func.functional_call(self.unfolded, self.named(row), (x, hidden))

    def schedule(self, steps: int) -> torch.Tensor:
        """Learning rate and first beta of each step, (steps, 2)."""
        optimizer = torch.optim.AdamW([torch.zeros(1)], lr=CONFIG.learning_rate)
        one_cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, CONFIG.learning_rate, total_steps=max(steps, 2))
        rows = []
        for _ in range(steps):
            rows.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
            optimizer.step()
            one_cycle.step()
        return torch.tensor(rows, device=DEVICE)

    def step(self) -> None:
        """One step of AdamW."""
        x = torch.stack([data.crops() for data, _ in self.nets])
        hidden = msm.random_hidden(len(x) * CONFIG.batch_size, self.model.grid(CONFIG.width), CONFIG.mask_ratio, self.generator)
        gradients = self.gradients(self.weights, x, hidden.unflatten(0, x.shape[:2]))
        rate, beta_1 = self.rates[self.count][0]
        self.count += 1
        self.weights *= 1 - rate * DECAY
        self.m.lerp_(gradients, 1 - beta_1)
        self.v.mul_(BETA_2).addcmul_(gradients, gradients, value=1 - BETA_2)
        root = (self.v / (1 - BETA_2**self.count)).sqrt() + EPS
        self.weights -= rate / (1 - beta_1**self.count) * self.m / root

    def reset(self) -> None:
        """Start again."""
        self.weights.copy_(self.initial)
        for state in (self.m, self.v, self.count):
            state.zero_()

    def capture(self, longest: int) -> None:
        """On a GPU, record a step as a CUDA graph, after a few that are thrown away."""
        self.rates = torch.zeros(longest, 2, device=DEVICE)
        if DEVICE.type == "cuda":
            with torch.cuda.stream(torch.cuda.Stream()):
                for _ in range(3):
                    self.step()
            torch.cuda.synchronize()
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.step()

    def train(self, steps: int) -> None:
        """All networks from their first weights, for so many steps."""
        self.reset()
        if steps:
            self.rates[:steps] = self.schedule(steps)
        for _ in range(steps):
            self.graph.replay() if self.graph else self.step()
        if not torch.isfinite(self.weights).all():
            raise ArithmeticError(f"{steps} steps: found weights that are no numbers")

    @torch.no_grad()
    def blocks(self, i: int) -> list[list[dict[str, torch.Tensor]]]:
        """Embedding of the windows of each training and each test clip by one network, its BatchNorm calibrated."""
        data = self.nets[i][0]
        self.model.load_state_dict(self.named(self.weights[i]), strict=False)
        msm.calibrate_batchnorm(self.model, (data.crops() for _ in range(16)))
        embeddings = [
            torch.cat([self.model.embed(x) for x in windows.split(1024)]).cpu().split(counts)
            for windows, counts in data.windows
        ]
        return [[{"msm": z} for z in each] for each in embeddings]


def scores(data: Data, train, test) -> dict:
    """A result as `Evaluation` wants it."""
    training = data.training

    def fold(held, clips):
        rest = fit_scorer([train[i] for i in np.flatnonzero(~held)], training.without(held), CONFIG)
        return Fold(clips, torch.cat([rest.units(rest.space(train[i])) for i in clips]), rest.bank)

    scorer, _ = calibrated(fit_scorer(train, training, CONFIG), training, hold_out(training, fold))
    return dict(files=[c.name for c in data.machine.test], scores=[scorer(blocks) for blocks in test])


def curves(datas: list[Data], widths, steps, seeds, seconds: float) -> tuple[dict, list]:
    """Results of every network, and a row for each width and number of steps; none that would end after so many seconds."""
    begin, results, rows = perf_counter(), {}, []
    with ThreadPoolExecutor() as pool:
        for width in widths:
            trainer, pace = Trainer(datas, seeds, width), 0.0
            trainer.capture(max(steps))
            for n in steps:
                start = perf_counter()
                if start - begin + n * pace > seconds:
                    print(f"width {width}, {n} steps: left out, no time", flush=True)
                    continue
                trainer.train(n)
                pace = (perf_counter() - start) / max(n, 1) if n >= REFERENCE else pace
                for i, (data, seed) in enumerate(trainer.nets):
                    results[data.machine.name, f"{width}-{n}", seed] = pool.submit(scores, data, *trainer.blocks(i))
                names = dict(variant=f"width {width}", reference=f"width {width}, {REFERENCE} steps")
                row = dict(base="asdkit", family="steps", **names, systems=(f"{width}-{n}", f"{width}-{REFERENCE}"), level=n)
                rows.append(SimpleNamespace(**row))
                so_far = perf_counter() - begin
                print(f"width {width}, {n} steps: {1000 * pace:.2f} ms a step, {so_far:.0f} s so far", flush=True)
    return {key: future.result() for key, future in results.items()}, rows


def main() -> None:
    """Pack machines, or train and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--pack", type=Path, metavar="DIR", help="write the machines' log-mels here, and train nothing")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 100, 300, 1000, 3000, 10000, 30000])
    parser.add_argument("--widths", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing new after this time")
    parser.add_argument("--out", type=Path, default=Path("runs/steps.csv"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("high")
    machines = [pair for folder in args.folders for pair in read(folder)]
    if args.pack:
        args.pack.mkdir(parents=True, exist_ok=True)
        for machine, logmels in machines:
            pack(machine, logmels, args.pack)
        return
    print(f"{len(machines)} machines on {torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'cpu'}", flush=True)
    steps = sorted({*args.steps, REFERENCE})
    results, rows = curves([Data(*pair) for pair in machines], args.widths, steps, args.seeds, args.seconds)
    machines = [machine for machine, _ in machines]
    evaluation = Evaluation(results, machines)
    tables = [ablation_differences(evaluation, [r], machines, args.seeds, METRICS).assign(level=r.level) for r in rows]
    write(args.out, pd.concat(tables).to_csv(index=False))


if __name__ == "__main__":
    main()
