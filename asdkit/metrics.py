"""The official metric of DCASE Task 2 and its bootstrap intervals.

Conventions
-----------
scores : (n_clips,) float, finite; higher is more anomalous. Only their order matters.
labels : (n_clips,) 0 normal, 1 anomaly.
domains : (n_clips,) "source" or "target".
recordings : (n_clips,) the session a clip was cut from; clips of one recording are resampled together.
boots : (n_resamples, 3) auc_source, auc_target, pauc of one machine per resample, see `bootstrap`.

All values are fractions in [0, 1]; 0.5 is chance. A machine tested in one domain has no normals in the other: that
domain's AUC is NaN, and Omega skips it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

METRICS = ("auc_source", "auc_target", "pauc")
DOMAINS = ("source", "target")


def validate(scores, labels, domains) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check scores, labels and domains of one machine's test clips; return them as arrays.

    Raises
    ------
    ValueError
        Lengths that differ, scores that are not finite, labels other than 0 and 1, domains other than source and
        target, or clips of one label only.
    """
    scores, labels, domains = np.asarray(scores, dtype=float), np.asarray(labels), np.asarray(domains)
    if scores.ndim != 1 or not scores.shape == labels.shape == domains.shape:
        raise ValueError(
            f"found shapes {scores.shape} of scores, {labels.shape} of labels, {domains.shape} of domains; "
            "expected (n_clips,) three times"
        )
    if bad := np.count_nonzero(~np.isfinite(scores)):
        raise ValueError(f"found {bad} of {len(scores)} scores that are not finite; expected numbers")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"found labels {_some(labels)}; expected 0 (normal) and 1 (anomaly)")
    if not np.isin(domains, DOMAINS).all():
        raise ValueError(f"found domains {_some(domains)}; expected source and target")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"found labels {_some(labels)} only; expected at least one normal and one anomaly")
    return scores, labels.astype(int), domains


def _some(values) -> str:
    """A few of the distinct values, for an error message."""
    distinct = sorted({str(v) for v in values.tolist()})
    return ", ".join(distinct[:5]) + (", ..." if len(distinct) > 5 else "") if distinct else "(none)"


def auc_source(scores, labels, domains, weights=None):
    """AUC of the source domain's normals against the anomalies of *both* domains.

    Parameters
    ----------
    scores, labels, domains : (n_clips,)
        See the conventions above.
    weights : (n_clips,) or (n_weightings, n_clips), optional
        Non-negative multiplicity of each clip; weight 2 equals listing the clip twice.

    Returns
    -------
    float or (n_weightings,) float64
        In [0, 1]; NaN without source normals.

    References
    ----------
    Official evaluation of DCASE Task 2 since 2023 (Dohi et al., arXiv 2305.07828, section 3.2).
    """
    return _domain_auc("source", scores, labels, domains, weights)


def auc_target(scores, labels, domains, weights=None):
    """AUC of the target domain's normals against the anomalies of *both* domains; parameters as in `auc_source`."""
    return _domain_auc("target", scores, labels, domains, weights)


def _domain_auc(domain, scores, labels, domains, weights):
    scores, labels, domains = validate(scores, labels, domains)
    keep = (labels == 1) | (domains == domain)
    return _standardised_area(scores[keep], labels[keep], _checked_weights(weights, len(scores))[..., keep], 1.0)


def pauc(scores, labels, domains, max_fpr: float = 0.1, weights=None):
    """Partial AUC over all clips of both domains, for false-positive rates up to `max_fpr`, McClish-standardised.

    Parameters
    ----------
    scores, labels, domains, weights
        As in `auc_source`.
    max_fpr : float
        In (0, 1]; 1 is the full AUC.

    Returns
    -------
    float or (n_weightings,) float64
        1 perfect, 0.5 chance; equal to ``sklearn.metrics.roc_auc_score(max_fpr=max_fpr)``.

    References
    ----------
    McClish, Analyzing a portion of the ROC curve, Medical Decision Making 9 (1989).
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"found max_fpr {max_fpr}; expected a rate in (0, 1]")
    scores, labels, domains = validate(scores, labels, domains)
    return _standardised_area(scores, labels, _checked_weights(weights, len(scores)), max_fpr)


def _checked_weights(weights, n_clips: int) -> np.ndarray:
    weights = np.ones(n_clips) if weights is None else np.asarray(weights, dtype=float)
    if weights.ndim not in (1, 2) or weights.shape[-1] != n_clips:
        raise ValueError(f"found weights of shape {weights.shape}; expected (..., {n_clips})")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("found negative weights or weights that are not finite; expected multiplicities of 0 or more")
    return weights


def _roc(scores, labels, weights) -> tuple[np.ndarray, np.ndarray]:
    """False- and true-positive rates, each (..., 1 + n_distinct_scores), from (0, 0) to (1, 1)."""
    order = np.argsort(-scores)
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])  # tied clips cross the threshold together
    rates = []
    for label in (0, 1):
        weighed = np.where(labels[order] == label, weights[..., order], 0)
        counts = np.add.reduceat(weighed, starts, axis=-1).cumsum(axis=-1)
        with np.errstate(invalid="ignore"):  # no normals in this domain: NaN
            counts = counts / counts[..., -1:]
        rates.append(np.concatenate([np.zeros_like(counts[..., :1]), counts], axis=-1))
    return rates[0], rates[1]


def _standardised_area(scores, labels, weights, max_fpr: float):
    """Area under the ROC up to `max_fpr`, mapped so that chance is 0.5 and perfect 1 (no change at `max_fpr` 1)."""
    fpr, tpr = _roc(scores, labels, weights)
    step, width = np.diff(fpr, axis=-1), np.diff(np.minimum(fpr, max_fpr), axis=-1)
    covered = np.divide(width, step, out=np.zeros_like(step), where=step > 0)  # below 1 where max_fpr cuts the step
    area = (width * (tpr[..., :-1] + np.diff(tpr, axis=-1) * covered / 2)).sum(axis=-1)
    area = np.where(np.isnan(fpr[..., -1]), np.nan, area)
    chance = max_fpr**2 / 2
    standardised = (1 + (area - chance) / (max_fpr - chance)) / 2
    return standardised if standardised.ndim else float(standardised)


def omega(values, axis: int | None = None):
    """Harmonic mean, the official summary of AUCs and pAUCs of one or more machines.

    Parameters
    ----------
    values : array_like
        Fractions in [0, 1]. NaN is skipped: a domain that was not tested.
    axis : int, optional
        Axis to reduce; all of them by default.

    Returns
    -------
    float or ndarray
        0 where any value is 0; NaN where there is nothing to average.

    >>> round(omega([0.5, 1.0, float("nan")]), 4)
    0.6667
    """
    values = np.asarray(values, dtype=float)
    if (values < 0).any():
        raise ValueError(f"found the value {np.nanmin(values)}; a harmonic mean is defined for values of 0 or more")
    known = ~np.isnan(values)
    with np.errstate(divide="ignore", invalid="ignore"):  # 1 / 0 is inf, and n / inf the 0 we want; 0 / 0 is NaN
        mean = known.sum(axis) / np.where(known, 1 / values, 0).sum(axis)
    return mean if np.ndim(mean) else float(mean)


def evaluate(scores, labels, domains) -> dict[str, float]:
    """The official numbers of one machine.

    Returns
    -------
    dict
        ``auc_source``, ``auc_target``, ``pauc`` and ``omega``, their harmonic mean; fractions.

    Raises
    ------
    ValueError
        See `validate`.
    """
    values = {
        "auc_source": auc_source(scores, labels, domains),
        "auc_target": auc_target(scores, labels, domains),
        "pauc": pauc(scores, labels, domains),
    }
    return values | {"omega": omega(list(values.values()))}


def resample_recordings(labels, domains, recordings, n_resamples: int = 1000, seed=0) -> np.ndarray:
    """Draw recordings with replacement within each (label, domain).

    Every stratum keeps its number of recordings, and so its presence, in every resample; its number of clips varies
    where recordings hold different numbers of clips. A stratum of one recording does not vary at all: no interval can
    tell what another recording would have given.

    Returns
    -------
    weights : (n_resamples, n_clips) int64
        How often each clip is in each resample.
    """
    labels, domains, recordings = np.asarray(labels), np.asarray(domains), np.asarray(recordings)
    if not labels.shape == domains.shape == recordings.shape:
        found = f"{labels.shape} of labels, {domains.shape} of domains, {recordings.shape} of recordings"
        raise ValueError(f"found shapes {found}; expected (n_clips,) three times")
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_resamples, len(labels)), dtype=np.int64)
    for label, domain in sorted(set(zip(labels.tolist(), domains.tolist()))):
        clips = np.flatnonzero((labels == label) & (domains == domain))
        groups, group_of_clip = np.unique(recordings[clips], return_inverse=True)
        draws = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=n_resamples)
        weights[:, clips] = draws[:, group_of_clip]
    return weights


def bootstrap(scores, labels, domains, recordings, n_resamples: int = 1000, seed=0) -> np.ndarray:
    """The metric of one machine on resampled recordings.

    The draws depend on `labels`, `domains`, `recordings`, `n_resamples` and `seed`, not on the scores: two systems
    bootstrapped on the same clips with the same arguments are *paired*, resample by resample.

    Parameters
    ----------
    scores, labels, domains, recordings : (n_clips,)
        See the conventions above.
    n_resamples : int
        1000 gives 95 % limits to about a tenth of the interval's width.
    seed : int or sequence of int
        Give each machine its own, such as ``(0, index)``: with one seed, machines of the same layout would share their
        draws, and their errors would no longer average out.

    Returns
    -------
    boots : (n_resamples, 3) float64
        auc_source, auc_target, pauc.
    """
    scores, labels, domains = validate(scores, labels, domains)
    weights = resample_recordings(labels, domains, recordings, n_resamples, seed)
    columns = [metric(scores, labels, domains, weights=weights) for metric in (auc_source, auc_target, pauc)]
    return np.stack(columns, axis=1)


def omega_samples(boots: Sequence[np.ndarray]) -> np.ndarray:
    """Official Omega over machines, per resample.

    Parameters
    ----------
    boots : list of (n_resamples, 3)
        One array per machine.

    Returns
    -------
    samples : (n_resamples,) float64
    """
    return omega(np.concatenate(boots, axis=1), axis=1)


def interval(samples, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples.

    Somewhat too narrow: for an AUC of 0.76 and 12 to 50 recordings in a stratum, a nominal 95 % covered 91 to 93 % in
    simulation. State the number of recordings.

    Parameters
    ----------
    samples : (n_resamples,)
    level : float
        In (0, 1).

    Returns
    -------
    lo, hi : float
    """
    if not 0 < level < 1:
        raise ValueError(f"found the level {level}; expected a fraction in (0, 1)")
    lo, hi = np.quantile(np.asarray(samples, dtype=float), [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def paired_difference(points_a, points_b, boots_a, boots_b, level: float = 0.95) -> tuple[float, float, float]:
    """System a minus system b: arithmetic mean over machines of the difference of their Omegas.

    Parameters
    ----------
    points_a, points_b : (n_machines, 3)
        auc_source, auc_target, pauc on the clips as they are; machines in one order.
    boots_a, boots_b : list of (n_resamples, 3)
        `bootstrap` of the same machines, with the same arguments but for the scores.
    level : float
        In (0, 1).

    Returns
    -------
    difference, lo, hi : float
        Above 0 where a is better. The interval says how the difference varies with the recordings of *these* machines,
        not with other machines.
    """
    shapes_a, shapes_b = [np.shape(b) for b in boots_a], [np.shape(b) for b in boots_b]
    if shapes_a != shapes_b or not len(points_a) == len(points_b) == len(boots_a):
        raise ValueError(
            f"found {len(points_a)} and {len(points_b)} machines with resamples of shape {shapes_a} and {shapes_b}; "
            "expected both systems on the same machines and resamples"
        )
    difference = (omega(points_a, axis=1) - omega(points_b, axis=1)).mean()
    samples = np.mean([omega(a, axis=1) - omega(b, axis=1) for a, b in zip(boots_a, boots_b)], axis=0)
    return float(difference), *interval(samples, level)


def false_alarm_rate(decisions, labels) -> float:
    """Share of the normal clips that were decided to be anomalous.

    Parameters
    ----------
    decisions : (n_clips,) bool or 0/1
        1 where a clip was called an anomaly.
    labels : (n_clips,) 0/1

    Raises
    ------
    ValueError
        Lengths that differ, decisions other than 0 and 1, or no normal clip.
    """
    decisions, labels = np.asarray(decisions), np.asarray(labels)
    if decisions.ndim != 1 or decisions.shape != labels.shape:
        found = f"{decisions.shape} of decisions, {labels.shape} of labels"
        raise ValueError(f"found shapes {found}; expected (n_clips,) twice")
    if not np.isin(decisions, (0, 1)).all():
        raise ValueError(f"found decisions {_some(decisions)}; expected 0 and 1")
    if not (labels == 0).any():
        raise ValueError("found no normal clip; expected at least one")
    return float(decisions[labels == 0].mean())
