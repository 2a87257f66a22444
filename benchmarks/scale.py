"""Memory and time of the default system as the number of clips grows, decisions included.

    python benchmarks/scale.py [--clips 1000 2000] [--test 100] [--seconds 10]

Each size is fitted and scored in a process of its own, of which the peak memory is read. Nothing is simulated: the clips are
noise with a few hundred spectra, linked under as many names as are needed, so that 10,000 clips of 10 s take 200 MB of disk.
Stages are in processor seconds, on one thread; `decide` fits once more on four fifths of the recordings and scores the rest.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time

import numpy as np

STAGES = (  # class and function of asdkit.detector, column; what one calls of another is counted with it
    ("Fitting", "spectra", "read"), ("Fitting", "blocks", "describe"), ("", "train_net", "train"), ("", "fit_ridges", "ridge"),
    ("", "fit_balancer", "condition"), ("", "fit_knn", "kNN"), ("", "standardise_spaces", "standardise"),
    ("", "calibrate", "decide"),
)  # fmt: skip
DISTINCT = 300


def write_clips(folder: Path, n_train: int, n_test: int, seconds: float) -> Path:
    """One machine of noise, one in a hundred training clips of the target domain."""
    import soundfile

    rng, names = np.random.default_rng(0), []
    for split, n in (("train", n_train), ("test", n_test)):
        (folder / split).mkdir(parents=True)
        for i in range(n):
            domain, number = "target" if i % 100 == 99 else "source", f"{i % 10000:04d}_part_{i // 10000}"
            names.append(folder / split / f"section_00_{domain}_{split}_normal_{number}.wav")
    for i, path in enumerate(names):
        if i < DISTINCT:
            samples = 0.05 * rng.normal(size=(int(16000 * seconds), 2))
            samples[1:] += rng.uniform(-0.9, 0.9) * samples[:-1]
            soundfile.write(path, samples, 16000, subtype="PCM_16")
        else:
            os.link(names[i % DISTINCT], path)
    return folder


class Stopwatch:
    """Processor seconds of functions by name; those that run within another that is timed are counted with it."""

    def __init__(self):
        self.seconds, self.depth = {}, 0

    def __call__(self, name, function):
        def timed(*args, **options):
            self.depth += 1
            start = process_time()
            try:
                return function(*args, **options)
            finally:
                self.depth -= 1
                if not self.depth:
                    self.seconds[name] = self.seconds.get(name, 0) + process_time() - start

        return timed


def measure(folder: Path) -> dict[str, float]:
    """Processor seconds of each stage of one fit with its decision, of scoring the test clips, and the peak memory in GB."""
    from asdkit import detector as pipeline
    from asdkit.blocks import read_spectra
    from asdkit.config import Config
    from asdkit.recordings import index_machine

    watch, machine, config = Stopwatch(), index_machine(folder), Config()
    for place, name, label in STAGES:
        place = getattr(pipeline, place) if place else pipeline
        setattr(place, name, watch(label, getattr(place, name)))
    start = process_time()
    detector = pipeline.fit(machine.train, config)
    watch("score tests", lambda: [detector.score(read_spectra(clip, config)) for clip in machine.test])()
    whole, peak = process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return watch.seconds | {"rest": whole - sum(watch.seconds.values()), "whole": whole, "peak GB": peak}


def in_a_process(folder: Path) -> dict[str, float]:
    """The same, measured in a process of its own."""
    command = [sys.executable, __file__, "--measure", str(folder)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main() -> None:
    """One row a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, nargs="+", default=[1000, 2000])
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        return print(json.dumps(measure(args.measure)))
    for i, n in enumerate(args.clips):
        with tempfile.TemporaryDirectory() as folder:
            found = in_a_process(write_clips(Path(folder) / "noise", n, args.test, args.seconds))
        if i == 0:
            print("| clips | " + " | ".join(found) + " |\n|" + "---|" * (len(found) + 1))
        print(f"| {n} | " + " | ".join(f"{value:.3g}" for value in found.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
