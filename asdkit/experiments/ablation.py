"""Ablations: every variant of `asdkit.experiments.families` scored on every machine, as tidy tables.

``DIR/scores``  a run of `asdkit.experiments.runs` whose systems are named by the hash of their configuration: a variant
                that two families share is computed once, and what is there is never computed again
``DIR/trap``    results of `asdkit.experiments.trap`, the mechanism behind the objectives
``DIR/tables``  of which `asdkit.experiments.tables` draws figures, and by which `asdkit.experiments.claims` judges

base, family, variant, reference : as in `families`. data : "simulated" or "real". machine : "mean" is that over those of
    one kind of data. Metrics are fractions, differences are variant minus reference.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from asdkit import __version__
from asdkit.config import Config
from asdkit.experiments import runs
from asdkit.experiments.families import Row, plan
from asdkit.experiments.maps import clip_coordinates
from asdkit.experiments.results import Evaluation, estimate, read_results, results_table
from asdkit.recordings import Machine, index_data
from asdkit.recordings.files import write
from asdkit.simulate import RECORD

METRICS = ("omega", "auc_target")  # of which differences are stored
ROUND = 5  # digits of stored fractions


def gather(folders: Sequence[str | Path]) -> list[Machine]:
    """The machines of all folders, named ``<data>-<machine>``: "simulated" where `asdkit simulate` made every sound."""
    machines = [m for folder in folders for m in index_data(folder)]
    return [replace(m, name=f"{'simulated' if simulation(m) else 'real'}-{m.name}") for m in machines]


def simulation(machine: Machine) -> dict | None:
    """What a machine was simulated with; None for recordings."""
    path = machine.folder / RECORD
    made = json.loads(path.read_text()) if path.is_file() else {}
    return made if made.get("made_by") == "simulate" else None


def run(machines: list[Machine], out: Path, rows: list[Row], seeds=(0, 1, 2), jobs: int = 1, quick: bool = False) -> Evaluation:
    """Score every variant on every machine and seed; what `out` holds is not computed again."""
    chosen = {row.config.hash(): row.config for row in rows}
    runs.run_systems(machines, out, chosen, seeds, jobs, quick)
    results = {key: result for key, result in read_results(out).items() if key[1] in chosen and key[2] in seeds}
    return Evaluation(results, machines)


def ablation_table(evaluation: Evaluation, rows: list[Row], machines: list[Machine], seeds=(0, 1, 2)) -> pd.DataFrame:
    """One row a base, family, machine, variant and seed: metrics, the interval of Omega, seconds, hash of the configuration."""
    asked = [(row, machine.name, seed) for row in rows for machine in machines for seed in sorted(seeds)]
    head = [(row.base, row.family, *name.split("-", 1), row.variant, seed) for row, name, seed in asked]
    keys = [(name, row.config.hash(), seed) for row, name, seed in asked]
    head = pd.DataFrame(head, columns=["base", "family", "data", "machine", "variant", "seed"])
    measured = results_table(evaluation).set_index(["machine", "system", "seed"]).drop(columns="false_alarm").loc[keys]
    return head.join(measured.reset_index(drop=True)).assign(config=[system for _, system, _ in keys]).round(ROUND)


def groups(machines: Sequence[Machine]) -> Iterable[tuple[str, str, list[str]]]:
    """(data, machine, names of machines): each machine, and the mean of each kind of data."""
    for data in dict.fromkeys(m.name.split("-", 1)[0] for m in machines):
        names = [m.name for m in machines if m.name.startswith(f"{data}-")]
        yield from ((data, name.split("-", 1)[1], [name]) for name in names)
        yield data, "mean", names


def ablation_differences(
    evaluation: Evaluation, rows: Sequence, machines: list[Machine], seeds=(0, 1, 2), names=METRICS
) -> pd.DataFrame:
    """Variant minus the reference of its family, paired by recording, mean over seeds: per machine and mean over machines.

    `rows` have what a `Row` has save configurations; `names` are metrics of `Evaluation.samples`. Value is the metric itself.
    """
    table = []
    for data, machine, members in groups(machines):
        for row in rows:
            head = (row.base, row.family, data, machine, row.variant, row.reference)
            for metric in names:
                system, reference = row.systems
                value = estimate(evaluation.samples(system, members, seeds, metric))
                difference = estimate(evaluation.samples(system, members, seeds, metric, minus=reference))
                table.append((*head, metric, len(seeds), len(members), *value, *difference))
    numbers = ["seeds", "machines", "value", "value_lo", "value_hi", "difference", "lo", "hi"]
    head = ["base", "family", "data", "machine", "variant", "reference", "metric"]
    return pd.DataFrame(table, columns=[*head, *numbers]).round(ROUND)


def one_scalar(evaluation: Evaluation, rows: list[Row], machines: list[Machine], seeds=(0, 1, 2)) -> pd.DataFrame:
    """What one alpha for all machines costs: Omega at a machine's best alpha minus Omega at the best of the *other* machines.

    The best alpha of a machine is chosen on its own test clips: the cost is an upper limit. No rows where there is one machine
    of a kind of data. Gain is that of the others' alpha over alpha 0.
    """
    table = []
    for base in dict.fromkeys(r.base for r in rows if r.family == "alpha"):
        known = {float(r.variant): r.config.hash() for r in rows if (r.base, r.family) == (base, "alpha")}
        alphas, zero = np.array(list(known)), list(known).index(0.0)
        for data, _, members in (group for group in groups(machines) if group[1] == "mean" and len(group[2]) > 1):
            samples = np.array([[evaluation.samples(h, [name], seeds) for h in known.values()] for name in members])
            omegas, each = samples[:, :, 0], np.arange(len(members))  # samples: (n_machines, n_alphas, 1 + n_resamples)
            own, others = omegas.argmax(1), np.array([np.delete(omegas, i, axis=0).mean(0).argmax() for i in each])
            costs, gains = samples[each, own] - samples[each, others], samples[each, others] - samples[each, zero]
            for i, name in enumerate(members):
                head = (base, data, name.split("-", 1)[1], len(seeds), 1, alphas[others[i]], alphas[own[i]])
                table.append((*head, *estimate(costs[i]), *estimate(gains[i])))
            head = (base, data, "mean", len(seeds), len(members), np.nan, np.nan)
            table.append((*head, *estimate(costs.mean(0)), *estimate(gains.mean(0))))
    head = ["base", "data", "machine", "seeds", "machines", "alpha", "best"]
    return pd.DataFrame(table, columns=[*head, "cost", "lo", "hi", "gain", "gain_lo", "gain_hi"]).round(ROUND)


def ablate(
    folders: Sequence[str | Path], out: str | Path, bases: dict[str, Config] | None = None, names: Iterable[str] | None = None,
    seeds: Iterable[int] = (0, 1, 2), jobs=1, n_scenes=12, quick=False,
) -> Path:  # fmt: skip
    """Score every variant, measure the trap, and write the tables; return their folder. What `out` holds is kept.

    Each of `folders` holds ``<machine>/{train,test}`` somewhere below; those that `asdkit simulate` wrote also show the trap,
    in counterfactual twins of `n_scenes` scenes a machine. `bases` are "asdkit" and "report", and `names` all families, by
    default; `jobs` are machines at a time. Token training (`quick`) is for seeing whether it works, and not a result.
    """
    from asdkit.experiments import trap

    out, seeds = Path(out), tuple(sorted(set(seeds)))
    bases = bases or {"asdkit": Config(), "report": Config.report()}
    machines, rows = gather(folders), plan(bases, names, quick)
    evaluation = run(machines, out / "scores", rows, seeds, jobs, quick)
    tables = {
        "ablation": ablation_table(evaluation, rows, machines, seeds),
        "differences": ablation_differences(evaluation, rows, machines, seeds),
        "one-scalar": one_scalar(evaluation, rows, machines, seeds),
        **trap.tables(trap.run(machines, out / "trap", rows, seeds, n_scenes, jobs=jobs), rows, seeds),
    }
    if mapped := next((r for r in rows if r.family == "embedding"), None):
        tables["embedding"] = clip_coordinates(machines, out / "maps", mapped.config, seeds[0]).assign(base=mapped.base)
    for name, table in tables.items():
        write(out / "tables" / f"{name}.csv", table.to_csv(index=False))
    about = dict(
        asdkit=__version__, quick=quick, bases={name: config.hash() for name, config in bases.items()}, seeds=seeds,
        scenes=n_scenes, machines={m.name: {"train": len(m.train), "test": len(m.test)} for m in machines},
        families=list(dict.fromkeys(r.family for r in rows)), variants=len({r.config for r in rows}),
    )  # fmt: skip
    write(out / "tables" / "about.json", json.dumps(about, indent=1) + "\n")
    return out / "tables"
