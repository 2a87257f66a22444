"""What near and far share, looked at: how strongly their embeddings covary, compared with which null, and what moves them.

`asdkit.conditioning` fits the subspace that is attenuated; here it is questioned. Nothing here fits or scores a system.

near, far : (n_windows, dim) embeddings of the same windows, z-scored or whitened by training normals.
strengths : (dim,) singular values of the cross-covariance of near and far, largest first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from asdkit.blocks import FeatureExtractor, Spectra
from asdkit.conditioning import other_recording, shared_directions
from asdkit.space import Scaler

NULLS = ("windows shuffled", "other recording", "same clip")


@dataclass(frozen=True)
class Pairs:
    """Near and far embeddings of the same windows, and where each window comes from."""

    near: torch.Tensor  # (n_windows, dim)
    far: torch.Tensor
    clips: np.ndarray  # (n_windows,) index of the clip
    recordings: np.ndarray  # (n_windows,)
    scalers: tuple[Scaler, Scaler]  # of near and of far


def embed_pairs(
    extractor: FeatureExtractor, spectra: Sequence[Spectra], recordings: Sequence, is_target: Sequence[bool],
    scalers: tuple[Scaler, Scaler] | None = None,
) -> Pairs:  # fmt: skip
    """Embed both channels of all windows, as far apart as those of the bank; `spectra` of each clip, the rest (n_clips,).

    The encoder must have been fitted under ``conditioning="subspace"``. `scalers`, near and far, are those of the training
    windows; by default they are fitted on these windows, and whiten if the configuration does.
    """
    described = [extractor.describe(s, extractor.config.train_hop, ("msm", "msm-far")) for s in spectra]
    clips = np.repeat(np.arange(len(described)), [len(blocks["msm"]) for blocks in described])
    near, far = (torch.cat([blocks[name] for blocks in described]) for name in ("msm", "msm-far"))
    codes = np.unique(recordings, return_inverse=True)[1][clips]
    groups = (codes, np.asarray(is_target, dtype=bool)[clips]) if extractor.config.whiten else ()
    scalers = scalers or (Scaler.fit(near, *groups), Scaler.fit(far, *groups))
    return Pairs(scalers[0](near), scalers[1](far), clips, codes, scalers)


def partners(pairs: Pairs, null: str, rng: np.random.Generator) -> np.ndarray:
    """Indices of far windows, (n_windows,), that share with the near ones less than their own do, by one of `NULLS`.

    "windows shuffled" takes any window, which breaks up the clips too, so that hundreds of windows look like hundreds of
    independent draws; with "other recording" clips stay whole; "same clip" takes another moment of the clip, so that all that
    is constant in a clip remains.
    """
    if null == "windows shuffled":
        return rng.permutation(len(pairs.near))
    if null == "other recording":
        return other_recording(pairs.recordings, rng)
    partner = np.empty(len(pairs.clips), dtype=int)
    for rows in np.split(np.arange(len(partner)), np.unique(pairs.clips, return_index=True)[1][1:]):
        partner[rows] = rows[other_recording(rows, rng)]
    return partner


def null_strengths(pairs: Pairs, null: str, n_shuffles: int = 5, seed: int = 0) -> np.ndarray:
    """Strengths between near and the far windows of `partners`. Returns (n_shuffles, dim)."""
    rng = np.random.default_rng(seed)
    shuffled = [pairs.far[partners(pairs, null, rng)] for _ in range(n_shuffles)]
    return np.stack([shared_directions(pairs.near, far)[1].numpy() for far in shuffled])


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
