"""Time and memory of one full-size machine, stage by stage.

    python benchmarks/machine.py [--clips 990] [--test 50] [--threads 1 2] [--folder DIR] [--out CSV]

Simulates one machine (990 + 10 training and 4 x 50 test clips of 10 s), then times each stage of the default system in this
one process, once for each number of threads. Run it with half the clips to see how stages grow.
"""

import argparse
import resource
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter, process_time

import pandas as pd
import torch

from asdkit import Config, stft
from asdkit.blocks import extract
from asdkit.calibration import calibrated, hold_out
from asdkit.describer import Describer
from asdkit.detector import Detector, fit_fold
from asdkit.recordings import TrainingSet, index_machine
from asdkit.recordings.files import write
from asdkit.scorer import fit_scorer
from asdkit.simulate import simulate


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


def milliseconds(function, items) -> tuple[float, list]:
    """How long a function takes for each of the items, after a first one, and what it gives."""
    function(items[0])
    start = perf_counter()
    values = [function(item) for item in items]
    return 1000 * (perf_counter() - start) / len(items), values


def features(clips, config: Config, extractor) -> str:
    """How long the STFTs of clips take that the blocks are made of, their log-mels, and the blocks; reading excluded."""
    samples = [c.read() for c in clips]
    bare, _ = milliseconds(lambda x: [stft(torch.from_numpy(x), n, n // 2) for n in (1024, 256)], samples)
    log_mels, spectra = milliseconds(lambda x: extract(x, config), samples)
    blocks, _ = milliseconds(lambda s: extractor.describe(s, config.test_hop), spectra)
    return f"ms a clip: STFTs {bare:.1f}, with log-mels {log_mels:.1f}, blocks {blocks:.1f}"


def bench(machine, config: Config, stage: Stages) -> None:
    """The stages of one machine."""
    training, describer = TrainingSet.of(machine.train), Describer(config)
    whole, wall = process_time(), perf_counter()
    stage("read, log-mels", lambda: [describer.spectra(c) for c in describer.bar_and_trim(training.clips, "")])
    extractor, own = stage("train the masked model, fit the ridge", lambda: describer.extractors(training))
    blocks = stage("describe the bank", lambda: [
        describer.blocks(e, c, config.train_hop) for e, c in describer.bar_and_trim(zip(own, training.clips), "")
    ])  # fmt: skip
    scorer = stage("whiten, bank", lambda: fit_scorer(blocks, training, config))
    fold = partial(fit_fold, training, describer, own, blocks, None)
    folds = stage("hold out, for scales and decision", lambda: hold_out(training, fold))
    detector = Detector(extractor, *calibrated(scorer, training, folds))
    stage(
        "score the test clips",
        lambda: [detector.score_file(c) for c in machine.test],
        lambda results, seconds: f"{1000 * seconds / len(results):.0f} ms a clip, reading included",
    )
    sizes = f"{len(machine.train)} training and {len(machine.test)} test clips"
    stage.add("whole", round(perf_counter() - wall, 1), round(process_time() - whole, 1), "", sizes)
    stage("features of 40 clips", lambda: features(machine.train[:40], config, extractor), lambda note, seconds: note)


def main() -> None:
    """Run every stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=990, help="source training clips")
    parser.add_argument("--test", type=int, default=50, help="test clips per domain and label")
    parser.add_argument("--folder", type=Path, help="keep the simulated machine here")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="one round for each")
    parser.add_argument("--out", type=Path, help="also write the table here, as CSV")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, stage = args.folder or Path(temporary), Stages()
        simulate(folder, ["fan"], n_source=args.clips, n_target=10, n_test=args.test, jobs=2)
        for threads in args.threads:
            torch.set_num_threads(threads)
            bench(index_machine(folder / "fan"), Config(threads=threads), stage)
    if args.out:
        columns = ["threads", "stage", "wall s", "processor s", "peak GB", "note"]
        write(args.out, pd.DataFrame(stage.rows, columns=columns).to_csv(index=False))


if __name__ == "__main__":
    main()
