"""The clips of one fit: their folds, their groups, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from asdkit.recordings import Clip, InputError, TrainingSet


def clips(n, takes, n_target=0):
    """n clips cut from so many takes in turn, the last ones of the target domain."""
    domain = ["source"] * (n - n_target) + ["target"] * n_target
    return tuple(Clip(Path(f"{i:03d}.wav"), domain=d, recording=f"take{i % takes}") for i, d in enumerate(domain))


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_siblings_share_a_fold(n_folds):
    training = TrainingSet.of(clips(16, takes=4))
    folds = training.folds(n_folds)
    assert all(len(set(folds[training.recordings == r])) == 1 for r in range(4))
    assert set(folds) == set(range(min(n_folds, 4)))


def test_domains_are_spread_over_the_folds():
    training = TrainingSet.of(clips(50, takes=50, n_target=10))
    folds = training.folds(5)
    assert np.bincount(folds).tolist() == [10] * 5
    assert np.bincount(folds[training.is_target]).tolist() == [2] * 5


def test_folds_are_the_same_on_every_machine():
    """Golden values: scores of earlier runs depend on them."""
    assert TrainingSet.of(clips(12, takes=6, n_target=3)).folds(3).tolist() == [1, 2, 0, 0, 2, 1, 1, 2, 0, 0, 2, 1]


def test_the_order_of_the_clips_does_not_matter():
    assert TrainingSet.of(clips(9, takes=4)[::-1]) == TrainingSet.of(clips(9, takes=4))


def test_clips_of_one_recording_become_their_own_with_a_warning():
    with pytest.warns(UserWarning, match="all clips are of one recording; each is taken for its own"):
        training = TrainingSet.of(clips(4, takes=1))
    assert [c.recording for c in training.clips] == [c.name for c in training.clips]
    assert TrainingSet.of(clips(4, takes=2)).clips == clips(4, takes=2)


def test_target_clips_alone_are_called_source():
    assert not TrainingSet.of(clips(3, 3, n_target=3)).is_target.any()
    assert TrainingSet.of(clips(3, 3, n_target=1)).is_target.tolist() == [False, False, True]


def test_what_is_held_out_is_gone_and_recordings_are_counted_anew():
    rest = TrainingSet.of(clips(6, takes=3)).without(np.arange(6) % 3 == 0)
    assert [c.name for c in rest.clips] == ["001.wav", "002.wav", "004.wav", "005.wav"]
    assert rest.recordings.tolist() == [0, 1, 0, 1]


def test_target_clips_stay_target_when_all_source_clips_are_held_out():
    training = TrainingSet.of(clips(4, takes=4, n_target=2))
    assert training.without(~training.is_target).is_target.all()


@pytest.mark.parametrize(("few", "message"), [((), "training: found 0"), (clips(1, 1), "found 1 .* expected at least 2")])
def test_fewer_than_two_clips_are_refused(few, message):
    with pytest.raises(InputError, match=message):
        TrainingSet.of(few)
