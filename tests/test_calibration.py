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


@pytest.mark.parametrize(("n", "n_target"), [(3, 0), (12, 2), (190, 10), (990, 10)])
def test_every_recording_is_held_out_once_and_some_hundreds_are_measured(n, n_target):
    rounds = hold_out(training(n, n_target), lambda held, clips: (set(np.flatnonzero(held)), set(clips)))
    held, measured = ([i for each in sets for i in each] for sets in zip(*rounds))
    assert sorted(held) == list(range(n + n_target)) and set(range(n, n + n_target)) <= set(measured)
    assert all(clips <= out for out, clips in rounds) and max(len(out) for out, _ in rounds) <= -(-(n + n_target) // 10)
    assert len(measured) - n_target == (n if n < 400 else pytest.approx(n / (n // 200), abs=1))
    assert hold_out(training(1, 5), None) == []  # one recording has nothing to be compared with


def loop_moments(values, recordings):
    by_recording = {r: [float(v) for v, q in zip(values, recordings) if q == r] for r in set(recordings)}
    mean = np.mean([np.mean(v) for v in by_recording.values()])
    return mean, np.mean([np.mean([(x - mean) ** 2 for x in v]) for v in by_recording.values()]), len(by_recording)


class NaiveScores:
    """Scores of clips on the scale of what is held out, each by a fit that never had it; loops over clips and blocks."""

    def __init__(self, machine, config):
        self.config, self.training = config, TrainingSet.of(machine.train)
        folds, units = self.training.folds(10), []
        for i, clip in enumerate(self.training.clips):
            rest = fit_detector(self.training.without(folds == folds[i]), Describer(config))
            units += [(i, each) for each in self.distances(clip, rest, folds != folds[i])]
        recordings = [self.training.recordings[i] for i, _ in units]
        of_source = [not self.training.is_target[i] for i, _ in units]

        def moments(values, domain):
            kept = [(v, r) for v, r, s in zip(values, recordings, of_source) if s == domain]
            return loop_moments(*zip(*kept))

        dims = {"texture": 96, "statistics": 256} if config.balance == "dimensions" else dict.fromkeys(config.blocks, 1)
        self.scales = {b: moments([float(d[b][0].min()) for _, d in units], True)[0] / n**0.5 for b, n in dims.items()}
        near = [self.nearest(d) for _, d in units]
        self.source, (m_t, v_t, n), n_0 = moments([s for s, _ in near], True), moments([t for _, t in near], False), config.n_0
        m_s, v_s, _ = self.source
        self.target = (n * m_t + n_0 * m_s) / (n + n_0), (n * v_t + n_0 * v_s) / (n + n_0) * (1 + 1 / n)
        held_out = [[self.score(d) for j, d in units if j == i] for i in np.flatnonzero(~self.training.is_target)]
        self.held_out = [np.mean(each) for each in held_out]

    def distances(self, clip, detector, kept):
        """For each unit of the clip, by block, its distances to source and target clips of the bank."""

        def units(clip, hop):
            blocks = detector.extractor.describe(read_spectra(clip, self.config), hop)
            blocks = {name: detector.scorer.space.scalers[name](x) for name, x in blocks.items()}
            pooled = self.config.aggregate == "pooled"
            return {name: x.mean(0, keepdim=True) if pooled else x for name, x in blocks.items()}

        bank = [[], []]
        for other, target in zip(np.array(self.training.clips)[kept], self.training.is_target[kept]):
            bank[int(target)].append(units(other, self.config.train_hop))
        for i in range(len(next(iter((own := units(clip, self.config.test_hop)).values())))):
            yield {b: [torch.cat([(own[b][i] - o[b]).norm(dim=1) for o in each]) for each in bank] for b in self.config.blocks}

    def nearest(self, distances):
        return [float(sum((distances[b][j] / self.scales[b]) ** 2 for b in self.scales).sqrt().min()) for j in (0, 1)]

    def score(self, distances):
        (source, target), (m_s, v_s, _), (m_t, v_t) = self.nearest(distances), self.source, self.target
        return min(source, m_s + (target - m_t) * (v_s / v_t) ** 0.5) / m_s


@pytest.mark.parametrize(("aggregate", "balance"), [("pooled", "dimensions"), ("mean", "blocks")])
def test_scores_and_thresholds_equal_loops(tiny_data, tiny_config, aggregate, balance):
    """From spectra to decisions: a change of any step between them moves a score."""
    machine = next(m for m in index_data(tiny_data) if any(c.domain == "target" for c in m.train))
    config = replace(tiny_config, blocks=("texture", "statistics"), aggregate=aggregate, balance=balance)
    detector, naive = fit_detector(TrainingSet.of(machine.train), Describer(config)), NaiveScores(machine, config)
    np.testing.assert_allclose(detector.held_out.scores, naive.held_out, rtol=1e-3)
    expected = naive_threshold(naive.held_out, detector.held_out.recordings, 0.25)
    assert detector.threshold(0.25) == pytest.approx(expected, rel=1e-3)
    everything = np.ones(len(machine.train), dtype=bool)
    for clip in machine.test[::3]:
        expected = np.mean([naive.score(d) for d in naive.distances(clip, detector, everything)])
        assert detector.score_file(clip).score == pytest.approx(expected, rel=1e-3)
    options = {"plain": {"balance": "none"}, "whole": {"msm_weight": 1.0}, "quarter": {"msm_weight": 0.25}}
    configs = {name: replace(config, blocks=("msm", "texture"), steps=0, **each) for name, each in options.items()}
    scales = {name: fit_detector(naive.training, Describer(c)).scorer.space.scales for name, c in configs.items()}
    assert set(scales["plain"].values()) == {1.0} and scales["quarter"]["texture"] == scales["whole"]["texture"] != 1
    assert scales["quarter"]["msm"] == pytest.approx(4 * scales["whole"]["msm"])


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
