"""The threshold against a search over all scores, the rate it keeps, the rates that are refused."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asdkit.calibration import calibrate, check_rate, conformal_threshold
from asdkit.config import Config
from asdkit.fitting import Fitting, Memo
from asdkit.recordings import Clip, InputError


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
    found_scores = np.array(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)), dtype=float)
    rate = data.draw(st.floats(1 / (len(set(recordings)) + 1), 1))
    assert conformal_threshold(found_scores, recordings, rate) == naive_threshold(found_scores, recordings, rate)


@pytest.mark.parametrize("rate", [0.1, 0.25])
def test_the_promised_false_alarm_rate_is_kept_on_average(rate):
    rng = np.random.default_rng(0)
    alarms = [rng.normal() > conformal_threshold(rng.normal(size=19), np.arange(19), rate) for _ in range(4000)]
    assert np.mean(alarms) == pytest.approx(rate, abs=0.02)


RATES = [(9, 0.1, True), (8, 0.1, False), (2, 0.5, False), (3, 0.25, True), (99, 0.01, True)]


@pytest.mark.parametrize(("n", "rate", "fine"), RATES)
def test_a_rate_that_cannot_be_promised_is_refused(n, rate, fine):
    clips = tuple(Clip(Path(f"train/{i}.wav"), recording=str(i)) for i in range(n))
    if fine:
        return check_rate(clips, rate)
    with pytest.raises(InputError, match=f"found {n} recordings, expected at least .* for a false-alarm rate of {rate}"):
        check_rate(clips, rate)


@pytest.mark.parametrize(("holdout", "rate", "n"), [(0.2, 0.1, 50), (0.4, 0.03, 90), (0.35, 0.05, 60), (0.28, 0.036, 100)])
def test_one_fold_suffices_for_the_rate_it_is_used_for(holdout, rate, n, monkeypatch):
    """`calibrate` on made-up scores: whatever the share held out, the threshold exists."""
    clips = tuple(Clip(Path(f"{i:03d}.wav"), recording=str(i)) for i in range(n))
    fitting = Fitting(clips, Config(holdout=holdout, false_alarm=rate), 0, Memo(), ())

    class Fake:
        front = None

        def score_blocks(self, blocks):
            return blocks

    monkeypatch.setattr(Fitting, "blocks", lambda self, front, clip, hop: float(clip.path.stem))
    assert 0 <= calibrate(fitting, lambda rest: Fake()) < n
