"""Time of the alpha grid and of one step of the panel at full size, on random numbers.

    python benchmarks/tuning.py [--bank 7000] [--test 6000] [--dim 128] [--rank 8]

One machine and one rank: nearest distances of the test windows, and of the training windows that give scales, at 21 alphas; the
same through one matrix product an alpha, for comparison (an alpha of it is timed).
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

from asdkit.config import Config
from asdkit.experiments.sweep import Search, Windows
from asdkit.experiments.tuning import ALPHAS, Grid, MachineGrid
from asdkit.knn import MAX_QUERIES, distances, fit_knn, nearest_mean


def main() -> None:
    """Print a row a stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, size in (("bank", 7000), ("test", 6000), ("dim", 128), ("rank", 8)):
        parser.add_argument(f"--{name}", type=int, default=size)
    args = parser.parse_args()
    torch.set_num_threads(Config().threads)
    print("| stage | seconds |\n|---|---|")
    grid_stages(args)
    panel_stages()


def timed(name: str, function):
    """The value of a function; prints how long it took."""
    start = perf_counter()
    value = function()
    print(f"| {name} | {perf_counter() - start:.3f} |", flush=True)
    return value


def grid_stages(args) -> None:
    """The closed form against the direct computation."""
    rng = np.random.default_rng(0)
    windows = [torch.from_numpy(rng.normal(size=(n, args.dim)).astype("float32")) for n in (args.bank, args.test)]
    bank, test = (Windows(x, x[:, : args.rank], x[:, :0]) for x in windows)
    recordings = np.arange(args.bank) // 7
    space = fit_knn(windows[0][:100], recordings[:100], np.zeros(100, bool))
    space = replace(space, recordings=recordings, is_target=np.arange(args.bank) >= 0.99 * args.bank)
    alphas = np.array(ALPHAS)
    search = Search(bank, recordings, int((~space.is_target).sum()), Config(), space, alphas, np.ones(len(alphas)))
    rows = np.arange(min(args.bank, MAX_QUERIES))
    timed("balance, 21 alphas", lambda: search.balance(np.arange(args.bank)))
    timed("scales of the banks, 21 alphas", search.scaled)
    timed(f"{args.test} test windows, 21 alphas", lambda: search.nearest(test, space.k))
    timed("direct: test windows, 1 alpha", lambda: nearest_mean(distances(windows[1], windows[0]), space.k))
    timed("direct: training windows, 1 alpha", lambda: nearest_mean(distances(windows[0][rows], windows[0]), space.k))


def panel_stages() -> None:
    """Seven machines of full size: opening the panel, and a step."""
    from asdkit.apps.panel import Panel

    grid = Grid(Config(), (2, 4, 8), {f"machine {i}": made_up(i) for i in range(7)})
    with tempfile.TemporaryDirectory() as folder:
        panel = timed("open the panel", lambda: Panel(grid, Path(folder) / "alpha.json"))
        timed("a step of alpha", lambda: setattr(panel.alpha, "value", 0.85))
        timed("a step of rank", lambda: setattr(panel.rank, "value", 2))


def made_up(seed: int, n_clips: int = 200, n_train: int = 1000) -> MachineGrid:
    """A machine of random numbers."""
    rng, shape = np.random.default_rng(seed), (3, len(ALPHAS))
    points = rng.uniform(0.5, 0.9, (*shape, 3))
    return MachineGrid(
        labels=np.arange(n_clips) % 2, domains=np.array(["source", "target"] * (n_clips // 2)),
        scores=rng.normal(size=(*shape, n_clips)), points=points, boots=np.repeat(points[:, :, None], 1000, axis=2),
        removed=rng.uniform(size=shape), separation=rng.uniform(size=shape),
        train_map=rng.normal(size=(n_train, 2)), test_map=rng.normal(size=(n_clips, 2)),
    )  # fmt: skip


if __name__ == "__main__":
    main()
