"""Where clips lie in the embedding, in two dimensions: by principal components, as a stored table, and by UMAP."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.linalg import orthogonal_procrustes

from asdkit.config import Config
from asdkit.detector import fit_detector
from asdkit.experiments import runs
from asdkit.experiments.cache import CachedDescriber
from asdkit.recordings import Machine, TrainingSet
from asdkit.recordings.files import write


def clip_coordinates(machines: list[Machine], out: str | Path, config: Config, seed: int = 0) -> pd.DataFrame:
    """Principal components of every clip of every machine, as the kNN sees it; what `out` holds is not computed again.

    Columns: data, machine, file, split, domain, label (NaN where the name hides it), method ("pca"), x, y.
    """
    frames = []
    for machine in machines:
        path = Path(out) / f"{machine.name}-{config.hash()}-{seed}-{runs.fingerprint(machine.train + machine.test)}-pca.csv"
        if not path.exists():
            points, clips = clip_embeddings(machine, config, seed), machine.train + machine.test
            data, name = machine.name.split("-", 1)
            table = pd.DataFrame({"data": data, "machine": name, "file": [c.name for c in clips]})
            table = table.assign(**{key: [getattr(c, key) for c in clips] for key in ("split", "domain", "label")})
            table[["x", "y"]] = np.round((points - points.mean(0)) @ principal_axes(points), 4)
            write(path, table.to_csv(index=False))
        frames.append(pd.read_csv(path, dtype={"domain": str, "split": str}))
    return pd.concat(frames, ignore_index=True).assign(method="pca")


def clip_embeddings(machine: Machine, config: Config, seed: int) -> np.ndarray:
    """Mean over windows of each clip in the space of the kNN, training clips first. Shape: (n_clips, dim)."""
    describer = CachedDescriber(config, seed=seed)
    detector = fit_detector(TrainingSet.of(machine.train), describer)
    clips = (describer.blocks(detector.extractor, c, config.train_hop) for c in machine.train + machine.test)
    return torch.stack([detector.scorer.space(b).mean(0) for b in clips]).double().numpy()


def principal_axes(points: np.ndarray) -> np.ndarray:
    """First two principal axes; the sign is that of the largest loading. Shape: (n, dim) -> (dim, 2)."""
    axes = np.linalg.svd(points - points.mean(0), full_matrices=False)[2][:2]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])
    return (axes * signs[:, None]).T


def aligned(maps: np.ndarray) -> np.ndarray:
    """Each map turned and mirrored onto the one before it, so that a clip moves no further than it must (Procrustes).

    Shape: (n_maps, n, 2) -> the same; distances within a map stay as they are.
    """
    maps = maps.copy()
    for before, points in zip(maps, maps[1:]):
        points[:] = points @ orthogonal_procrustes(points, before)[0]
    return maps


def umap(points: np.ndarray, seed: int) -> np.ndarray:
    """UMAP in two dimensions. Shape: (n, dim) -> (n, 2)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba, and that a seed makes it run on one core
        from umap import UMAP

        return UMAP(n_neighbors=min(15, len(points) - 1), random_state=seed, n_jobs=1).fit_transform(points)
