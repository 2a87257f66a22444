"""Questions that no choice of options answers: how the detector fares on new machines, and along one axis at a time.

    python -m asdkit.experiments.study [STUDY ...] [--real DIR] [--data data/study] [--out runs/study] [--jobs 2]

`machines`  every system on five simulated machines (190 + 10 training clips), and on real ones
`autoencoder`  the official baseline beside the default, on the same machines (half an hour a seed)
`alarms`    false alarms at a requested 1, 5 and 10 %, and the share of the faults that raise one
`noise`     noise from one place, from 25 dB above the machine to 5 dB below it
`clips`     100 to 3,000 training clips of the masked model

The simulated specimens (seed 21) are in no data set that an option was chosen on. What `--out` holds is not computed again.
Tables go to ``<out>/tables``: ``study.csv``, rows as in ``differences.csv`` with the axis in `level`; ``alarms.csv``.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pandas as pd

from asdkit import metrics
from asdkit.blocks import without_far
from asdkit.config import Config
from asdkit.detector import load
from asdkit.experiments import ablation, claims, runs
from asdkit.experiments.families import AUTOENCODER, systems
from asdkit.experiments.results import GAP, Evaluation, estimate, read_results
from asdkit.recordings import InputError, Machine
from asdkit.recordings.files import write
from asdkit.simulate import MACHINES, simulate

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


STUDIES = ("machines", "autoencoder", "alarms", "noise", "clips")


def levels(study: str, data: Path, recordings: list[Machine], jobs: int) -> Iterator[Level]:
    """The levels of a study, on machines that are simulated in `data` where they are not there, and on recordings."""

    def simulated(folder, machines=MACHINES, n_source=190, **surroundings) -> list[Machine]:
        sizes = dict(n_source=n_source, n_target=10, n_test=25)
        simulate(data / folder, machines, **sizes, seed=SEED, jobs=jobs, **surroundings)
        return ablation.gather([data / folder])

    known = systems(Config())
    if study == "noise":  # dB of the machine over noise from one place
        near = without_far(Config())
        chosen = {"near only": near, "asdkit": Config(), "log-mel, whitened": replace(near, blocks=("statistics-near",))}
        for snr in (-25, -15, -5, 5):
            yield Level(f"{snr}", simulated(f"noise/{snr}", ("fan", "valve"), 100, snr=snr, loudspeakers=1), chosen)
    elif study == "clips":  # source clips of the untrained encoder, the masked model, and the floor
        names = {"untrained": "msm-untrained", "MSM": "msm", "log-mel, whitened": "log-mel-whitened"}
        chosen, machines = {k: known[v] for k, v in names.items()}, simulated("clips", ("fan", "valve"), 3000)
        for n in (100, 300, 1000, 3000):
            yield Level(f"{n}", [first(m, n, 10) for m in machines], chosen)
    else:
        only = {"asdkit": Config()}
        chosen = {"machines": known, "autoencoder": only | dict.fromkeys(AUTOENCODER), "alarms": only}[study]
        yield Level("as recorded", simulated("machines") + recordings, chosen)


def first(machine: Machine, n_source: int, n_target: int) -> Machine:
    """The machine with its first training clips only."""
    kept = [[c for c in machine.train if (c.domain == "target") == target] for target in (False, True)]
    return replace(machine, train=tuple(kept[0][:n_source] + kept[1][:n_target]))


def score(level: Level, out: Path, jobs: int) -> Evaluation:
    """Fit and score every system; of the official baseline also the better of its two scores on each machine."""
    runs.run_systems(level.machines, out, level.systems, level.seeds, jobs)
    results = {key: r for key, r in read_results(out).items() if key[1] in level.systems}
    if set(AUTOENCODER) <= set(level.systems):
        evaluation = Evaluation(results, level.machines)
        for machine, seed in product((m.name for m in level.machines), level.seeds):
            better = max(AUTOENCODER, key=lambda name: metrics.omega(evaluation.points[machine, name, seed]))
            results[machine, claims.BETTER, seed] = results[machine, better, seed]
    return Evaluation(results, level.machines)


def compared(study: str, level: Level, evaluation: Evaluation) -> pd.DataFrame:
    """Metrics of every system and its differences to a reference: each machine, and the mean of each kind of data."""
    names = list(dict.fromkeys(system for _, system, _ in evaluation.results))
    families = {study: sorted(names, key=[*level.systems, claims.BETTER].index)}
    families |= {"msm": ["msm", "msm-untrained", "log-mel"]} if study == "machines" else {}
    rows = []
    for family, (reference, *others) in families.items():
        head = dict(base="asdkit", family=family, reference=reference)
        rows += [SimpleNamespace(**head, variant=name, systems=(name, reference)) for name in (reference, *others)]
    return ablation.ablation_differences(evaluation, rows, level.machines, level.seeds, METRICS).assign(level=level.name)


def alarms(level: Level, evaluation: Evaluation, out: Path) -> pd.DataFrame:
    """Share of the test clips that alarm, by machine, label, domain and requested rate. Mean over seeds, 95 % interval.

    One fit serves all rates: a stored model keeps its held-out scores.
    """
    rows = []
    for data, machine, members in ablation.groups(level.machines):
        for requested, (label, clips) in product(RATES, enumerate(("normal", "anomalous"))):
            each = {member: alarm_rates(evaluation, member, level.seeds, label, requested, out) for member in members}
            each = {member: rates for member, rates in each.items() if rates}
            for domain in ("source", "target", "all") if each else ():
                rate, low, high = estimate(np.mean([r[domain] for r in each.values()], axis=0))
                asked = (c for member in each for c in evaluation.clips[member].values() if c.label == label)
                n = len({(c.path.parent, c.recording) for c in asked if domain in (c.domain, "all")})
                high = high if rate > 0 else 3 / n  # none of n: resampling knows no upper limit, the rule of three does
                rows.append((level.name, data, machine, domain, clips, requested, len(level.seeds), rate, low, high))
    columns = ["level", "data", "machine", "domain", "clips", "requested", "seeds", "rate", "lo", "hi"]
    return pd.DataFrame(rows, columns=columns).round(ablation.ROUND)


def alarm_rates(evaluation: Evaluation, machine: str, seeds, label: int, requested: float, out: Path) -> dict[str, np.ndarray]:
    """Share of a machine's test clips of one label that alarm, by domain: the estimate, then resamples of its recordings.

    Empty where its recordings cannot promise the rate.
    """
    clips, decided = [c for c in evaluation.clips[machine].values() if c.label == label], []
    for seed in seeds:
        result = evaluation.results[machine, "asdkit", seed]
        detector = load(out / machine / "models" / f"asdkit-{seed}")
        try:
            threshold = detector.threshold(requested)
        except InputError:
            return {}
        decided.append({name: score > threshold for name, score in zip(result["files"], result["scores"])})
    alarm = np.array([np.mean([d[c.name] for d in decided]) for c in clips])
    domains, recordings = np.array([c.domain for c in clips]), [c.recording for c in clips]
    weights = metrics.resample_recordings([0] * len(clips), domains, recordings, 1000, (0, crc32(machine.encode())))
    weights = np.vstack([np.ones(len(clips)), weights])
    masks = {name: (domains == name) | (name == "all") for name in ("source", "target", "all")}
    return {name: weights[:, mask] @ alarm[mask] / weights[:, mask].sum(1) for name, mask in masks.items()}


def alarms_markdown(table: pd.DataFrame) -> str:
    """Per cent of clips that alarm, two columns a requested rate: each machine, and the mean over machines by domain."""
    cells = {}
    shown = table[(table["machine"] == "mean") | (table["domain"] == "all")].sort_values("requested", kind="stable")
    for r in shown.to_dict("records"):
        where = f"{r['machine']}, {r['data']}" + ("" if r["domain"] == "all" else f", {r['domain']} alone")
        asked = f"asked {100 * r['requested']:g} %"
        column = asked, asked if r["clips"] == "normal" else "faults heard"
        cells[where, column] = f"{100 * r['rate']:.1f} [{100 * r['lo']:.1f}, {100 * r['hi']:.1f}]"
    return claims.markdown("test clips of", cells)


def speed_markdown(table: pd.DataFrame) -> str:
    """Time and memory of one full-size machine, stage by stage."""
    rows = [table.columns, ["---"] * len(table.columns), *table.astype(object).where(table.notna(), "").to_numpy()]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)


def systems_markdown(table: pd.DataFrame) -> str:
    """Omega of every system on every machine of the study "machines", its mean, and the default minus it."""
    t, cells = claims.select(table, family="machines", metric="omega"), {}
    for r in t.to_dict("records"):
        cells[f"`{r['variant']}`", f"{r['machine']}, {r['data']}"] = f"{100 * r['value']:.1f}"
    last = t["data"].iloc[-1]
    for r in claims.select(t, data=last, machine="mean").to_dict("records"):
        difference, hi, lo = (-100 * r[name] for name in ("difference", "lo", "hi"))
        minus = "" if r["variant"] == "asdkit" else f"{difference:+z.1f} [{lo:+z.1f}, {hi:+z.1f}]"
        cells[f"`{r['variant']}`", f"`asdkit` minus it, {last}"] = minus
    return claims.markdown("system", cells)


def write_goals(tables: dict, out: str | Path) -> pd.DataFrame:
    """Write ``goals.md`` into a folder, where there are tables of the study; return the goals."""
    table = claims.goals_table(tables)
    if not table.empty:
        tell = {"study": systems_markdown, "alarms": alarms_markdown, "speed": speed_markdown}
        texts = [claims.goals_markdown(table), *(tell[name](tables[name]) for name in tell if name in tables)]
        texts += [f"Written by `asdkit figures` from the tables of the studies, not by hand; rules: `{claims.RULES}`."]
        write(Path(out) / "goals.md", "\n\n".join(texts) + "\n")
    return table


def main() -> None:
    """Compute the studies, each table written as soon as a level is there."""
    parser = argparse.ArgumentParser(prog="asdkit.experiments.study", description=__doc__.splitlines()[0])
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--real", type=Path, help="folder of real machines")
    parser.add_argument("--data", type=Path, default=Path("data/study"))
    parser.add_argument("--out", type=Path, default=Path("runs/study"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="only these of 0 1 2")
    args = parser.parse_args()
    if unknown := set(args.studies) - set(STUDIES):
        parser.error(f"found {', '.join(sorted(unknown))}; expected {', '.join(STUDIES)}")
    recordings = ablation.gather([args.real]) if args.real else []
    for study in args.studies or STUDIES:
        for level in levels(study, args.data, recordings, args.jobs):
            compute(study, level._replace(seeds=tuple(n for n in level.seeds if n in args.seeds)), args.out, args.jobs)


def compute(study: str, level: Level, out: Path, jobs: int) -> None:
    """Compute one level, and put its rows into the table of the study; what `out` holds is not computed again."""
    folder = out / ("machines" if study in ("autoencoder", "alarms") else study) / level.name
    evaluation = score(level, folder, jobs)
    path = out / "tables" / ("alarms.csv" if study == "alarms" else "study.csv")
    add_rows(path, alarms(level, evaluation, folder) if study == "alarms" else compared(study, level, evaluation))
    write(out / "tables" / "study.json", json.dumps({"bases": {"study": Config().hash()}}) + "\n")
    print(f"{study}, {level.name}: {path}", flush=True)


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
