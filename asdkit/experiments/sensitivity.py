"""The invariance trap by its mechanism: how far an embedding moves under a fault, against how far it moves under nuisance.

Simulated scenes have counterfactual twins (`asdkit.simulate.scenes`): the same clip with a fault, the same clip in other noise,
another normal clip at another speed or load. They are rendered once (`render_counterfactuals`) and embedded by any number of
systems (`embed`); what is measured on the embeddings is a function of the table of twins and of the embeddings alone.

Everything here knows where the faults are. It explains systems; it must not choose or tune one.

Legend
------
twins : DataFrame, one row per rendered clip: scene (number), change ("none", "fault", "noise" or "clip"), fault ("" without),
    severity (0 without).
embeddings : list of (n_windows, dim), one per row of the twins. Twins have as many windows, at the same times.
z, z' : embedding of a window without and with a change; displacement ``|z' - z|``.
sensitivity : mean displacement under a fault over mean displacement under a nuisance; 1 where both move it alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from asdkit.blocks import BandWhitening, Encoder, FeatureExtractor, Spectra, extract
from asdkit.config import Config
from asdkit.detector import Detector
from asdkit.objectives import Examples, train_objective
from asdkit.simulate import Scene, render
from asdkit.simulate.datasets import CONDITION_SPAN
from asdkit.simulate.machines import KINDS
from asdkit.simulate.scenes import operation
from asdkit.space import Scaler
from asdkit.spectrogram import cut_windows, window_starts

Describe = Callable[[Spectra], torch.Tensor]  # spectra of a clip -> (n_windows, dim)
NUISANCES = ("noise", "clip")
SEVERITIES = (0.25, 0.5, 0.75, 1.0)
FIRST = 100 * CONDITION_SPAN  # clip indices that no data set of `asdkit.simulate` uses


# twins


@dataclass(frozen=True)
class Counterfactuals:
    """Scenes and their twins, as spectra."""

    twins: pd.DataFrame
    spectra: tuple[Spectra, ...]  # one per row of the twins


def render_counterfactuals(
    machine: str,
    n_scenes: int = 20,
    faults: Sequence[str] | None = None,
    severities: Sequence[float] = SEVERITIES,
    seconds: float = 10.0,
    seed: int = 0,
    domain: str = "source",
    config: Config | None = None,
    **surroundings: float,
) -> Counterfactuals:
    """Render normal scenes of one simulated machine, and every twin of each.

    Parameters
    ----------
    machine : str
        One of `asdkit.simulate.MACHINES`.
    n_scenes : int
    faults : sequence of str, optional
        All that the machine can have by default.
    severities : sequence of float
        0 to 1.
    seconds : float
        Length of a clip; at least a window.
    seed : int
        Which specimen of the machine, as in `asdkit.simulate.simulate`. The scenes are in no data set of that seed.
    domain : str
        "source" or "target".
    config : Config, optional
        Of the conditioned channel; ``Config()`` by default.
    surroundings
        `snr`, `loudspeakers` and `far_distance` of a `Scene`.
    """
    rows = []
    for i in range(n_scenes):
        scene = Scene(machine, seed, FIRST + i, domain, seconds=seconds, **surroundings)
        rows += [(i, *row) for row in twins_of(scene, list(KINDS[machine].faults) if faults is None else faults, severities)]
    table = pd.DataFrame([row[:4] for row in rows], columns=["scene", "change", "fault", "severity"])
    return Counterfactuals(table, tuple(extract(render(row[4]), config or Config()) for row in rows))


def twins_of(scene: Scene, faults: Sequence[str], severities: Sequence[float]) -> Iterator[tuple[str, str, float, Scene]]:
    """A scene and its twins: change, fault, severity, scene."""
    yield "none", "", 0.0, scene
    yield "noise", "", 0.0, replace(scene, noise=scene.noise + 1)
    yield "clip", "", 0.0, at_another_operation(scene)
    for fault in faults:
        for severity in severities:
            yield "fault", fault, float(severity), replace(scene, fault=fault, severity=severity)


def at_another_operation(scene: Scene) -> Scene:
    """Another normal clip of the machine, at another speed or load: the first of those not used as scenes themselves."""
    others = (replace(scene, index=scene.index + n * CONDITION_SPAN) for n in range(1, 100))
    return next((s for s in others if operation(s) != operation(scene)), replace(scene, index=scene.index + CONDITION_SPAN))


# embedding them


def describe_front(front: FeatureExtractor, block: str = "msm", hop: int | None = None) -> Describe:
    """One block of a fitted front end, raw; windows `hop` frames apart, as in the bank by default."""
    return lambda spectra: front.describe(spectra, hop or front.config.train_hop, [block])[block]


def describe_windows(
    function: Callable[[torch.Tensor], torch.Tensor],
    whitening: BandWhitening,
    width: int = 80,
    hop: int = 40,
    channel: str = "conditioned",
) -> Describe:
    """A function of whitened windows, (n_windows, 128, width) -> (n_windows, dim)."""

    def describe(spectra):
        frames = whitening(spectra[channel])
        with torch.no_grad():
            return function(cut_windows(frames, window_starts(frames.shape[1], width, hop), width))

    return describe


def describe_detector(detector: Detector, hop: int | None = None) -> Describe:
    """Windows as the kNN of a detector sees them: whitened, balanced, all blocks side by side. Not to be whitened again."""
    hop = hop or detector.config.train_hop
    return lambda spectra: detector.scorer.space(detector.extractor.describe(spectra, hop))


def embed(counterfactuals: Counterfactuals, describe: Describe, whiten: bool = True) -> list[np.ndarray]:
    """Embeddings of all twins.

    Parameters
    ----------
    counterfactuals : Counterfactuals
    describe : callable
    whiten : bool
        z-score and whiten by the windows of the unchanged scenes, as a fit does by those of the training clips.
    """
    embeddings = [torch.as_tensor(describe(s)) for s in counterfactuals.spectra]
    if whiten:
        twins = counterfactuals.twins
        unchanged = {s: z for s, change, z in zip(twins["scene"], twins["change"], embeddings) if change == "none"}
        scenes = np.repeat(list(unchanged), [len(z) for z in unchanged.values()])
        scaler = Scaler.fit(torch.cat(list(unchanged.values())), scenes, np.zeros(len(scenes), dtype=bool))
        embeddings = [scaler(z) for z in embeddings]
    return [z.double().numpy() for z in embeddings]


# measuring


def displacements(twins: pd.DataFrame, embeddings: Sequence[np.ndarray]) -> pd.DataFrame:
    """How far each twin is from its scene.

    Returns
    -------
    table : DataFrame
        scene, change, fault, severity, displacement (mean over windows of ``|z' - z|``); one row per twin, without the scenes
        themselves.
    """
    original = {s: z for s, change, z in zip(twins["scene"], twins["change"], embeddings) if change == "none"}
    table = twins.assign(
        displacement=[np.linalg.norm(z - original[s], axis=1).mean() for s, z in zip(twins["scene"], embeddings)]
    )
    return table[table["change"] != "none"].reset_index(drop=True)


def sensitivity(table: pd.DataFrame, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean displacement under each fault over the mean displacement under each nuisance.

    Parameters
    ----------
    table : DataFrame
        Of `displacements`.
    n_boot : int
        Bootstrap resamples of the scenes; each keeps its twins.
    seed : int
        Of the bootstrap.

    Returns
    -------
    table : DataFrame
        nuisance ("noise", "clip"), fault, severity, sensitivity, lo, hi (95 % interval over scenes). Where fault is "all" and
        severity NaN, the mean is over all faults and severities. NaN where the nuisance moves nothing.
    """
    rows = [(*key, *_interval(values)) for key, values in sensitivity_samples(table, n_boot, seed).items()]
    return pd.DataFrame(rows, columns=["nuisance", "fault", "severity", "sensitivity", "lo", "hi"])


def sensitivity_samples(table: pd.DataFrame, n_boot: int = 1000, seed=0) -> dict[tuple[str, str, float], np.ndarray]:
    """What `sensitivity` tells with an interval, resample by resample: embeddings of the same twins are paired.

    Returns
    -------
    samples : dict
        (nuisance, fault, severity) -> (1 + n_boot,), first the estimate itself.
    """
    scenes = np.sort(table["scene"].unique())
    drawn = np.random.default_rng(seed).integers(len(scenes), size=(n_boot, len(scenes)))
    index = np.vstack([np.arange(len(scenes)), drawn])
    by_scene = {key: x.set_index("scene").loc[scenes, "displacement"].to_numpy()[index].mean(1) for key, x in _groups(table)}
    nuisances = {name: by_scene.pop((name, "", 0.0)) for name in NUISANCES if (name, "", 0.0) in by_scene}
    by_scene["fault", "all", np.nan] = np.mean(list(by_scene.values()), axis=0)
    return {
        (nuisance, fault, severity): np.divide(x, below, out=np.full_like(x, np.nan), where=below > 0)
        for nuisance, below in nuisances.items()
        for (_, fault, severity), x in by_scene.items()
    }


def _groups(table: pd.DataFrame):
    return table.groupby(["change", "fault", "severity"], sort=False)


def _interval(values: np.ndarray) -> tuple[float, float, float]:
    """Estimate (the first value) and 95 % percentile interval (of the others)."""
    lo, hi = np.quantile(values[1:], [0.025, 0.975]) if len(values) > 1 else (np.nan, np.nan)
    return values[0], lo, hi


def variance_shares(twins: pd.DataFrame, embeddings: Sequence[np.ndarray]) -> pd.DataFrame:
    """Share of the variance of embeddings that a change moves, in windows half of which are changed.

    Scenes and their twins of one change together have the variance ``V``, summed over dimensions; of it ``mean |z' - z|^2 / 4``
    lies within pairs, the rest between the midpoints of pairs. Of it again ``|mean (z' - z)|^2 / 4`` is a shift that is common
    to all pairs.

    Returns
    -------
    table : DataFrame
        change, fault, severity, share and common (0 to 1, NaN for an embedding that is constant). An unrelated clip gives 1/2.
    """
    original = {s: z for s, change, z in zip(twins["scene"], twins["change"], embeddings) if change == "none"}
    rows = []
    for (change, fault, severity), group in _groups(twins.reset_index(drop=True)):
        if change != "none":
            before = np.concatenate([original[s] for s in group["scene"]])
            after = np.concatenate([embeddings[i] for i in group.index])
            rows.append((change, fault, severity, *_shares(before, after)))
    return pd.DataFrame(rows, columns=["change", "fault", "severity", "share", "common"])


def _shares(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """Shares of the total variance: within pairs, and of their common shift. Shape: (n_windows, dim) twice."""
    shift = after - before
    total = np.concatenate([before, after]).var(0).sum()
    if total == 0:
        return np.nan, np.nan
    return (shift**2).sum(1).mean() / 4 / total, (shift.mean(0) ** 2).sum() / 4 / total


def linear_probe(twins: pd.DataFrame, embeddings: Sequence[np.ndarray], n_folds: int = 5, strength=0.1) -> pd.DataFrame:
    """Whether a fault can be read linearly from the embedding by someone who is told the labels. Analysis only.

    Logistic regression on clips (mean over windows, z-scored), each fault and severity against all normal clips; scenes are
    held out with all their twins. No part of a detector: it has seen faults.

    Parameters
    ----------
    twins, embeddings
    n_folds : int
        Folds of scenes; fewer where there are fewer scenes.
    strength : float
        Inverse of the L2 penalty (``C`` of scikit-learn).

    Returns
    -------
    table : DataFrame
        fault, severity, auc (0 to 1, mean over folds), std (over folds), uses_labels (always True).
    """
    clips, scenes = np.stack([z.mean(0) for z in embeddings]), twins["scene"].to_numpy()
    normal, rows = (twins["change"] != "fault").to_numpy(), []
    for (change, fault, severity), group in _groups(twins.reset_index(drop=True)):
        if change == "fault":
            chosen = normal.copy()
            chosen[group.index] = True
            aucs = _probe(clips[chosen], ~normal[chosen], scenes[chosen], n_folds, strength)
            rows.append((fault, severity, np.mean(aucs), np.std(aucs), True))
    return pd.DataFrame(rows, columns=["fault", "severity", "auc", "std", "uses_labels"])


def _probe(x: np.ndarray, faulty: np.ndarray, scenes: np.ndarray, n_folds: int, strength: float) -> list[float]:
    """AUC of each held-out fold of scenes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    aucs = []
    for train, test in GroupKFold(min(n_folds, len(np.unique(scenes)))).split(x, groups=scenes):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=1000))
        aucs.append(roc_auc_score(faulty[test], model.fit(x[train], faulty[train]).decision_function(x[test])))
    return aucs


def embeddings_over_training(
    machines: Sequence[Examples],
    whitenings: dict[str, BandWhitening],
    config: Config,
    counterfactuals: Counterfactuals,
    seed: int = 0,
    n_points: int = 8,
) -> tuple[list[float], dict[int, list[np.ndarray]]]:
    """Train ``config.objective`` and embed all twins on the way: does fault sensitivity fall as the objective succeeds?

    Parameters
    ----------
    machines, whitenings
        Of `asdkit.blocks.make_examples`: the simulated machine whose counterfactuals are given and, for the objectives that
        tell machines apart, others after it.
    config : Config
    counterfactuals : Counterfactuals
    seed : int
    n_points : int
        Moments, evenly spaced from the untrained encoder to the trained one.

    Returns
    -------
    losses : list of float
        Of every step.
    embeddings : dict
        Step -> embeddings as of `embed`.
    """
    moments, embeddings = set(np.linspace(0, config.steps, n_points).round().astype(int).tolist()), {}

    def watch(step, snapshot):
        if step in moments:
            extractor = FeatureExtractor(config, {"encoder": Encoder(whitenings, snapshot())})
            embeddings[step] = embed(counterfactuals, describe_front(extractor))

    return train_objective(machines, config, seed, watch=watch)[1], embeddings


def loss_around(losses: Sequence[float], step: int, span: int = 5) -> float:
    """Mean loss of the steps within `span` of one; NaN without any."""
    near = losses[max(step - span, 0) : step + span]
    return float(np.mean(near)) if near else float("nan")
