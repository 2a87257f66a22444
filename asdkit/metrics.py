"""The official metric of DCASE Task 2 (Dohi et al., arXiv 2305.07828, section 3.2) and its bootstrap intervals.

scores : (n_clips,) float, finite; higher is more anomalous. labels : (n_clips,) 0 normal, 1 anomaly.
domains : (n_clips,) "source" or "target". recordings : (n_clips,) the session a clip was cut from.
weights : (n_clips,) or (n_weightings, n_clips) multiplicity of each clip, 0 or more; a metric is then (n_weightings,).
boots : (n_resamples, 3) auc_source, auc_target, pauc of one machine per resample.

All values are fractions; 0.5 is chance. A domain without normal clips has the AUC NaN, which Omega skips. Arguments that do not
fit this raise ValueError.
"""

from collections.abc import Sequence

import numpy as np

METRICS = ("auc_source", "auc_target", "pauc")
DOMAINS = ("source", "target")


def validate(scores, labels, domains) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check scores, labels and domains of one machine's test clips, which must be of both labels; return them as arrays."""
    scores, labels, domains = _same_shape(scores=np.asarray(scores, dtype=float), labels=labels, domains=domains)
    if bad := np.count_nonzero(~np.isfinite(scores)):
        raise ValueError(f"found {bad} of {len(scores)} scores that are not finite; expected numbers")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError(f"found labels {_some(labels)}; expected 0 (normal) and 1 (anomaly)")
    if not np.isin(domains, DOMAINS).all():
        raise ValueError(f"found domains {_some(domains)}; expected source and target")
    if len(np.unique(labels)) < 2:
        raise ValueError(f"found labels {_some(labels)} only; expected at least one normal and one anomaly")
    return scores, labels.astype(int), domains


def _same_shape(**values) -> list[np.ndarray]:
    """Arrays of these values by name, which must all be (n_clips,)."""
    arrays = [np.asarray(v) for v in values.values()]
    if arrays[0].ndim != 1 or len({a.shape for a in arrays}) > 1:
        shapes = ", ".join(f"{a.shape} of {name}" for name, a in zip(values, arrays))
        raise ValueError(f"found shapes {shapes}; expected (n_clips,) for each")
    return arrays


def _some(values) -> str:
    """A few of the distinct values, for an error message."""
    distinct = sorted({str(v) for v in values.tolist()})
    return ", ".join(distinct[:5]) + (", ..." if len(distinct) > 5 else "") if distinct else "(none)"


def auc_source(scores, labels, domains, weights=None):
    """AUC of the source domain's normals against the anomalies of *both* domains."""
    return _area(scores, labels, domains, weights, normals=("source",))


def auc_target(scores, labels, domains, weights=None):
    """AUC of the target domain's normals against the anomalies of *both* domains."""
    return _area(scores, labels, domains, weights, normals=("target",))


def pauc(scores, labels, domains, max_fpr: float = 0.1, weights=None):
    """Partial AUC over all clips of both domains, for false-positive rates up to `max_fpr`, in (0, 1].

    Standardised as by McClish (Medical Decision Making 9, 1989): 1 is perfect, 0.5 chance.
    """
    if not 0 < max_fpr <= 1:
        raise ValueError(f"found max_fpr {max_fpr}; expected a rate in (0, 1]")
    return _area(scores, labels, domains, weights, max_fpr=max_fpr)


def _area(scores, labels, domains, weights, normals=DOMAINS, max_fpr: float = 1.0):
    """Area under the ROC of these domains' normals against all anomalies, mapped so that chance is 0.5 and perfect 1."""
    scores, labels, domains = validate(scores, labels, domains)
    weights = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=float)
    if weights.ndim not in (1, 2) or weights.shape[-1] != len(scores):
        raise ValueError(f"found weights of shape {weights.shape}; expected (..., {len(scores)})")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("found negative weights or weights that are not finite; expected multiplicities of 0 or more")
    keep = (labels == 1) | np.isin(domains, normals)
    fpr, tpr = _roc(scores[keep], labels[keep], weights[..., keep])
    step, width = np.diff(fpr, axis=-1), np.diff(np.minimum(fpr, max_fpr), axis=-1)
    covered = np.divide(width, step, out=np.zeros_like(step), where=step > 0)  # below 1 where max_fpr cuts the step
    area = (width * (tpr[..., :-1] + np.diff(tpr, axis=-1) * covered / 2)).sum(axis=-1)
    area = np.where(np.isnan(fpr[..., -1]), np.nan, area)
    chance = max_fpr**2 / 2
    standardised = (1 + (area - chance) / (max_fpr - chance)) / 2
    return standardised if standardised.ndim else float(standardised)


def _roc(scores, labels, weights) -> list[np.ndarray]:
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
    return rates


def omega(values, axis: int | None = None):
    """Harmonic mean over `axis`, the official summary of AUCs and pAUCs; NaN is skipped, and left where nothing else is."""
    values = np.asarray(values, dtype=float)
    if (values < 0).any():
        raise ValueError(f"found the value {np.nanmin(values)}; a harmonic mean is defined for values of 0 or more")
    known = ~np.isnan(values)
    with np.errstate(divide="ignore", invalid="ignore"):  # 1 / 0 is inf, and n / inf the 0 we want; 0 / 0 is NaN
        mean = known.sum(axis) / np.where(known, 1 / values, 0).sum(axis)
    return mean if np.ndim(mean) else float(mean)


def evaluate(scores, labels, domains) -> dict[str, float]:
    """``auc_source``, ``auc_target``, ``pauc`` of one machine, and ``omega``, their harmonic mean."""
    values = [metric(scores, labels, domains) for metric in (auc_source, auc_target, pauc)]
    return dict(zip(METRICS, values)) | {"omega": omega(values)}


def resample_recordings(labels, domains, recordings, n_resamples: int = 1000, seed=0) -> np.ndarray:
    """Draw recordings with replacement within each (label, domain), which keeps its number: weights (n_resamples, n_clips)."""
    labels, domains, recordings = _same_shape(labels=labels, domains=domains, recordings=recordings)
    rng = np.random.default_rng(seed)
    weights = np.zeros((n_resamples, len(labels)), dtype=np.int64)
    for label, domain in sorted(set(zip(labels.tolist(), domains.tolist()))):
        clips = np.flatnonzero((labels == label) & (domains == domain))
        groups, group_of_clip = np.unique(recordings[clips], return_inverse=True)
        draws = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), size=n_resamples)
        weights[:, clips] = draws[:, group_of_clip]
    return weights


def bootstrap(scores, labels, domains, recordings, n_resamples: int = 1000, seed=0) -> np.ndarray:
    """The metric of one machine on resampled recordings: (n_resamples, 3) auc_source, auc_target, pauc.

    The draws do not depend on the scores: two systems on the same clips with the same arguments are *paired*. Give each machine
    a seed of its own, such as ``(0, index)``: with one for all, machines of the same layout would share their draws.
    """
    scores, labels, domains = validate(scores, labels, domains)
    weights = resample_recordings(labels, domains, recordings, n_resamples, seed)
    columns = [metric(scores, labels, domains, weights=weights) for metric in (auc_source, auc_target, pauc)]
    return np.stack(columns, axis=1)


def omega_samples(boots: Sequence[np.ndarray]) -> np.ndarray:
    """Official Omega over machines, per resample. Shape: a (n_resamples, 3) for each machine -> (n_resamples,)."""
    return omega(np.concatenate(boots, axis=1), axis=1)


def interval(samples, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of bootstrap samples (n_resamples,), `level` in (0, 1).

    Somewhat too narrow: for an AUC of 0.76 and 12 to 50 recordings in a stratum, a nominal 95 % covered 91 to 93 %.
    """
    if not 0 < level < 1:
        raise ValueError(f"found the level {level}; expected a fraction in (0, 1)")
    lo, hi = np.quantile(np.asarray(samples, dtype=float), [(1 - level) / 2, (1 + level) / 2])
    return float(lo), float(hi)


def false_alarm_rate(decisions, labels) -> float:
    """Share of the normal clips, of which there must be one, with the decision 1. Shape: (n_clips,) of 0 and 1, twice."""
    decisions, labels = _same_shape(decisions=decisions, labels=labels)
    if not np.isin(decisions, (0, 1)).all():
        raise ValueError(f"found decisions {_some(decisions)}; expected 0 and 1")
    if not (labels == 0).any():
        raise ValueError("found no normal clip; expected at least one")
    return float(decisions[labels == 0].mean())
