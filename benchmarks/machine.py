"""Time and memory of one full-size machine, stage by stage.

    python benchmarks/machine.py [--clips 990] [--test 50] [--threads 1 2] [--folder DIR] [--no-autoencoder] [--out CSV]

Simulates one machine (990 + 10 training and 4 x 50 test clips of 10 s), then times each stage of the default system in this
one process, with one thread and again with two. The official autoencoder is timed over two epochs and extrapolated to its
hundred. Run it with half the clips to see how stages grow.
"""

import argparse
import resource
import tempfile
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pandas as pd
import torch

from asdkit.blocks import extract, fast_channels
from asdkit.calibration import calibrate
from asdkit.config import Config
from asdkit.detector import Detector, fit_balancer, fit_front, fit_uncalibrated, join, standardise_spaces
from asdkit.experiments import baseline
from asdkit.fitting import Fitting, Memo
from asdkit.knn import fit_knn
from asdkit.recordings import index_machine, read_clip
from asdkit.recordings.files import write
from asdkit.simulate import simulate
from asdkit.spectrogram import stft


class Stages:
    """Prints a row a stage: threads, wall and processor seconds, and the peak memory of the process so far; keeps the rows."""

    def __init__(self):
        self.rows = []
        print("| threads | stage | wall s | processor s | peak GB | |\n|---|---|---|---|---|---|")

    def __call__(self, name, function, note=lambda value, seconds: ""):
        start, used = perf_counter(), process_time()
        value = function()
        seconds, used = perf_counter() - start, process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        self.add(name, round(seconds, 1), round(used, 1), round(peak, 2), note(value, seconds))
        return value

    def add(self, *row):
        """Print and keep one row."""
        self.rows.append((torch.get_num_threads(), *row))
        print("|", *(f"{cell} |" for cell in self.rows[-1]), flush=True)


def features_speed(clips, n=40) -> str:
    """How long the STFTs of n clips take, their log-mels and complex residuals, and the DSP blocks, reading excluded."""
    config = Config(blocks=tuple(b for b in Config().blocks if b != "msm"))
    front = fit_front(Fitting(clips[:5], config, 0, Memo(), ()))[0]
    samples = [read_clip(c.path) for c in clips[:n]]

    def per_clip(function, xs) -> tuple[float, list]:
        function(xs[0])
        start = perf_counter()
        found = [function(x) for x in xs]
        return 1000 * (perf_counter() - start) / len(xs), found

    stfts, _ = per_clip(stft, [torch.from_numpy(x) for x in samples])
    spectra, found = per_clip(lambda x: extract(x, config.ridge_penalty), samples)
    blocks, _ = per_clip(lambda s: front.describe(s, config.test_hop), found)
    return f"ms a clip: STFTs {stfts:.1f}, with log-mels and residual {spectra:.1f}, DSP blocks {blocks:.1f}"


def main() -> None:
    """Run every stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=990, help="source training clips")
    parser.add_argument("--test", type=int, default=50, help="test clips per domain and label")
    parser.add_argument("--folder", type=Path, help="keep the simulated machine here")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="one round for each")
    parser.add_argument("--no-autoencoder", action="store_true")
    parser.add_argument("--out", type=Path, help="also write the table here, as CSV")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, stage = args.folder or Path(temporary), Stages()
        simulate(folder, ["fan"], n_source=args.clips, n_target=10, n_test=args.test, jobs=2)
        for threads in args.threads:
            torch.set_num_threads(threads)
            bench(index_machine(folder / "fan"), Config(threads=threads), stage, not args.no_autoencoder)
    if args.out:
        columns = ["threads", "stage", "wall s", "processor s", "peak GB", "note"]
        write(args.out, pd.DataFrame(stage.rows, columns=columns).to_csv(index=False))


def bench(machine, config: Config, stage: Stages, autoencoder: bool) -> None:
    """The stages of one machine."""
    memo = Memo()
    fitting = Fitting(machine.train, config, 0, memo, tuple(fast_channels(config)))
    sizes = f"{len(machine.train)} training and {len(machine.test)} test clips"
    whole, wall = process_time(), perf_counter()
    stage("features of 40 clips", lambda: features_speed(machine.train), lambda v, s: v)
    stage("read and spectra", lambda: [fitting.spectra(c) for c in machine.train])
    front, ridges = stage("train MSM, fit ridge", lambda: fit_front(fitting))
    blocks = stage(
        "describe bank", lambda: [fitting.blocks(front, c, config.train_hop, r) for c, r in zip(machine.train, ridges)]
    )
    counts = [len(next(iter(b.values()))) for b in blocks]
    recordings, target = np.repeat(fitting.recordings, counts), np.repeat(fitting.is_target, counts)
    raw = {name: torch.cat([b[name] for b in blocks]) for name in config.blocks}
    balancer = stage("condition, balance", lambda: fit_balancer(fitting, front, raw, recordings))
    spaces = stage("kNN banks", lambda: {
        name: fit_knn(bank, recordings, target, config.k, config.n_0, config.backend)
        for name, bank in join(balancer(raw), config).items()
    })  # fmt: skip
    detector = Detector(config, 0, front, balancer, spaces, {}, {})
    if len(spaces) > 1:
        detector = stage("standardise", lambda: standardise_spaces(detector, fitting, ridges))
    stage("calibrate the decision", lambda: calibrate(fitting, fit_uncalibrated, fit_front))
    stage(
        "score the test clips",
        lambda: [detector.score(fitting.spectra(c)) for c in machine.test],
        lambda v, s: f"{1000 * s / len(v):.0f} ms a clip, reading included",
    )
    stage.add("whole", round(perf_counter() - wall, 1), round(process_time() - whole, 1), "", sizes)
    if autoencoder:
        near = [fitting.spectra(c)["near", "slow"] for c in machine.train]
        domains = [c.domain for c in machine.train]
        stage(
            "autoencoder, 2 epochs",
            lambda: baseline.fit(near, domains, 0, epochs=2),
            lambda v, s: f"100 epochs: about {50 * s:.0f} s",
        )


if __name__ == "__main__":
    main()
