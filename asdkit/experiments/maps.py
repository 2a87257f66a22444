"""Where clips lie in the embedding, in two dimensions: by principal components and by UMAP, as a stored table."""

import importlib.util
import logging
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
    """Coordinates of every clip of every machine, mapped as the kNN sees them; what `out` holds is not computed again.

    Columns: data, machine, file, split, domain, label (NaN where the name hides it), method ("pca"; "umap" where umap-learn is
    installed), x, y.
    """
    methods = {"pca": lambda points: (points - points.mean(0)) @ principal_axes(points)}
    if importlib.util.find_spec("umap"):
        methods["umap"] = lambda points: umap(points, seed)
    else:
        logging.getLogger("asdkit").warning("umap-learn: not installed; embeddings are drawn by principal components only")
    frames = []
    for machine in machines:
        path = Path(out) / f"{machine.name}-{config.hash()}-{seed}-{runs.fingerprint(machine)}-{'-'.join(methods)}.csv"
        if not path.exists():
            points, clips = clip_embeddings(machine, config, seed), machine.train + machine.test
            head, rows = machine.name.split("-", 1), []
            for method, place in methods.items():
                placed = zip(clips, np.round(place(points), 4))
                rows += [(*head, c.name, c.split, c.domain, c.label, method, *xy) for c, xy in placed]
            columns = ["data", "machine", "file", "split", "domain", "label", "method", "x", "y"]
            write(path, pd.DataFrame(rows, columns=columns).to_csv(index=False))
        frames.append(pd.read_csv(path, dtype={"domain": str, "split": str}))
    return pd.concat(frames, ignore_index=True)


def clip_embeddings(machine: Machine, config: Config, seed: int) -> np.ndarray:
    """Mean over windows of each clip in the space of the kNN, training clips first. Shape: (n_clips, dim)."""
    describer = CachedDescriber(config, seed=seed)
    detector = fit_detector(TrainingSet.of(machine.train), describer, decide=False)
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
