"""Folds, groups and the memo that fits share."""

from pathlib import Path

import numpy as np
import pytest

from asdkit.config import Config
from asdkit.fitting import Fitting, Memo, fold_recordings, one_domain_at_least, own_recordings
from asdkit.recordings import Clip


def clips(n, takes, n_target=0):
    """n clips cut from so many takes in turn, the last ones of the target domain."""
    domain = ["source"] * (n - n_target) + ["target"] * n_target
    return tuple(Clip(Path(f"{i:03d}.wav"), domain=d, recording=f"take{i % takes}") for i, d in enumerate(domain))


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_siblings_share_a_fold(n_folds):
    fitting = Fitting(clips(16, takes=4), Config(), 0, Memo(), ())
    folds = fold_recordings(fitting, n_folds)
    assert all(len(set(folds[fitting.recordings == r])) == 1 for r in range(4))
    assert set(folds) == set(range(min(n_folds, 4)))


def test_domains_are_spread_over_the_folds():
    fitting = Fitting(clips(50, takes=50, n_target=10), Config(), 0, Memo(), ())
    folds = fold_recordings(fitting, 5)
    assert np.bincount(folds).tolist() == [10] * 5
    assert np.bincount(folds[fitting.is_target]).tolist() == [2] * 5


def test_clips_of_one_recording_become_their_own_with_a_warning():
    with pytest.warns(UserWarning, match="all clips are of one recording; each is taken for its own"):
        found = own_recordings(clips(4, takes=1))
    assert [c.recording for c in found] == [c.name for c in found]
    assert own_recordings(clips(4, takes=2)) == clips(4, takes=2)


def test_target_clips_alone_are_called_source():
    assert {c.domain for c in one_domain_at_least(clips(3, 3, n_target=3))} == {"source"}
    assert one_domain_at_least(clips(3, 3, n_target=1)) == clips(3, 3, n_target=1)


def test_memo_computes_once_and_forgets():
    memo, calls = Memo(), []
    for _ in range(2):
        assert memo(("spectra", 1), lambda: calls.append(1) or 5) == 5
        memo(("block", 1), lambda: calls.append(2))
    assert calls == [1, 2] and memo.saved == 0  # a system pays once for what it computed itself
    memo.values["spectra", 1] = 5, 2.5
    memo.new_bill()
    for _ in range(3):
        memo(("spectra", 1), lambda: 0)
    assert memo.saved == 2.5  # and once for what it was spared, however often it asked
    memo.forget_all_but("spectra")
    assert list(memo.values) == [("spectra", 1)]
