"""From the scores of a run to tables and figures. Labels and domains of test clips are read here, and nowhere before.

Legend
------
parts : {(machine, system, seed): part}, a part being what `asdkit.experiments.runs` writes: file names, scores, decisions.
results : one row a machine, system and seed, metrics as fractions; machine "all" is the official Omega over machines.
"""

from __future__ import annotations

import json
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd

from asdkit import metrics
from asdkit.config import Config, systems
from asdkit.recordings import Machine
from asdkit.recordings.files import write

COLUMNS = [
    "machine", "system", "seed", "auc_source", "auc_target", "pauc", "omega", "omega_lo", "omega_hi", "false_alarm", "seconds",
]  # fmt: skip


def read_parts(out: str | Path) -> dict[tuple[str, str, int], dict]:
    """All parts of a run: machines by name, systems in the order of `asdkit.config.systems`, then seeds."""
    known = [*systems(Config()), "autoencoder-mse", "autoencoder-mahalanobis"]
    parts = [(p.parent.parent.name, json.loads(p.read_text())) for p in Path(out).glob("*/parts/*.json")]
    rank = {s: (known.index(s) if s in known else len(known), s) for _, p in parts for s in [p["system"]]}
    parts.sort(key=lambda mp: (mp[0], rank[mp[1]["system"]], mp[1]["seed"]))
    return {(machine, part["system"], part["seed"]): part for machine, part in parts}


class Evaluation:
    """Points and bootstrap resamples of every part whose test clips have labels."""

    def __init__(self, parts: dict, machines: list[Machine]):
        self.parts = {key: p for key, p in parts.items() if key[0] in {m.name for m in machines}}
        self.truth = {m.name: {c.name: c for c in m.test} for m in machines}
        self.points, self.boots = {}, {}
        for key, part in self.parts.items():
            clips = [self.truth[key[0]][name] for name in part["files"]]
            if clips and None not in {c.label for c in clips} and len({c.label for c in clips}) == 2:
                self.points[key], self.boots[key] = evaluate_clips(key[0], part["scores"], clips)

    def false_alarm(self, key) -> float:
        """False-alarm rate on test normals; NaN without labels or decisions."""
        decisions = self.parts[key]["decisions"]
        if key not in self.points or None in decisions:
            return float("nan")
        clips = self.truth[key[0]]
        return metrics.false_alarm_rate(decisions, [clips[name].label for name in self.parts[key]["files"]])


def evaluate_clips(machine: str, scores, clips) -> tuple[np.ndarray, np.ndarray]:
    """auc_source, auc_target and pauc of one machine, and their bootstrap resamples."""
    truth = [c.label for c in clips], [c.domain for c in clips]
    point = metrics.evaluate(scores, *truth)
    recordings = [c.recording for c in clips]  # one seed a machine: systems are paired, machines independent
    boots = metrics.bootstrap(scores, *truth, recordings, seed=(0, crc32(machine.encode())))
    return np.array([point[name] for name in metrics.METRICS]), boots


def results_table(evaluation: Evaluation) -> pd.DataFrame:
    """The rows of ``results.csv``."""
    rows = [_row(key, [key], evaluation) for key in evaluation.parts]
    pairs = dict.fromkeys((system, seed) for _, system, seed in evaluation.parts)
    for system, seed in pairs:
        rows.append(_row(("all", system, seed), [k for k in evaluation.parts if k[1:] == (system, seed)], evaluation))
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(name, keys, evaluation):
    seconds = sum(evaluation.parts[k]["seconds"] for k in keys)
    false_alarm = np.mean([evaluation.false_alarm(k) for k in keys])
    keys = [k for k in keys if k in evaluation.points]
    if not keys:
        return (*name, *[np.nan] * 6, false_alarm, seconds)
    points = np.array([evaluation.points[k] for k in keys])
    low, high = metrics.interval(metrics.omega_samples([evaluation.boots[k] for k in keys]))
    parts = metrics.omega(points, axis=0) if len(keys) > 1 else points[0]
    return (*name, *parts, metrics.omega(points), low, high, false_alarm, seconds)


def differences_table(evaluation: Evaluation, reference: str = "asdkit") -> pd.DataFrame:
    """The reference system minus each other one, paired by recording: per machine, and the mean over machines.

    Differences of Omega are averaged over the seeds that both systems have.
    """
    rows = []
    for system in dict.fromkeys(s for _, s, _ in evaluation.points if s != reference):
        both = [(m, seed) for m, s, seed in evaluation.points if s == system and (m, reference, seed) in evaluation.points]
        for machine in [*dict.fromkeys(m for m, _ in both), "mean"] if both else []:
            pairs = [(m, seed) for m, seed in both if machine in (m, "mean")]
            n_seeds = len({seed for _, seed in pairs})
            rows.append((machine, reference, system, n_seeds, *_difference(evaluation, pairs, reference, system)))
    return pd.DataFrame(rows, columns=["machine", "reference", "system", "seeds", "difference", "lo", "hi"])


def _difference(evaluation, pairs, a, b):
    points = [[evaluation.points[m, s, seed] for m, seed in pairs] for s in (a, b)]
    boots = [[evaluation.boots[m, s, seed] for m, seed in pairs] for s in (a, b)]
    return metrics.paired_difference(*map(np.array, points), *boots)


def scores_table(parts: dict, machine: str) -> pd.DataFrame:
    """The rows of ``<machine>/scores.csv``."""
    frames = [
        pd.DataFrame(dict(file=p["files"], system=system, seed=seed, score=p["scores"], decision=p["decisions"]))
        for (name, system, seed), p in parts.items()
        if name == machine
    ]
    return pd.concat([f.astype({"decision": "Int64"}) for f in frames], ignore_index=True)


def summary_table(results: pd.DataFrame, differences: pd.DataFrame) -> pd.DataFrame:
    """Omega x100 by system and machine, mean over seeds, with intervals, and paired differences, as text.

    The interval of a machine is the mean of its seeds' bounds.
    """
    mean = results.groupby(["system", "machine"], sort=False)[["omega", "omega_lo", "omega_hi"]].mean() * 100
    machines = list(dict.fromkeys(results["machine"]))
    rows = {}
    for system in dict.fromkeys(results["system"]):
        cells = {m: mean.loc[system, m] if (system, m) in mean.index else None for m in machines}
        rows[system] = {m: cell(c.omega, c.omega_lo, c.omega_hi) if c is not None else "" for m, c in cells.items()}
    for _, d in differences[differences["machine"] == "mean"].iterrows():
        rows[d["system"]][f"{d['reference']} minus it"] = cell(d["difference"] * 100, d["lo"] * 100, d["hi"] * 100, "+")
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def summary(results: pd.DataFrame, differences: pd.DataFrame) -> str:
    """The table that is printed."""
    n = results.groupby("system")["seed"].nunique().max()
    note = (
        f"Omega x100, mean of {n} seed(s) [95 % interval over recordings]; all = official Omega over machines;\n"
        "the last column is the paired difference, arithmetic mean over machines."
    )
    return summary_table(results, differences).to_string() + "\n\n" + note


def cell(value: float, low: float, high: float, sign: str = "") -> str:
    """A value and its interval as text."""
    return "no labels" if np.isnan(value) else f"{value:{sign}z.1f} [{low:{sign}z.1f}, {high:{sign}z.1f}]"


def write_tables(out: str | Path, machines: list[Machine]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write ``results.csv``, ``differences.csv``, ``configs.json`` (with hashes), ``conditioning.csv`` (how much of the near
    variance was taken away) and each ``scores.csv`` from the parts of a run."""
    out, parts = Path(out), read_parts(out)
    evaluation = Evaluation(parts, machines)
    results, differences = results_table(evaluation), differences_table(evaluation)
    configs = {p["system"]: {"hash": p["config_hash"], "config": p["config"]} for p in evaluation.parts.values()}
    write(out / "configs.json", json.dumps(configs, indent=1))
    removed = [(*key, p["near_variance_removed"]) for key, p in evaluation.parts.items() if p["near_variance_removed"]]
    columns = ["machine", "system", "seed", "near_variance_removed"]
    write(out / "conditioning.csv", pd.DataFrame(removed, columns=columns).to_csv(index=False))
    write(out / "results.csv", results.to_csv(index=False))
    write(out / "differences.csv", differences.to_csv(index=False))
    for machine in dict.fromkeys(m for m, _, _ in evaluation.parts):
        write(out / machine / "scores.csv", scores_table(parts, machine).to_csv(index=False))
    return results, differences


def write_figures(out: str | Path, machines: list[Machine], results: pd.DataFrame) -> list[Path]:
    """Draw the figures of a run into ``figures``: Omega, and per machine a clip, the scores and the ROC curves."""
    from asdkit import figures

    parts, drawn = read_parts(out), {}
    if results["omega"].notna().any():
        drawn["omega"] = figures.omega_bars(results)
    first = min((seed for _, _, seed in parts), default=0)
    for machine in machines:
        drawn[f"clip-{machine.name}"] = _clip_figure(machine)
        mine = {s: p for (m, s, seed), p in parts.items() if (m, seed) == (machine.name, first)}
        if mine and {c.label for c in machine.test} == {0, 1}:
            drawn |= _score_figures(machine, mine)
    return [write(Path(out) / "figures" / f"{name}.png", figures.png(figure)) for name, figure in drawn.items()]


def _score_figures(machine, mine):
    """Scores of one system, ROC curves of a few."""
    from asdkit import figures

    clips = {c.name: c for c in machine.test}
    shown = "asdkit" if "asdkit" in mine else next(iter(mine))
    ordered = [clips[name] for name in mine[shown]["files"]]
    truth = [c.label for c in ordered], [c.domain for c in ordered]
    few = [s for s in ("asdkit", "report", "logmel-near", "autoencoder-mse") if s in mine] or [shown]
    histogram = figures.score_histograms(mine[shown]["scores"], *truth, mine[shown]["threshold"], f"{machine.name}, {shown}")
    curves = figures.roc({s: mine[s]["scores"] for s in few}, *truth)
    return {f"scores-{machine.name}": histogram, f"roc-{machine.name}": curves}


def _clip_figure(machine):
    from asdkit import figures
    from asdkit.blocks import HOP, read_spectra
    from asdkit.recordings import SAMPLE_RATE

    spectra = read_spectra(machine.train[0], Config())
    panels = [spectra[channel, "slow"].numpy() for channel in ("near", "far", "residual")]
    return figures.clip_panels(*panels, np.arange(panels[0].shape[1]) * HOP / SAMPLE_RATE)
