"""What the notebooks share: recordings of a lesson, the truth about them, systems compared on them, and small experiments.

scores : {system: (n_clips,)} of the test clips in the order of their names, higher = more anomalous.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from asdkit import dsp, metrics
from asdkit.config import Config
from asdkit.experiments.ablation import ablate, gather
from asdkit.experiments.cache import Cache
from asdkit.experiments.results import Evaluation, estimate
from asdkit.experiments.runs import score_machine
from asdkit.experiments.tables import read_tables
from asdkit.recordings import Clip, InputError, Machine, index_data, index_machine
from asdkit.simulate import Scene, mix, simulate
from asdkit.spectrogram import stft


def home() -> Path:
    """The clone this package is used from; the current folder where it was installed without one."""
    clone = Path(__file__).parents[2]
    return clone if (clone / "pyproject.toml").is_file() else Path.cwd()


def resolve(path: str | Path) -> Path:
    """A path that is relative to the current folder or, where nothing is there, to the clone."""
    path = Path(path).expanduser()
    return home() / path if (home() / path).exists() and not path.exists() else path


def machine(data: str | Path = "", kind="fan", train=100, target=10, test=20, seconds=10.0, seed=0, labelled=True) -> Machine:
    """The recordings of a lesson: a folder of one machine or, where none is named, a simulated one.

    A folder is absolute, or relative to the current one or to the clone. A simulated machine (`kind`, specimen and sizes as in
    `asdkit.simulate.simulate`) is made once, in ``data/lessons`` of the clone. An InputError for a folder that is none of one
    machine, or has no test clips of both labels where `labelled` asks for them.
    """
    chosen, *others = index_data(resolve(data)) if str(data) else [_simulated(kind, train, target, test, seconds, seed)]
    if others:
        names = ", ".join(m.name for m in (chosen, *others))
        raise InputError(f"{data}: found {names}; expected the folder of one machine, such as {chosen.folder}")
    return _with_labels(chosen) if labelled else chosen


def machines(data: str | Path = "", kinds: Sequence[str] = ("fan", "valve"), **sizes) -> list[Machine]:
    """The same of several machines, named ``<simulated or real>-<machine>``: all below a folder, or simulated ones."""
    folders = [resolve(data)] if str(data) else [machine(kind=kind, **sizes).folder for kind in kinds]
    return [_with_labels(each) for each in gather(folders)]


def _with_labels(machine: Machine) -> Machine:
    if {c.label for c in machine.test} != {0, 1}:
        there = f"{machine.folder}: found {len(machine.test)} test clips without both labels"
        raise InputError(f"{there}, expected normal and anomalous ones; this lesson compares scores with labels")
    return machine


def _simulated(kind, train, target, test, seconds, seed) -> Machine:
    folder = home() / "data" / "lessons" / f"{train}+{target}-{test}x{seconds:g}s-{seed}"
    sizes = dict(n_source=train, n_target=target, n_test=test, seconds=seconds, seed=seed)
    try:
        simulate(folder, [kind], **sizes)
    except OSError:  # another notebook was quicker, and a folder that is there is not replaced
        simulate(folder, [kind], **sizes)
    return index_machine(folder / kind)  # not what another process is writing beside it


def truth(clips: Sequence[Clip]) -> pd.DataFrame:
    """What is known about clips, a row each, in their order. For analysis; nothing that scores may read it.

    Columns: file, domain, label, recording, fault ("" without; "any fault" where it is not known which) and, of simulated
    clips, severity, speed, load, near_snr_db, noise, gain_db.
    """
    columns = ("domain", "label", "recording")
    table = pd.DataFrame({"file": [c.name for c in clips], **{name: [getattr(c, name) for c in clips] for name in columns}})
    known = clips[0].path.parent.parent / "simulation.csv"
    if not known.is_file():
        return table.assign(fault=np.where(table["label"] == 1, "any fault", ""))
    rows = pd.read_csv(known, keep_default_na=False)
    rows["file"] = rows["file_name"].str.rsplit("/", n=1).str[-1]
    return table.merge(rows.drop(columns=["file_name", "index"]), on="file", how="left", validate="1:1")


def stored_tables(folder: str | Path = "figures/tables") -> dict:
    """The tables of an ablation, as `read_tables` gives them; empty where there are none."""
    folder = resolve(folder)
    return read_tables(folder) if folder.is_dir() else {}


def token_tables(kinds: Sequence[str], names: Sequence[str], bases: Sequence[str], scenes: int = 2, **sizes) -> dict:
    """The same of an ablation of some families, with token training on small simulated machines. Not a result."""
    configs = {name: Config.report() if name == "report" else Config() for name in bases}
    with TemporaryDirectory() as scratch:
        simulate(Path(scratch, "data"), kinds, **sizes)
        options = dict(bases=configs, names=names, seeds=(0,), n_scenes=scenes, quick=True)
        return read_tables(ablate([Path(scratch, "data")], Path(scratch, "run"), **options))


def score_systems(
    machine: Machine, configs: Mapping[str, Config], seed: int = 0, cache: Cache | None = None, bars=True
) -> tuple[dict, dict]:
    """Fit each configuration and score the test clips: {name: Detector}, {name: (n_clips,)}. Calls may share a `cache`."""
    cache, detectors, scores = cache or Cache(), {}, {}
    for name, config in tqdm(configs.items(), disable=not bars, leave=False):
        detectors[name], values = score_machine(machine, config, seed, cache, False, name if bars else "")
        scores[name] = np.array(values)
    return detectors, scores


def compare(machine: Machine, scores: Mapping[str, np.ndarray], reference: str, seed: int = 0) -> pd.DataFrame:
    """Omega of each system with its interval, and the paired difference (reference minus system) with its interval.

    A row a system, with the columns of ``results.csv`` that `asdkit.figures.omega_bars` draws, then the difference.
    """
    files = [c.name for c in machine.test]
    results = {(machine.name, system, seed): dict(files=files, scores=values) for system, values in scores.items()}
    evaluation, rows = Evaluation(results, [machine]), []
    for key in results:
        omega = estimate(evaluation.samples(key[1], [machine.name], [seed]))
        difference = estimate(evaluation.samples(reference, [machine.name], [seed], minus=key[1]))
        rows.append((*key, *evaluation.points[key], *omega, *difference))
    names = ["omega", "omega_lo", "omega_hi", "difference", "difference_lo", "difference_hi"]
    return pd.DataFrame(rows, columns=["machine", "system", "seed", *metrics.METRICS, *names])


def in_words(row) -> str:
    """A paired difference, a row of `compare`, in points of Omega with its interval, and whether these clips decide it."""
    value, low, high = (100 * row[name] for name in ("difference", "difference_lo", "difference_hi"))
    outcome = "undecided" if round(low, 1) <= 0 <= round(high, 1) else "decided on these clips"
    return f"{value:+z.1f} points of Omega, 95 % interval {low:+z.1f} to {high:+z.1f}, {outcome}"


def taken_away(scenes: Sequence[Scene], alphas: Sequence[float], penalty: float) -> pd.DataFrame:
    """How much quieter cancelling the share alpha of far makes the machine and the noise of simulated clips at near, dB.

    Columns machine, index, alpha, system ("noise" or "machine"), value. The coefficients are those of the mixture.
    """
    rows = []
    for scene in scenes:
        sound = mix(scene)
        gains = dsp.transfer(*stft(torch.from_numpy(sound.machine + sound.noise)), penalty)[:, None]
        for name, samples in (("noise", sound.noise), ("machine", sound.machine)):
            near, far = stft(torch.from_numpy(samples))
            left = [float(dsp.power(near - alpha * gains * far).sum() / dsp.power(near).sum()) for alpha in alphas]
            rows += [(scene.machine, scene.index, a, name, -10 * np.log10(x)) for a, x in zip(alphas, left)]
    return pd.DataFrame(rows, columns=["machine", "index", "alpha", "system", "value"])


def explained(values: np.ndarray, table: pd.DataFrame, few: int = 5) -> pd.DataFrame:
    """Share of the variance of each coordinate that each column explains.

    Shape: (n_clips, k), a row a clip -> a row a coordinate, with the columns of the table; constant ones give 0. A line
    for numbers, the means of the groups for words and for columns of at most `few` values; adjusted for the number of
    parameters, so that a column without meaning gives 0 on average, often a little less.
    """
    values, shares, n = np.asarray(values, dtype=float), {}, len(table)
    total = values.var(0).clip(min=1e-30)
    for name, column in table.items():
        grouped = column.nunique() <= few or not pd.api.types.is_numeric_dtype(column)
        design = pd.get_dummies(column).to_numpy(float) if grouped else np.stack([np.ones(n), column], axis=1)
        residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
        shares[name] = 1 - residual.var(0) / total * (n - 1) / max(n - np.linalg.matrix_rank(design), 1)
    return pd.DataFrame(shares)
