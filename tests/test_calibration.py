"""The threshold against a search over all scores, the rate it keeps, the rates that are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asdkit.calibration import check_rate, conformal_threshold, hold_out, like_target
from asdkit.describer import Describer
from asdkit.detector import fit_detector
from asdkit.recordings import Clip, InputError, TrainingSet, index_data


def training(n_source, n_target=0) -> TrainingSet:
    domains = ["source"] * n_source + ["target"] * n_target
    return TrainingSet(tuple(Clip(Path(f"train/{i:03d}.wav"), recording=f"{i:03d}", domain=d) for i, d in enumerate(domains)))


def naive_threshold(scores, recordings, rate):
    """Tries every score: the mean over recordings of the share of clips above it, one unseen recording all alarm."""
    ids = sorted(set(recordings))
    for threshold in sorted(scores):
        shares = [np.mean([s > threshold for s, r in zip(scores, recordings) if r == i]) for i in ids]
        if (sum(shares) + 1) / (len(ids) + 1) <= rate + 1e-9:
            return threshold


@settings(deadline=None)
@given(st.data())
def test_conformal_threshold_equals_loops(data):
    n = data.draw(st.integers(1, 30))
    recordings = np.array(data.draw(st.lists(st.integers(0, 8), min_size=n, max_size=n)))
    scores = np.array(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)), dtype=float)
    rate = data.draw(st.floats(1 / (len(set(recordings)) + 1), 1))
    assert conformal_threshold(scores, recordings, rate) == naive_threshold(scores, recordings, rate)


@pytest.mark.parametrize("rate", [0.1, 0.25])
def test_the_promised_false_alarm_rate_is_kept_on_average(rate):
    rng = np.random.default_rng(0)
    alarms = [rng.normal() > conformal_threshold(rng.normal(size=19), np.arange(19), rate) for _ in range(4000)]
    assert np.mean(alarms) == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize(("n", "rate"), [(9, 0.1), (3, 0.25), (99, 0.01)])
def test_a_rate_that_cannot_be_promised_is_refused(n, rate):
    """Recordings of the source promise it, those of the target do not."""
    check_rate(training(n, 10), rate)
    message = f"found {n - 1} recordings, expected at least {max(n, 3)} for a false-alarm rate of {rate}"
    with pytest.raises(InputError, match=message):
        check_rate(training(n - 1, 10), rate)


def numbered(n_source, n_target=0):
    """What is held out where a clip's score is its number; for each fold the clips held out, and those that were scored."""
    rounds = []

    def score(held, clips):
        rounds.append((set(np.flatnonzero(held)), set(clips)))
        return [float(i) for i in clips]

    return hold_out(training(n_source, n_target), 10.0, score), rounds


@pytest.mark.parametrize(("n", "n_target"), [(3, 0), (12, 2), (190, 10), (990, 10)])
def test_every_recording_is_held_out_once_and_some_hundreds_are_scored(n, n_target):
    held_out, rounds = numbered(n, n_target)
    held, scored = ([i for each in sets for i in each] for sets in zip(*rounds))
    assert sorted(held) == list(range(n + n_target)) and set(range(n, n + n_target)) <= set(scored)
    assert all(clips <= out for out, clips in rounds) and max(len(out) for out, _ in rounds) <= -(-(n + n_target) // 10)
    assert held_out.n_source == len(scored) - n_target == (n if n < 400 else pytest.approx(n / (n // 200), abs=1))
    assert len(held_out.scores) == held_out.n_source * (2 if n_target else 1)  # as many again stand for the target


def test_a_clip_held_out_scores_as_with_a_detector_that_never_had_it(tiny_data, tiny_config):
    clips = TrainingSet.of(index_data(tiny_data)[0].train)
    describer = Describer(replace(tiny_config, blocks=("statistics", "texture"), false_alarm=0.5))
    held_out, folds = fit_detector(clips, describer).held_out, clips.folds(10)
    for position, i in enumerate(np.flatnonzero(~clips.is_target)[:3]):
        rest = fit_detector(clips.without(folds == folds[i]), describer, decide=False)
        assert held_out.scores[position] == pytest.approx(rest.score_file(clips.clips[i]).score, rel=1e-5)


@pytest.mark.parametrize("rate", [1 / 51, 0.1, 0.2, 0.5, 1.0])
def test_any_rate_is_a_threshold_of_the_same_scores(rate):
    held_out, _ = numbered(50, 10)
    assert held_out.threshold(rate) == naive_threshold(held_out.scores, held_out.recordings, rate)
    for wrong, says in ((0.01, "found 50 recordings held out, expected at least 99"), (0, "of 0"), (1.5, "of 1.5")):
        with pytest.raises(InputError, match=says):
            held_out.threshold(wrong)
    assert numbered(2, 5) == (None, [])  # two recordings are too few to hold any out


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-5, 5)), min_size=1, max_size=12), st.integers(0, 20))
def test_like_target_equals_loops(target, n_0):
    rng = np.random.default_rng(0)
    source, ids = rng.normal(size=30), np.arange(30) % 7
    moved = like_target(source, ids, np.array([s for _, s in target]), np.array([r for r, _ in target]), n_0)

    def moments(pairs):
        by_recording = {r: [s for q, s in pairs if q == r] for r in {r for r, _ in pairs}}
        mean = np.mean([np.mean(scores) for scores in by_recording.values()])
        squares = [np.mean([(s - mean) ** 2 for s in scores]) for scores in by_recording.values()]
        return mean, np.mean(squares), len(by_recording)

    (m_s, v_s, _), (m_t, v_t, n) = moments(list(zip(ids, source))), moments(target)
    spread = np.sqrt((n * v_t + n_0 * v_s) / (n + n_0) * (1 + 1 / n))
    np.testing.assert_allclose(moved, [m_t + (s - m_s) / np.sqrt(v_s) * spread for s in source], atol=1e-9)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_ten_target_recordings_keep_the_rate_on_average_where_domains_are_met_equally(rate):
    """Within a factor of two, of scores with a tail, the target's moved and stretched."""
    rng, alarms = np.random.default_rng(0), []
    for _ in range(2000):
        centre, spread = rng.normal(3, 1), rng.uniform(0.7, 1.5)
        source, target = rng.gamma(4, size=200), centre + spread * rng.gamma(4, size=20)
        scores = np.append(source[:190], like_target(source[:190], np.arange(190), target[:10], np.arange(10), 10.0))
        threshold = conformal_threshold(scores, np.arange(380), rate)
        alarms.append(np.mean([source[190:] > threshold, target[10:] > threshold]))
    assert rate / 2 < np.mean(alarms) < 2 * rate
