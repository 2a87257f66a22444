"""What near and far share, looked at: how many directions exceed which null, what they encode, and what they sound like.

`asdkit.conditioning` fits the subspace that is attenuated; here it is questioned. Nothing here fits or scores a system.

Legend
------
near, far : (n_windows, dim) embeddings of the same windows, z-scored by training normals.
partner : (n_windows,) index of the window whose far embedding is paired with each near one.
strengths : (dim,) singular values ("pls") or canonical correlations ("cca"), largest first.
directions : (dim, k) columns of length 1 in near.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from asdkit.blocks import BandScaler, FeatureExtractor, Spectra
from asdkit.conditioning import FarConditioner, other_recording, shared_directions
from asdkit.msm import MSM
from asdkit.space import Scaler
from asdkit.spectrogram import window_starts

NULLS = ("windows shuffled", "other recording", "same state", "same clip")


@dataclass(frozen=True)
class Pairs:
    """Near and far embeddings of the same windows, and where each window comes from."""

    near: torch.Tensor  # (n_windows, dim) z-scored
    far: torch.Tensor
    clips: np.ndarray  # (n_windows,) index of the clip
    recordings: np.ndarray  # (n_windows,)
    scalers: tuple[Scaler, Scaler]  # that made them so, of near and of far


def embed_pairs(
    front: FeatureExtractor, spectra: Sequence[Spectra], recordings: Sequence, scalers: tuple[Scaler, Scaler] | None = None
) -> Pairs:
    """Embed both channels of all windows, as far apart as those of the bank.

    Parameters
    ----------
    front : FeatureExtractor
        With networks.
    spectra : sequence of dict
        Of each clip.
    recordings : sequence, (n_clips,)
    scalers : (near, far), optional
        Those of the training windows; fitted on these by default.
    """
    width, hop = front.config.width, front.config.train_hop
    starts = [window_starts(s["near", "slow"].shape[1], width, hop) for s in spectra]
    near, far = (torch.cat([front.embed(s, at, c) for s, at in zip(spectra, starts)]) for c in ("near", "far"))
    counts, codes = [len(at) for at in starts], np.unique(recordings, return_inverse=True)[1]
    scalers = scalers or (Scaler.fit(near), Scaler.fit(far))
    clips = np.repeat(np.arange(len(counts)), counts)
    return Pairs(scalers[0](near), scalers[1](far), clips, codes[clips], scalers)


# how many directions


def partners(pairs: Pairs, null: str, states: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Far windows that share with the near ones less than their own do.

    Parameters
    ----------
    null : str
        "windows shuffled": any window, which breaks up the clips too, so that hundreds of windows look like hundreds of
        independent draws. "other recording": clips stay whole. "same state": another recording of the same state, so that what
        the state explains remains. "same clip": another moment of the clip, so that all that is constant in a clip remains.
    states : (n_windows,) int
        What "same state" keeps. A state of one recording (`alone`) cannot be kept: its windows are paired with any other.
    """
    if null == "windows shuffled":
        return rng.permutation(len(pairs.near))
    if null == "same clip":
        return _within(pairs.clips, np.arange(len(pairs.near)), rng)
    groups = np.zeros_like(states) if null == "other recording" else np.where(alone(pairs, states), -1, states)
    return _within(groups, pairs.recordings, rng)


def _within(groups: np.ndarray, ids: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Partners of the same group and another id, where the group has another."""
    partner = np.empty(len(groups), dtype=int)
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        partner[rows] = rows[other_recording(ids[rows], rng)]
    return partner


def alone(pairs: Pairs, states: np.ndarray) -> np.ndarray:
    """(n_windows,) bool, True where no other recording is in the state of a window."""
    return pd.Series(pairs.recordings).groupby(states).transform("nunique").to_numpy() < 2


def null_strengths(pairs: Pairs, null: str, states: np.ndarray, subspace="cca", n_shuffles=5, seed=0) -> np.ndarray:
    """Strengths found between near and the far windows of `partners`. Returns (n_shuffles, dim)."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(n_shuffles):
        partner = partners(pairs, null, states, rng)
        rows.append(shared_directions(pairs.near, pairs.far[partner], subspace)[1].numpy())
    return np.stack(rows)


def n_above(strengths: np.ndarray, null: np.ndarray) -> int:
    """Directions stronger than the strongest of any shuffle, the rule of `asdkit.conditioning.shuffled_rank`."""
    return int((np.asarray(strengths) > null.max()).sum())


def held_out_correlations(pairs: Pairs, k: int, seed: int = 0) -> np.ndarray:
    """Correlation of the leading plain (pls) variates of near and far in recordings they were not fitted on.

    Half of the recordings fit, the other half is correlated, and the other way round. Returns (k,), the mean of both.
    """
    ids = np.random.default_rng(seed).permutation(np.unique(pairs.recordings))
    first = torch.from_numpy(np.isin(pairs.recordings, ids[: len(ids) // 2]))
    return np.mean([_transferred(pairs, fit, k) for fit in (first, ~first)], axis=0)


def _transferred(pairs: Pairs, fit: torch.Tensor, k: int) -> np.ndarray:
    x, y = pairs.near[fit], pairs.far[fit]
    u, v = shared_directions(x, y)[0][:, :k], shared_directions(y, x)[0][:, :k]
    a, b = pairs.near[~fit] @ u, pairs.far[~fit] @ v
    a, b = a - a.mean(0), b - b.mean(0)
    return ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0)).clamp(min=1e-12)).abs().numpy()


# what they encode


def clip_means(values: torch.Tensor | np.ndarray, clips: np.ndarray) -> np.ndarray:
    """Mean over the windows of each clip. Shape: (n_windows, k) -> (n_clips, k)."""
    return pd.DataFrame(np.asarray(values)).groupby(clips).mean().to_numpy()


def explained(values: np.ndarray, table: pd.DataFrame, few: int = 5) -> pd.DataFrame:
    """Share of the variance of each coordinate that each column explains.

    A straight line for numbers, the means of the groups for words and for columns of at most `few` values; adjusted for the
    number of parameters, so that a column without meaning gives 0 on average, often a little less.

    Parameters
    ----------
    values : (n_clips, k)
    table : DataFrame
        A row a clip. Constant columns give 0.

    Returns
    -------
    shares : DataFrame
        A row a coordinate, a column each of `table`.
    """
    return pd.DataFrame({name: _explained(np.asarray(values, dtype=float), table[name], few) for name in table})


def _explained(values, column, few):
    grouped = column.nunique() <= few or not pd.api.types.is_numeric_dtype(column)
    design = pd.get_dummies(column).to_numpy(float) if grouped else np.stack([np.ones(len(column)), column], axis=1)
    n, p = len(values), np.linalg.matrix_rank(design)
    residual = values - design @ np.linalg.lstsq(design, values, rcond=None)[0]
    total = values.var(0).clip(min=1e-30)
    return 1 - residual.var(0) / total * (n - 1) / max(n - p, 1)


def explained_in_all(values: np.ndarray, table: pd.DataFrame) -> pd.Series:
    """Share of the variance of all coordinates together that each column explains; see `explained`."""
    weights = np.asarray(values, dtype=float).var(0)
    return (explained(values, table).T @ weights) / weights.sum()


def displacement_shares(
    twins: pd.DataFrame, embeddings: Sequence[np.ndarray], conditioner: FarConditioner, n_resamples: int = 500, seed: int = 0
) -> pd.DataFrame:
    """How much of what a change does to near lies in the subspace of a conditioner, and goes with it.

    ``sum |U'(z' - z)|^2 / sum |z' - z|^2`` over windows and scenes, of counterfactual twins (`asdkit.experiments.sensitivity`).

    Parameters
    ----------
    twins : DataFrame
        scene, change, fault, severity.
    embeddings : sequence of (n_windows, dim)
        z-scored as the conditioner's near was; one per row of `twins`.

    Returns
    -------
    table : DataFrame
        change ("noise", "clip" or the name of a fault), value, lo, hi (95 % over scenes).
    """
    basis, rng, rows = conditioner.basis.numpy(), np.random.default_rng(seed), []
    original = {s: z for s, change, z in zip(twins["scene"], twins["change"], embeddings) if change == "none"}
    changed = twins[twins["change"] != "none"]
    for change, group in changed.groupby(changed["fault"].where(changed["fault"] != "", changed["change"]), sort=False):
        shifts = [embeddings[i] - original[s] for i, s in zip(group.index, group["scene"])]
        parts = np.array([(((d @ basis) ** 2).sum(), (d**2).sum()) for d in shifts])
        drawn = parts[rng.integers(len(parts), size=(n_resamples, len(parts)))].sum(1)
        inside, total = parts.sum(0)
        rows.append((change, inside / total, *np.quantile(drawn[:, 0] / drawn[:, 1], [0.025, 0.975])))
    return pd.DataFrame(rows, columns=["change", "value", "lo", "hi"])


# what they sound like


@torch.no_grad()
def decode_directions(net: MSM, pairs: Pairs, bands: BandScaler, directions: torch.Tensor, size: float = 2.0) -> torch.Tensor:
    """A step along each direction, through the decoder of the model, as a difference of log-mel windows.

    From `size` standard deviations of training windows below the mean embedding to as many above.

    Parameters
    ----------
    net : MSM
        Whose bottleneck the pairs are; trained, or the decoder draws nothing that means anything.
    pairs : Pairs
    bands : BandScaler
        Of near, which turns standardised bands back to dB.
    directions : (dim, k)

    Returns
    -------
    differences : (k, n_mels, width), dB
    """
    spread = (pairs.near @ directions).std(0)
    near = pairs.scalers[0]
    steps = size * (directions * spread).T * near.std
    return (net.decode(near.mean + steps) - net.decode(near.mean - steps)) * bands.std
