"""The metric against scikit-learn, golden values, and the properties it must have whatever the scores."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from asdkit import metrics

GOLDEN = json.loads((Path(__file__).parent / "golden_metrics.json").read_text())
quick = settings(max_examples=30, deadline=None)


def reference(scores, labels, domains):
    """What `golden_metrics.json` was generated with: scikit-learn, and the harmonic mean written out.

    The file holds the cases ``{"scores", "labels", "domains"}`` of `random_clips` (seeds 0 to 4; levels 0, 0, 3, 7, 40)
    and ``expected = reference(...)``, written with ``json.dumps``.
    """
    scores, labels, domains = np.array(scores), np.array(labels), np.array(domains)
    values = {"pauc": roc_auc_score(labels, scores, max_fpr=0.1)}
    for domain in metrics.DOMAINS:
        counted = (labels == 1) | (domains == domain)
        values[f"auc_{domain}"] = roc_auc_score(labels[counted], scores[counted])
    return values | {"omega": 3 / sum(1 / v for v in values.values()) if min(values.values()) else 0.0}


def random_clips(seed, n=60, levels=0):
    rng = np.random.default_rng(seed)
    labels, domains = np.arange(n) % 2, np.where(np.arange(n) % 4 < 2, "source", "target")
    scores = rng.normal(size=n) + 0.7 * labels + 0.4 * (domains == "target")
    return np.floor(levels * (np.tanh(scores) + 1) / 2) if levels else scores, labels, domains


@st.composite
def clips(draw):
    n = draw(st.integers(8, 40))
    scores = np.array(draw(st.lists(st.integers(-4, 4), min_size=n, max_size=n)), dtype=float)
    strata = [0, 1, 2, 3] + draw(st.lists(st.integers(0, 3), min_size=n - 4, max_size=n - 4))
    labels, domains = np.array(strata) % 2, np.where(np.array(strata) < 2, "source", "target")
    return scores, labels, domains


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden_values(case):
    found = metrics.evaluate(case["scores"], case["labels"], case["domains"])
    assert found == pytest.approx(case["expected"], rel=0, abs=1e-12)


@quick
@given(clips(), st.sampled_from([0.01, 0.05, 0.1, 0.25, 0.5, 1.0]))
def test_equals_scikit_learn_with_ties_and_at_other_limits(case, max_fpr):
    assert metrics.evaluate(*case) == pytest.approx(reference(*case), rel=0, abs=1e-12)
    expected = roc_auc_score(case[1], case[0], max_fpr=max_fpr)
    assert metrics.pauc(*case, max_fpr=max_fpr) == pytest.approx(expected, rel=0, abs=1e-12)


def test_perfect_inverted_and_constant_scores_and_rates():
    _, labels, domains = random_clips(0)
    for scores, expected in ((labels, 1.0), (np.zeros(60), 0.5)):
        found = metrics.evaluate(scores, labels, domains)
        assert found == pytest.approx(dict.fromkeys((*metrics.METRICS, "omega"), expected))
    inverted = metrics.evaluate(-labels, labels, domains)
    assert (inverted["auc_source"], inverted["omega"]) == (0, 0)
    assert metrics.false_alarm_rate([1, 0, 0, 0, 1], [0, 0, 0, 0, 1]) == 0.25
    assert metrics.false_alarm_rate(np.array([True, False]), np.array([0, 0])) == 0.5


def test_a_domain_without_normals_is_nan_and_skipped():
    scores, labels, _ = random_clips(1)
    found = metrics.evaluate(scores, labels, np.full(60, "source"))
    assert np.isnan(found["auc_target"])
    assert found["omega"] == pytest.approx(2 / (1 / found["auc_source"] + 1 / found["pauc"]))
    boots = metrics.bootstrap(scores, labels, np.full(60, "source"), np.arange(60), n_resamples=20)
    assert np.isnan(boots[:, 1]).all() and np.isfinite(metrics.omega_samples([boots])).all()


SOURCE = ["source", "source"]


@pytest.mark.parametrize(("call", "arguments", "options", "message"), [
    (metrics.evaluate, ([1, 2, 3], [0, 1], SOURCE), {}, "shapes"),
    (metrics.evaluate, ([[1, 2]], [[0, 1]], [SOURCE]), {}, "shapes"),
    (metrics.evaluate, ([1, np.nan], [0, 1], SOURCE), {}, "1 of 2 scores that are not finite"),
    (metrics.evaluate, ([1, 2], [0, 2], SOURCE), {}, "labels 0, 2"),
    (metrics.evaluate, ([1, 2], [0, None], SOURCE), {}, "labels 0, None"),
    (metrics.evaluate, ([1, 2], [0, 1], ["source", "near"]), {}, "domains near, source"),
    (metrics.evaluate, ([1, 2], [0, 0], SOURCE), {}, "at least one normal and one anomaly"),
    (metrics.evaluate, ([], [], []), {}, "at least one normal and one anomaly"),
    (metrics.pauc, random_clips(0), dict(max_fpr=0), "max_fpr 0"),
    (metrics.pauc, random_clips(0), dict(weights=np.ones(3)), "shape"),
    (metrics.pauc, random_clips(0), dict(weights=-np.ones(60)), "negative"),
    (metrics.bootstrap, random_clips(0), dict(recordings=[1, 2]), "recordings"),
    (metrics.omega, ([-0.1, 0.5],), {}, "-0.1"),
    (metrics.interval, ([0.1, 0.2],), dict(level=95), "level"),
    (metrics.false_alarm_rate, ([1], [0, 1]), {}, "shapes"),
    (metrics.false_alarm_rate, ([0.5], [0]), {}, "decisions 0.5"),
    (metrics.false_alarm_rate, ([1, 1], [1, 1]), {}, "no normal clip"),
])  # fmt: skip
def test_bad_input_is_named(call, arguments, options, message):
    with pytest.raises(ValueError, match=message):
        call(*arguments, **options)


def test_omega():
    assert metrics.omega([0.5, 1]) == pytest.approx(2 / 3)
    assert metrics.omega([[0.5, np.nan], [1, 1]]) == pytest.approx(0.75)
    assert metrics.omega([0.5, 0, np.nan]) == 0
    assert np.isnan(metrics.omega([np.nan, np.nan]))
    np.testing.assert_allclose(metrics.omega([[0.5, 1], [0, 1], [0.3, 0.3]], axis=1), [2 / 3, 0, 0.3])
    boots = [metrics.bootstrap(*random_clips(seed), np.arange(60), n_resamples=10, seed=seed) for seed in (0, 1)]
    np.testing.assert_allclose(metrics.omega_samples(boots), [metrics.omega([*a, *b]) for a, b in zip(*boots)])


def test_bootstrap_draws_whole_recordings_within_label_and_domain():
    _, labels, domains = random_clips(0)
    recordings = np.array([f"{label}{domain}{i // 12}" for i, (label, domain) in enumerate(zip(labels, domains))])
    weights = metrics.resample_recordings(labels, domains, recordings, n_resamples=50)
    for recording in set(recordings):
        assert (np.ptp(weights[:, recordings == recording], axis=1) == 0).all()
    for label in (0, 1):
        for domain in metrics.DOMAINS:
            stratum = (labels == label) & (domains == domain)
            _, first = np.unique(recordings[stratum], return_index=True)
            assert (weights[:, stratum][:, first].sum(axis=1) == len(first)).all()


def test_bootstrap_equals_the_metric_of_repeated_clips():
    case, recordings = random_clips(5, levels=12), np.arange(60) // 3
    boots, other = (metrics.bootstrap(*case, recordings, n_resamples=7, seed=seed) for seed in (3, (0, 1)))
    weights = metrics.resample_recordings(case[1], case[2], recordings, n_resamples=7, seed=3)
    assert (boots != other).any()
    for row, w in zip(boots, weights):
        found = metrics.evaluate(*(np.repeat(x, w) for x in case))
        np.testing.assert_allclose(row, [found[name] for name in metrics.METRICS], rtol=0, atol=1e-12)
    assert metrics.interval(np.arange(101), level=0.9) == pytest.approx((5, 95))
