"""Which options of `asdkit.Config` are worth leaving the report's literal reading for.

    python benchmarks/options.py DATA [DATA ...] --out DIR [--seeds 0 1] [--jobs 2]

First each option is changed alone, starting from the report; the table gives its paired difference to the report, the
arithmetic mean over all machines with a 95 % interval over recordings. Then options are changed starting from the report with
score fusion, by the maximum and by the mean. Last, the departures of `asdkit` from the report are taken back one by one.
"""

import argparse
from dataclasses import fields, replace
from pathlib import Path

from asdkit import metrics, results, runs
from asdkit.config import Config
from asdkit.recordings import index_data

REPORT, ASDKIT = Config.report(), Config()
RESIDUAL = ("near", "residual")
BOTH = ("msm", "ridge-complex", "ridge-log-mel", "modulation")
ALONE = {
    "fusion mean": dict(fusion="mean"),
    "fusion max": dict(fusion="max"),
    "balance off": dict(balance=False),
    "ridge complex": dict(blocks=("msm", "ridge-complex", "modulation")),
    "both ridges": dict(blocks=BOTH),
    "modulation of the residual": dict(modulation_channels=("residual",)),
    "modulation fast": dict(modulation="fast"),
    "modulation both": dict(modulation="both"),
    "last map": dict(readout="last-map"),
    "random crops": dict(random_crops=True),
    "near and residual crops, near scored": dict(msm_train_channels=RESIDUAL, random_crops=True),
    "near and residual crops, residual scored": dict(msm_train_channels=RESIDUAL, random_crops=True, msm_channel="residual"),
    "alpha 0": dict(alpha=0.0),
    "alpha 1": dict(alpha=1.0),
    "rank by shuffled pairs": dict(rank_rule="shuffled"),
    "cca": dict(subspace="cca"),
    "control: random": dict(control="random"),
    "control: near-pca": dict(control="near-pca"),
    "control: other-recording": dict(control="other-recording"),
    "k 1": dict(k=1),
    "k 5": dict(k=5),
    "n_0 0": dict(n_0=0.0),
    "n_0 100": dict(n_0=100.0),
    "pooled": dict(backend="pooled"),
    "unscaled": dict(backend="unscaled"),
    "local density": dict(backend="local-density"),
    "varmin": dict(backend="varmin"),
    "minimum of back-ends": dict(backend="minimum"),
    "aggregate mean": dict(aggregate="mean"),
    "aggregate max": dict(aggregate="max"),
}
FUSED = {
    "last map": dict(readout="last-map"),
    "modulation fast": dict(modulation="fast"),
    "modulation of the residual": dict(modulation_channels=("residual",)),
    "modulation fast of near and residual": dict(modulation="fast", modulation_channels=RESIDUAL),
    "ridge complex": dict(blocks=("msm", "ridge-complex", "modulation")),
    "both ridges": dict(blocks=BOTH),
    "both ridges, modulation fast of the residual": dict(blocks=BOTH, modulation="fast", modulation_channels=("residual",)),
    "alpha 0": dict(alpha=0.0),
    "control: near-pca": dict(control="near-pca"),
    "varmin": dict(backend="varmin"),
    "aggregate mean": dict(aggregate="mean"),
}


def departures() -> list[str]:
    """Options in which the default differs from the report."""
    return [f.name for f in fields(Config) if getattr(ASDKIT, f.name) != getattr(REPORT, f.name)]


def main() -> None:
    """Run, and print the two tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--departures", action="store_true", help="only the last part")
    args = parser.parse_args()
    machines = [replace(m, name=f"{data.name}-{m.name}") for data in args.data for m in index_data(data)]
    without = {f"asdkit without {name}": replace(ASDKIT, **{name: getattr(REPORT, name)}) for name in departures()}
    stages = {"report": {name: replace(REPORT, **change) for name, change in ALONE.items()}}
    for how in ("max", "mean"):
        base = replace(REPORT, fusion=how)
        stages[f"fusion {how}"] = {f"{how}; {name}": replace(base, **change) for name, change in FUSED.items()}
    stages = ({} if args.departures else stages) | {"asdkit": without}
    chosen = {"report": REPORT, "asdkit": ASDKIT} | {name: c for stage in stages.values() for name, c in stage.items()}
    runs.run_systems(machines, args.out, chosen, args.seeds, args.jobs, decide=False)
    evaluation = results.Evaluation(results.read_parts(args.out), machines)
    for reference, stage in stages.items():
        print_table(evaluation, machines, list(stage), reference)
    print_table(evaluation, machines, ["asdkit"], "report")


def print_table(evaluation, machines, systems, reference) -> None:
    """One row an option: Omega x100 of each machine (mean over seeds), and the paired difference to the reference."""
    print(f"\n| option | {' | '.join(m.name for m in machines)} | minus {reference} [95 %] |")
    print("|" + "---|" * (len(machines) + 2))
    table = results.differences_table(evaluation, reference)
    mean = table[table["machine"] == "mean"].set_index("system")
    for system in [reference, *systems]:
        points = [[p for (name, s, _), p in evaluation.points.items() if (name, s) == (m.name, system)] for m in machines]
        cells = [f"{100 * metrics.omega(p, axis=1).mean():.1f}" for p in points]
        d = mean.loc[system] if system in mean.index else None
        last = "" if d is None else f"{-100 * d['difference']:+.1f} [{-100 * d['hi']:+.1f}, {-100 * d['lo']:+.1f}]"
        print(f"| {system} | {' | '.join(cells)} | {last} |")


if __name__ == "__main__":
    main()
