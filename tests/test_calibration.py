"""The threshold against a search over all scores, the rate it keeps, the rates that are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asdkit.blocks import read_spectra
from asdkit.calibration import HeldOut, check_rate, conformal_threshold, hold_out
from asdkit.describer import Describer
from asdkit.detector import fit_detector
from asdkit.knn import fit_knn, scaled
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
    """Distances where a clip's is its number; for each fold the clips held out, and those that were measured."""
    rounds = []

    def nearest(held, clips):
        rounds.append((set(np.flatnonzero(held)), set(clips)))
        return [torch.tensor([[float(i)]]) for i in clips]

    return hold_out(training(n_source, n_target), nearest), rounds


@pytest.mark.parametrize(("n", "n_target"), [(3, 0), (12, 2), (190, 10), (990, 10)])
def test_every_recording_is_held_out_once_and_some_hundreds_are_measured(n, n_target):
    distances, rounds = numbered(n, n_target)
    held, measured = ([i for each in sets for i in each] for sets in zip(*rounds))
    assert sorted(held) == list(range(n + n_target)) and set(range(n, n + n_target)) <= set(measured)
    assert all(clips <= out for out, clips in rounds) and max(len(out) for out, _ in rounds) <= -(-(n + n_target) // 10)
    assert len(measured) - n_target == (n if n < 400 else pytest.approx(n / (n // 200), abs=1))
    assert {i: [[float(i)]] for i in measured} == {i: d.tolist() for i, d in distances.items()}
    assert numbered(1, 5) == ({}, [])  # one recording has nothing to be compared with


@pytest.mark.parametrize("aggregate", ["pooled", "top"])
def test_what_is_held_out_is_measured_by_a_detector_that_never_had_it(tiny_data, tiny_config, aggregate):
    """Source and target alike; the scale and the threshold come from these distances and no others."""
    clips = TrainingSet.of(index_data(tiny_data)[0].train)
    describer = Describer(replace(tiny_config, blocks=("statistics", "texture"), aggregate=aggregate, n_0=0.0, false_alarm=0.5))
    fitted, folds, distances = fit_detector(clips, describer), clips.folds(10), {}
    for i, clip in enumerate(clips.clips):
        rest = fit_detector(clips.without(folds == folds[i]), describer)
        distances[i] = rest.scorer.nearest(rest.extractor.describe(read_spectra(clip, rest.config), rest.config.test_hop))
    units = np.repeat(list(distances), [len(d) for d in distances.values()])
    nearest, target = torch.cat(list(distances.values())), clips.is_target[units]
    expected = scaled(fitted.scorer.bank, nearest, clips.recordings[units], target, 0.0)
    torch.testing.assert_close(fitted.scorer.bank.slopes, expected.slopes, rtol=1e-4, atol=0)
    torch.testing.assert_close(fitted.scorer.bank.offsets, expected.offsets, rtol=1e-4, atol=1e-4)
    scores = [fitted.scorer.score(distances[i]) for i in np.flatnonzero(~clips.is_target)]
    np.testing.assert_allclose(fitted.held_out.scores, scores, rtol=1e-4)


@pytest.mark.parametrize("rate", [1 / 51, 0.1, 0.2, 0.5, 1.0])
def test_any_rate_is_a_threshold_of_the_same_scores(rate):
    held_out = HeldOut(np.random.default_rng(0).normal(size=50), np.arange(50))
    assert held_out.threshold(rate) == naive_threshold(held_out.scores, held_out.recordings, rate)
    for wrong, says in ((0.01, "found 50 recordings held out, expected at least 99"), (0, "of 0"), (1.5, "of 1.5")):
        with pytest.raises(InputError, match=says):
            held_out.threshold(wrong)


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_ten_target_recordings_keep_the_rate_on_average_in_each_domain(rate):
    """Within a factor of two, of distances with a tail; those of the target are larger and more or less spread."""
    rng, alarms = np.random.default_rng(0), []
    empty = fit_knn(torch.zeros(2, 1), np.arange(2), np.arange(2) == 1)
    for _ in range(1000):
        centre, spread = rng.normal(9, 1), rng.uniform(0.7, 1.5)
        source, target = 5 + rng.gamma(4, size=200), centre + spread * rng.gamma(4, size=20)
        near = np.stack([[*source, *target + 9], [*source + 99, *target]], axis=1)  # nobody is close to the other domain
        known, ids = np.r_[:190, 200:210], np.arange(220)
        bank = scaled(empty, torch.from_numpy(near[known]), ids[known], ids[known] >= 200, 1.0)
        scores = bank.score(torch.from_numpy(near)).numpy()
        threshold = conformal_threshold(scores[:190], ids[:190], rate)
        alarms.append([np.mean(scores[190:200] > threshold), np.mean(scores[210:] > threshold)])
    assert all(rate / 2 < each < 2 * rate for each in np.mean(alarms, axis=0))
