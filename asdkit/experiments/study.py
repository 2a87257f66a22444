"""Questions that no choice of options answers: how the detector fares on new machines, and along one axis at a time.

    python -m asdkit.experiments.study [STUDY ...] [--real DIR] [--data data/study] [--out runs/study] [--jobs 2]

`machines`  every system on five simulated machines at full size (990 + 10 clips), and on real ones
`autoencoder`  the official baseline beside the default, on the same machines (one seed on the simulated ones)
`alarms`    false alarms at a requested 1, 5 and 10 %, and the share of the faults that raise one
`noise-1`   noise from one place (`noise-3`: from three), from 25 dB above the machine to 10 dB below it, and on real machines
`far`       how close the far microphone stands to the machine
`targets`   3, 10 and 30 training clips of the target domain, and how their scale is shrunk
`steps`     10 and 50 training steps of the masked model; on real machines 200, too
`clips`     100 to 3,000 training clips

The simulated specimens (seed 21) are in no data set that an option was chosen on. Three seeds of the networks; one for the
autoencoder on simulated machines. What `--out` holds is not computed again.
Tables go to ``<out>/tables``: ``study.csv``, rows as in ``differences.csv`` with the axis in `level`; ``alarms.csv``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd
import torch

from asdkit import metrics
from asdkit.config import Config
from asdkit.experiments import ablation, claims, runs
from asdkit.experiments.families import AUTOENCODER, systems
from asdkit.experiments.results import GAP, Evaluation, estimate, read_results
from asdkit.recordings import Clip, Machine
from asdkit.recordings.files import write
from asdkit.simulate import MACHINES, simulate
from asdkit.spectrogram import stft

SEED = 21
SEEDS = (0, 1, 2)
RATES = (0.01, 0.05, 0.1)
METRICS = ("omega", *metrics.METRICS, GAP)


class Level(NamedTuple):
    """One step along the axis of a study."""

    name: str
    machines: list[Machine]
    systems: dict[str, Config | None]  # None: the autoencoder. The first is the reference
    seeds: tuple[int, ...] = SEEDS


class Subtracted(Clip):
    """A clip whose near channel went through plain power spectral subtraction of far, and whose far channel is silent.

    The gain of each frequency bin is the ratio of the two channels' noise floors, the 10 % quantiles of their power over time;
    at least 1 % of near's power is left.
    """

    def read(self) -> np.ndarray:
        """Its samples."""
        samples = torch.from_numpy(super().read())
        near, far = stft(samples)
        floors = (x.abs().square().quantile(0.1, dim=1) for x in (near, far))
        gain = torch.divide(*(f.clamp(min=1e-12) for f in floors))[:, None]
        left = 1 - gain * far.abs().square() / near.abs().square().clamp(min=1e-12)
        near, window = near * left.clamp(min=0.01).sqrt(), torch.hann_window(1024)
        cleaned = torch.istft(near, 1024, 512, window=window, length=samples.shape[1])
        return torch.stack([cleaned, torch.zeros_like(cleaned)]).numpy()


SUBTRACTED = "log-mel statistics, far subtracted"


class Studies:
    """The levels of each study, on simulated machines in `data` and on those in `real`."""

    def __init__(self, data: Path, real: Path | None, jobs: int):
        self.data, self.jobs = data, jobs
        self.real = ablation.gather([real]) if real else []

    def simulated(self, folder: str, machines=("fan", "valve"), n_source=100, n_test=25, n_target=10, **surroundings):
        """Machines that are there already, or are simulated now."""
        sizes = dict(n_source=n_source, n_target=n_target, n_test=n_test)
        simulate(self.data / folder, machines, **sizes, seed=SEED, jobs=self.jobs, **surroundings)
        return ablation.gather([self.data / folder])

    def full(self) -> list[Machine]:
        """Five machines at full size."""
        return self.simulated("full", MACHINES, 990, 50)

    def machines(self) -> Iterator[Level]:
        """Every system."""
        yield Level("full", self.full() + self.real, systems(Config()))

    def alarms(self) -> Iterator[Level]:
        """One system a rate; real machines have too few recordings for less than 10 %."""
        rates = {f"{rate:g}": replace(Config(), false_alarm=rate) for rate in RATES}
        yield Level("full", self.full(), rates)
        yield Level("real", self.real, {"0.1": rates["0.1"]})

    def noise(self, loudspeakers: int) -> Iterator[Level]:
        """Levels in dB; the real machines with the noise they have."""
        for snr in (-25, -15, -10, -5, 0, 5, 10) if loudspeakers == 1 else (-15, -5, 5):
            machines = self.simulated(f"noise-{loudspeakers}/{snr}", snr=snr, loudspeakers=loudspeakers)
            yield Level(f"{snr}", machines, with_and_without_far())
        if self.real and loudspeakers == 1:
            yield Level("real", self.real, with_and_without_far())

    def far(self) -> Iterator[Level]:
        """Levels in m: near stands at 0.25 m."""
        for distance in (0.3, 0.6, 1.2, 2.4):
            yield Level(f"{distance:g}", self.simulated(f"far/{distance:g}", far_distance=distance), with_and_without_far())

    def middling(self, n_target: int = 10) -> list[Machine]:
        """Three machines of 190 source clips."""
        machines = self.simulated("targets", ("fan", "bearing", "valve"), 190, n_target=30)
        return [first(m, 190, n_target) for m in machines]

    def autoencoder(self) -> Iterator[Level]:
        """The default beside both scores of the official baseline."""
        chosen = {"asdkit": Config(), **dict.fromkeys(AUTOENCODER)}
        yield Level("full", self.full(), chosen, SEEDS[:1])
        yield Level("real", self.real, chosen)

    def targets(self) -> Iterator[Level]:
        """Levels in clips."""
        weights = {"n_0 = 1": 1.0, "no shrinkage": 0.0, "n_0 = 10": 10.0, "the source's scale": 1e9}
        chosen = {name: replace(Config(), n_0=n_0) for name, n_0 in weights.items()}
        for n in (3, 10, 30):
            yield Level(f"{n}", self.middling(n), chosen)

    def steps(self) -> Iterator[Level]:
        """Levels in steps of 64 windows."""
        for n in (10, 50):
            yield Level(f"{n}", self.middling() + self.real, encoders(n))
        yield Level("200", self.real, encoders(200))

    def clips(self) -> Iterator[Level]:
        """Levels in source clips."""
        machines = self.simulated("clips", n_source=3000)
        for n in (100, 300, 1000, 3000):
            yield Level(f"{n}", [first(m, n, 10) for m in machines], encoders(Config().steps))

    def __getitem__(self, name: str) -> Iterator[Level]:
        return self.noise(int(name[-1])) if name.startswith("noise") else getattr(self, name)()


STUDIES = ("machines", "autoencoder", "alarms", "noise-1", "noise-3", "far", "targets", "steps", "clips")


def with_and_without_far() -> dict[str, Config]:
    """The default without far and with it; log-mel statistics of near as it is, and with far subtracted."""
    near, statistics = Config().without_far(), systems(Config())["logmel-near"]
    blocks = tuple("logmel" if b == "ridge-complex" else b for b in near.blocks)  # its residual is near, where far is silent
    pair = {"near only": replace(near, blocks=blocks), "asdkit": Config()}
    return pair | {"log-mel statistics": statistics, SUBTRACTED: statistics}


def encoders(steps: int) -> dict[str, Config]:
    """The untrained encoder, the masked model, and the floor."""
    known = systems(replace(Config(), steps=steps))
    return {"untrained": known["msm-untrained"], "MSM": known["msm"], "log-mel statistics": known["logmel-near"]}


def first(machine: Machine, n_source: int, n_target: int) -> Machine:
    """The machine with its first training clips only."""
    kept = [[c for c in machine.train if (c.domain == "target") == target] for target in (False, True)]
    return replace(machine, train=tuple(kept[0][:n_source] + kept[1][:n_target]))


def subtracted(machine: Machine) -> Machine:
    """The machine, its clips `Subtracted`."""
    train, test = (tuple(Subtracted(**vars(clip)) for clip in clips) for clips in (machine.train, machine.test))
    return replace(machine, train=train, test=test)


def score(level: Level, out: Path, jobs: int, decide: bool) -> Evaluation:
    """Fit and score every system; those named `SUBTRACTED` read other clips."""
    results = {}
    for folder, machines, names in (
        (out / "plain", level.machines, [n for n in level.systems if n != SUBTRACTED]),
        (out / "subtracted", [subtracted(m) for m in level.machines], [n for n in level.systems if n == SUBTRACTED]),
    ):
        if names:
            runs.run_systems(machines, folder, {n: level.systems[n] for n in names}, level.seeds, jobs, decide=decide)
            results |= read_results(folder)
    return Evaluation(results, level.machines)


class Pair(NamedTuple):
    """A row of a table: a system and its reference, by the names that they have in a run."""

    base: str
    family: str
    variant: str
    reference: str

    @property
    def systems(self) -> tuple[str, str]:
        """Both names."""
        return self.variant, self.reference


def compared(study: str, level: Level, evaluation: Evaluation) -> pd.DataFrame:
    """Metrics of every system and its differences to a reference: each machine, and the mean of each kind of data."""
    families = {study: list(level.systems)} | ({"msm": ["msm", "msm-untrained", "logmel-near"]} if study == "machines" else {})
    rows = [Pair("asdkit", family, name, names[0]) for family, names in families.items() for name in names]
    table = ablation.ablation_differences(evaluation, rows, level.machines, level.seeds, METRICS, whole=True)
    return table.assign(level=level.name)


def alarms(level: Level, evaluation: Evaluation) -> pd.DataFrame:
    """Share of the test clips that alarm: by machine, and the mean over machines; by label, domain and requested rate.

    Mean over seeds, interval over recordings.
    """
    rows = []
    for data, machine, members in ablation.groups(level.machines):
        for name, (label, clips) in product(level.systems, enumerate(("normal", "anomalous"))):
            rates = [alarm_rates(evaluation, member, name, level.seeds, label) for member in members]
            for domain in ("source", "target", "all"):
                rate = estimate(np.mean([r[domain] for r in rates], axis=0))
                rows.append((level.name, data, machine, domain, clips, float(name), len(level.seeds), *rate))
    columns = ["level", "data", "machine", "domain", "clips", "requested", "seeds", "rate", "lo", "hi"]
    return pd.DataFrame(rows, columns=columns).round(ablation.ROUND)


def alarm_rates(evaluation: Evaluation, machine: str, system: str, seeds, label: int) -> dict[str, np.ndarray]:
    """Share of a machine's test clips of one label that alarm, by domain: the estimate, then resamples of its recordings."""
    clips = [c for c in evaluation.clips[machine].values() if c.label == label]
    results = [evaluation.results[machine, system, seed] for seed in seeds]
    decided = [dict(zip(result["files"], result["decisions"])) for result in results]
    alarm = np.array([np.mean([d[c.name] for d in decided]) for c in clips])
    domains, recordings = np.array([c.domain for c in clips]), [c.recording for c in clips]
    seed = (0, crc32(machine.encode()))
    weights = metrics.resample_recordings([0] * len(clips), domains, recordings, 1000, seed)
    weights = np.vstack([np.ones(len(clips)), weights])
    masks = {name: (domains == name) | (name == "all") for name in ("source", "target", "all")}
    return {name: weights[:, mask] @ alarm[mask] / weights[:, mask].sum(1) for name, mask in masks.items()}


# goals


def alarms_markdown(table: pd.DataFrame) -> str:
    """Per cent of clips that alarm, two columns a requested rate: each machine, and the mean over machines by domain."""
    columns = [(rate, clips) for rate in sorted(set(table["requested"])) for clips in ("normal", "anomalous")]
    rows = []
    for (data, machine, domain), group in table.groupby(["data", "machine", "domain"], sort=False):
        if machine == "mean" or domain == "all":
            per_cent = 100 * group.set_index(["requested", "clips"])[["rate", "lo", "hi"]]
            cells = {column: f"{rate:.1f} [{lo:.1f}, {hi:.1f}]" for column, rate, lo, hi in per_cent.itertuples()}
            where = f"{machine}, {data}" + ("" if domain == "all" else f", {domain} alone")
            rows.append([where, *(cells.get(column, "") for column in columns)])
    heads = [f"asked {100 * rate:g} %" if clips == "normal" else "faults heard" for rate, clips in columns]
    return claims.markdown(["test clips of", *heads], rows)


def speed_markdown(table: pd.DataFrame) -> str:
    """Time and memory of one full-size machine, stage by stage."""
    return claims.markdown(table, [["" if pd.isna(v) else str(v) for v in row] for row in table.to_numpy()], " --- |")


def systems_markdown(table: pd.DataFrame) -> str:
    """Omega of every system on every machine of the study "machines", its mean, and the default minus it."""
    t = claims.select(table, family="machines", metric="omega")
    columns = list(dict.fromkeys(zip(t["data"], t["machine"])))
    rows = []
    for system, group in t.groupby("variant", sort=False):
        group = group.set_index(["data", "machine"])
        cells = [f"{100 * group.loc[c, 'value']:.1f}" for c in columns]
        value, hi, lo = (-100 * group.loc[columns[-1], c] for c in ("difference", "lo", "hi"))
        minus = "" if system == "asdkit" else f"{value:+z.1f} [{lo:+z.1f}, {hi:+z.1f}]"
        rows.append([f"`{system}`", *cells, minus])
    heads = [f"{m}, {d}" for d, m in columns]
    return claims.markdown(["system", *heads, f"`asdkit` minus it, {columns[-1][0]}"], rows)


def write_goals(tables: dict, out: str | Path) -> pd.DataFrame:
    """Write ``goals.md`` into a folder, where there are tables of the study; return the goals."""
    table = claims.goals_table(tables)
    if not table.empty:
        texts = [claims.goals_markdown(table), systems_markdown(tables["study"])]
        texts += [alarms_markdown(tables["alarms"])] if "alarms" in tables else []
        texts += [speed_markdown(tables["speed"])] if "speed" in tables else []
        texts += [f"Written by `asdkit figures` from the tables of `benchmarks/`, not by hand; rules: `{claims.RULES}`."]
        write(Path(out) / "goals.md", "\n\n".join(texts) + "\n")
    return table


def main() -> None:
    """Compute the studies, each table written as soon as a level is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--real", type=Path, help="folder of real machines")
    parser.add_argument("--data", type=Path, default=Path("data/study"))
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    if unknown := set(args.studies) - set(STUDIES):
        parser.error(f"found {', '.join(sorted(unknown))}; expected {', '.join(STUDIES)}")
    studies = Studies(args.data, args.real, args.jobs)
    for study in args.studies or STUDIES:
        for level in filter(lambda level: level.machines, studies[study]):
            evaluation = score(level, args.out / study / level.name, args.jobs, decide=study == "alarms")
            name = "alarms" if study == "alarms" else "study"
            table = alarms(level, evaluation) if study == "alarms" else compared(study, level, evaluation)
            add_rows(args.out / "tables" / f"{name}.csv", table)
            write(args.out / "tables" / "study.json", json.dumps({"bases": {"study": Config().hash()}}) + "\n")
            print(f"{study}, {level.name}: {args.out / 'tables' / name}.csv", flush=True)


def add_rows(path: Path, table: pd.DataFrame) -> None:
    """Put the rows into a table, in place of those of the same study and level."""
    keys = [name for name in ("family", "level") if name in table]
    if path.exists():
        known = pd.read_csv(path, dtype={"level": str, "variant": str, "reference": str})
        again = known.set_index(keys).index.isin(table.set_index(keys).index)
        table = pd.concat([known[~again], table], ignore_index=True)
    write(path, table.to_csv(index=False))


if __name__ == "__main__":
    main()
