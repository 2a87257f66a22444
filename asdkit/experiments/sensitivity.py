"""How far an embedding moves under a fault, against how far it moves under nuisance: the mechanism of the invariance trap.

Simulated scenes have counterfactual twins: the same clip with a fault, the same clip in other noise, another normal clip at
another speed or load. Everything here knows where the faults are: it explains systems, and must not choose or tune one.

twins : DataFrame, a row per rendered clip: scene (number), change ("none", "fault", "noise" or "clip"), fault ("" without),
    severity (0 without).
embeddings : list of (n_windows, dim), one per row of the twins. Twins have as many windows, at the same times.
displacement : ``|z' - z|`` between windows with and without a change, mean over windows.
sensitivity : mean displacement under a fault over that under a nuisance ("noise", "clip"); 1 where both move it alike.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from asdkit.blocks import Spectra, extract
from asdkit.config import Config
from asdkit.experiments.results import estimate
from asdkit.simulate import Scene, render
from asdkit.simulate.datasets import CONDITION_SPAN
from asdkit.simulate.machines import KINDS
from asdkit.simulate.scenes import operation
from asdkit.space import Scaler

NUISANCES = ("noise", "clip")
SEVERITIES = (0.25, 0.5, 0.75, 1.0)
FIRST = 100 * CONDITION_SPAN  # clip indices that no data set of `asdkit.simulate` uses


def render_counterfactuals(
    machine: str, n_scenes=20, faults: Sequence[str] | None = None, severities: Sequence[float] = SEVERITIES, seconds=10.0,
    seed=0, config: Config | None = None, **surroundings: float,
) -> tuple[pd.DataFrame, list[Spectra]]:  # fmt: skip
    """Render normal scenes of one simulated machine, in no data set, and every twin of each: the twins, and their spectra.

    `faults` are all that the machine can have by default, `severities` from 0 to 1, `seed` the specimen, and `surroundings`
    other options of a `Scene`, such as `snr`.
    """
    faults = list(KINDS[machine].faults) if faults is None else faults
    scenes = [Scene(machine, seed, FIRST + i, seconds=seconds, **surroundings) for i in range(n_scenes)]
    rows = [(i, *row) for i, scene in enumerate(scenes) for row in twins_of(scene, faults, severities)]
    table = pd.DataFrame([row[:4] for row in rows], columns=["scene", "change", "fault", "severity"])
    return table, [extract(render(row[4]), config or Config()) for row in rows]


def twins_of(scene: Scene, faults: Sequence[str], severities: Sequence[float]) -> Iterator[tuple[str, str, float, Scene]]:
    """A scene and its twins: change, fault, severity, scene."""
    yield "none", "", 0.0, scene
    yield "noise", "", 0.0, replace(scene, noise=scene.noise + 1)
    others = [replace(scene, index=scene.index + n * CONDITION_SPAN) for n in range(1, 100)]  # not scenes themselves
    yield "clip", "", 0.0, next((s for s in others if operation(s) != operation(scene)), others[0])
    for fault in faults:
        for severity in severities:
            yield "fault", fault, float(severity), replace(scene, fault=fault, severity=severity)


def embed(twins: pd.DataFrame, spectra: Sequence[Spectra], describe: Callable) -> list[np.ndarray]:
    """Embeddings of all twins, z-scored and whitened by the unchanged scenes, as a fit does by the training clips."""
    embeddings = [torch.as_tensor(describe(each)) for each in spectra]
    unchanged = unchanged_scenes(twins, embeddings)
    scenes = np.repeat(list(unchanged), [len(z) for z in unchanged.values()])
    scaler = Scaler.fit(torch.cat(list(unchanged.values())), scenes, np.zeros(len(scenes), dtype=bool))
    return [scaler(z).double().numpy() for z in embeddings]


def unchanged_scenes(twins: pd.DataFrame, embeddings: Sequence) -> dict:
    """Scene -> embedding without a change."""
    return {scene: z for scene, change, z in zip(twins["scene"], twins["change"], embeddings) if change == "none"}


def displacements(twins: pd.DataFrame, embeddings: Sequence[np.ndarray]) -> pd.DataFrame:
    """How far each twin is from its scene: scene, change, fault, severity, displacement; a row per twin, without the scenes."""
    original = unchanged_scenes(twins, embeddings)
    moved = [np.linalg.norm(z - original[scene], axis=1).mean() for scene, z in zip(twins["scene"], embeddings)]
    return twins.assign(displacement=moved)[twins["change"] != "none"].reset_index(drop=True)


def sensitivity(table: pd.DataFrame, n_boot: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Mean displacement under each fault over the mean displacement under each nuisance, from a table of `displacements`.

    Columns: nuisance, fault, severity, sensitivity, lo, hi (95 % interval over resampled scenes). Where fault is "all" and
    severity NaN, the mean is over all faults and severities. NaN where the nuisance moves nothing.
    """
    rows = [(*key, *estimate(values)) for key, values in sensitivity_samples(table, n_boot, seed).items()]
    return pd.DataFrame(rows, columns=["nuisance", "fault", "severity", "sensitivity", "lo", "hi"])


def sensitivity_samples(table: pd.DataFrame, n_boot: int = 1000, seed=0) -> dict[tuple[str, str, float], np.ndarray]:
    """{(nuisance, fault, severity): (1 + n_boot,)}: the estimate, then resamples; embeddings of the same twins are paired."""
    scenes = np.sort(table["scene"].unique())
    drawn = np.random.default_rng(seed).integers(len(scenes), size=(n_boot, len(scenes)))
    index, groups = np.vstack([np.arange(len(scenes)), drawn]), table.groupby(["change", "fault", "severity"], sort=False)
    by_scene = {key: x.set_index("scene").loc[scenes, "displacement"].to_numpy()[index].mean(1) for key, x in groups}
    nuisances = {name: by_scene.pop((name, "", 0.0)) for name in NUISANCES if (name, "", 0.0) in by_scene}
    by_scene["fault", "all", np.nan] = np.mean(list(by_scene.values()), axis=0)
    return {
        (nuisance, fault, severity): np.divide(x, below, out=np.full_like(x, np.nan), where=below > 0)
        for nuisance, below in nuisances.items()
        for (_, fault, severity), x in by_scene.items()
    }


def linear_probe(twins: pd.DataFrame, embeddings: Sequence[np.ndarray]) -> pd.DataFrame:
    """Whether a fault can be read linearly from the embedding by someone who knows the labels. It belongs to no detector.

    Logistic regression on clips, mean over windows and z-scored: each fault and severity against all normal clips. Scenes are
    held out with all their twins, in 5 folds or fewer. Columns: fault, severity, auc and std over folds, uses_labels (True).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    clips, scenes = np.stack([z.mean(0) for z in embeddings]), twins["scene"].to_numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, class_weight="balanced", max_iter=1000))
    folds = GroupKFold(min(5, len(np.unique(scenes))))
    normal, rows = (twins["change"] != "fault").to_numpy(), []
    for (fault, severity), group in twins.reset_index(drop=True)[~normal].groupby(["fault", "severity"], sort=False):
        chosen = normal.copy()
        chosen[group.index] = True
        aucs = cross_val_score(model, clips[chosen], ~normal[chosen], groups=scenes[chosen], cv=folds, scoring="roc_auc")
        rows.append((fault, severity, np.mean(aucs), np.std(aucs), True))
    return pd.DataFrame(rows, columns=["fault", "severity", "auc", "std", "uses_labels"])
