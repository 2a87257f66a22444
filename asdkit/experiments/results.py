"""From the results of a run to tables and figures. Labels and domains of test clips are read here, and nowhere before.

results : {(machine, system, seed): result} as `asdkit.experiments.runs` writes them: file names, scores, decisions.
table : one row a machine, system and seed, metrics as fractions; machine "all" is the official Omega over machines.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from asdkit import metrics
from asdkit.config import Config
from asdkit.experiments.families import AUTOENCODER, systems
from asdkit.recordings import SAMPLE_RATE, Machine
from asdkit.recordings.files import write

GAP = "auc_target - auc_source"
COLUMNS = ["machine", "system", "seed", *metrics.METRICS, "omega", "omega_lo", "omega_hi", "false_alarm", "seconds"]


def read_results(out: str | Path) -> dict[tuple[str, str, int], dict]:
    """All results of a run: machines by name, systems in the order of `systems`, then seeds."""
    known = [*systems(Config()), *AUTOENCODER]
    results = [(p.parent.parent.name, json.loads(p.read_text())) for p in Path(out).glob("*/results/*.json")]
    rank = {s: (known.index(s) if s in known else len(known), s) for _, r in results for s in [r["system"]]}
    results.sort(key=lambda pair: (pair[0], rank[pair[1]["system"]], pair[1]["seed"]))
    return {(machine, r["system"], r["seed"]): r for machine, r in results}


class Evaluation:
    """Metrics of every result of some machines whose test clips have labels, and their bootstrap resamples.

    `points` {(machine, system, seed): (3,)} are `asdkit.metrics.METRICS`, `boots` (n_resamples, 3) their resamples: systems are
    paired, machines independent. `clips` are {machine: {file name: clip}} of the test clips.
    """

    def __init__(self, results: dict, machines: Sequence[Machine]):
        self.clips = {m.name: {c.name: c for c in m.test} for m in machines}
        self.results = {key: r for key, r in results.items() if key[0] in self.clips}
        self.points, self.boots = {}, {}
        for key, result in self.results.items():
            clips = [self.clips[key[0]][name] for name in result["files"]]
            if {c.label for c in clips} == {0, 1}:
                self.points[key], self.boots[key] = evaluate_clips(key[0], result["scores"], clips)

    def samples(self, system: str, machines, seeds, metric: str = "omega", minus: str | None = None) -> np.ndarray:
        """A metric of one system, or by how much it is above that of the system `minus` on the same clips.

        `metric` is "omega", one of `asdkit.metrics.METRICS`, or `GAP`: the arithmetic mean over the machines and seeds with
        labels and clips of its domain. Returns (1 + n_resamples,), the estimate first; NaN without labels.
        """
        names = [system] if minus is None else [system, minus]
        keys = [[(machine, name, seed) for name in names] for machine in machines for seed in seeds]
        values = [[self._column(key, metric) for key in pair] for pair in keys if self.points.keys() >= {*pair}]
        values = [x[0] - x[1] if minus is not None else x[0] for x in values if not np.isnan(x[0][0])]
        return np.mean(values, axis=0) if values else np.full(2, np.nan)

    def _column(self, key, metric):
        values = np.vstack([self.points[key], self.boots[key]])
        columns = dict(zip(metrics.METRICS, values.T)) | {"omega": metrics.omega(values, axis=1)}
        return columns["auc_target"] - columns["auc_source"] if metric == GAP else columns[metric]

    def false_alarm(self, key) -> float:
        """False-alarm rate on test normals; NaN without labels or decisions."""
        result = self.results[key]
        if key not in self.points or None in result["decisions"]:
            return float("nan")
        return metrics.false_alarm_rate(result["decisions"], [self.clips[key[0]][name].label for name in result["files"]])


def estimate(samples: np.ndarray) -> tuple[float, float, float]:
    """Estimate and 95 % interval of `Evaluation.samples`."""
    return float(samples[0]), *metrics.interval(samples[1:])


def evaluate_clips(machine: str, scores, clips) -> tuple[np.ndarray, np.ndarray]:
    """auc_source, auc_target and pauc of one machine, and their bootstrap resamples."""
    truth = [c.label for c in clips], [c.domain for c in clips]
    point = metrics.evaluate(scores, *truth)
    boots = metrics.bootstrap(scores, *truth, [c.recording for c in clips], seed=(0, crc32(machine.encode())))
    return np.array([point[name] for name in metrics.METRICS]), boots


def results_table(evaluation: Evaluation) -> pd.DataFrame:
    """The rows of ``results.csv``."""
    known = list(evaluation.results)
    whole = {("all", *pair): [k for k in known if k[1:] == pair] for pair in dict.fromkeys(k[1:] for k in known)}
    rows = [_row(name, keys, evaluation) for name, keys in ({k: [k] for k in known} | whole).items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(name, keys, evaluation):
    seconds = sum(evaluation.results[k]["seconds"] for k in keys)
    false_alarm = np.mean([evaluation.false_alarm(k) for k in keys])
    keys = [k for k in keys if k in evaluation.points]
    if not keys:
        return (*name, *[np.nan] * 6, false_alarm, seconds)
    points = np.array([evaluation.points[k] for k in keys])
    low, high = metrics.interval(metrics.omega_samples([evaluation.boots[k] for k in keys]))
    columns = metrics.omega(points, axis=0) if len(keys) > 1 else points[0]
    return (*name, *columns, metrics.omega(points), low, high, false_alarm, seconds)


def differences_table(evaluation: Evaluation, reference: str = "asdkit") -> pd.DataFrame:
    """Omega of the reference system minus that of each other one, paired by recording: per machine, and their mean.

    Differences are averaged over the seeds that both systems have.
    """
    rows = []
    for system in dict.fromkeys(s for _, s, _ in evaluation.points if s != reference):
        both = [(m, n) for m, s, n in evaluation.points if s == system and (m, reference, n) in evaluation.points]
        machines = list(dict.fromkeys(m for m, _ in both))
        for name, members in {**{m: [m] for m in machines}, "mean": machines}.items() if both else ():
            seeds = sorted({n for m, n in both if m in members})
            difference = estimate(evaluation.samples(reference, members, seeds, minus=system))
            rows.append((name, reference, system, len(seeds), *difference))
    return pd.DataFrame(rows, columns=["machine", "reference", "system", "seeds", "difference", "lo", "hi"])


def summary(table: pd.DataFrame, differences: pd.DataFrame) -> str:
    """Omega x100 by system and machine, mean over seeds with mean bounds, and paired differences, as text."""
    mean = table.groupby(["machine", "system"], sort=False)[["omega", "omega_lo", "omega_hi"]].mean()
    wide = mean.apply(lambda r: _cell(*r), axis=1).unstack("machine")
    wide = wide.loc[table["system"].unique(), table["machine"].unique()].rename_axis(index=None, columns=None).fillna("")
    rows = differences[differences["machine"] == "mean"].set_index("system")
    for reference, group in rows.groupby("reference"):
        cells = group[["difference", "lo", "hi"]].apply(lambda r: _cell(*r, sign="+"), axis=1)
        wide[f"{reference} minus it"] = cells.reindex(wide.index).fillna("")
    compared = ";\nthe last column is the paired difference, arithmetic mean over machines" if len(rows) else ""
    note = f"mean of {table.groupby('system')['seed'].nunique().max()} seed(s) [95 % interval over recordings]"
    return f"{wide.to_string()}\n\nOmega x100, {note}; all = official Omega over machines{compared}."


def _cell(*fractions, sign: str = "") -> str:
    """A value and its interval as text, x100."""
    value, low, high = (100 * x for x in fractions)
    return "no labels" if np.isnan(value) else f"{value:{sign}z.1f} [{low:{sign}z.1f}, {high:{sign}z.1f}]"


def write_tables(out: str | Path, machines: list[Machine]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write ``results.csv``, ``differences.csv``, ``configs.json`` (with hashes), ``conditioning.csv`` (how much of the near
    variance was taken away) and each ``scores.csv`` from the results of a run."""
    out, results = Path(out), read_results(out)
    evaluation = Evaluation(results, machines)
    table, differences = results_table(evaluation), differences_table(evaluation)
    configs = {r["system"]: {"hash": r["config_hash"], "config": r["config"]} for r in evaluation.results.values()}
    write(out / "configs.json", json.dumps(configs, indent=1))
    removed = [(*key, r["near_variance_removed"]) for key, r in evaluation.results.items() if r["near_variance_removed"]]
    removed = pd.DataFrame(removed, columns=["machine", "system", "seed", "near_variance_removed"])
    frames = {"conditioning": removed, "results": table, "differences": differences}
    for machine in dict.fromkeys(m for m, _, _ in evaluation.results):
        mine = [(key[1:], r) for key, r in results.items() if key[0] == machine]
        rows = [(f, *key, s, d) for key, r in mine for f, s, d in zip(r["files"], r["scores"], r["decisions"])]
        scores = pd.DataFrame(rows, columns=["file", "system", "seed", "score", "decision"])
        frames[f"{machine}/scores"] = scores.astype({"decision": "Int64"})
    for name, frame in frames.items():
        write(out / f"{name}.csv", frame.to_csv(index=False))
    return table, differences


def write_figures(out: str | Path, machines: list[Machine], table: pd.DataFrame) -> list[Path]:
    """Draw the figures of a run into ``figures``: Omega, and per machine a clip, the scores and the ROC curves."""
    from asdkit import figures
    from asdkit.blocks import HOP, read_spectra

    results, drawn = read_results(out), {}
    if table["omega"].notna().any():
        drawn["omega"] = figures.omega_bars(table)
    first = min((seed for _, _, seed in results), default=0)
    for machine in machines:
        spectra = read_spectra(machine.train[0], Config())
        panels = [spectra[channel].numpy() for channel in ("near", "far", "conditioned")]
        times = np.arange(panels[0].shape[1]) * HOP / SAMPLE_RATE
        drawn[f"clip-{machine.name}"] = figures.clip_panels(*panels, times)
        mine = {s: r for (m, s, seed), r in results.items() if (m, seed) == (machine.name, first)}
        if mine and {c.label for c in machine.test} == {0, 1}:
            shown = "asdkit" if "asdkit" in mine else next(iter(mine))
            few = [s for s in ("asdkit", "report", "log-mel", "autoencoder-mse") if s in mine] or [shown]
            truth, name = [[getattr(c, key) for c in machine.test] for key in ("label", "domain")], f"{machine.name}, {shown}"
            histogram = figures.score_histograms(mine[shown]["scores"], *truth, mine[shown]["threshold"], name)
            drawn[f"scores-{machine.name}"] = histogram
            drawn[f"roc-{machine.name}"] = figures.roc({s: mine[s]["scores"] for s in few}, *truth)
    return [write(Path(out) / "figures" / f"{name}.png", figures.png(figure)) for name, figure in drawn.items()]
