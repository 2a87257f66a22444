"""The clips of one fit: their folds, their groups, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from asdkit.recordings import Clip, InputError, TrainingSet


def clips(n, takes, n_target=0):
    domain = ["source"] * (n - n_target) + ["target"] * n_target
    return tuple(Clip(Path(f"{i:03d}.wav"), domain=d, recording=f"take{i % takes}") for i, d in enumerate(domain))


@pytest.mark.parametrize("n_folds", [2, 3, 5])
def test_siblings_share_a_fold_and_domains_are_spread(n_folds):
    training = TrainingSet.of(clips(16, takes=4))
    folds = training.folds(n_folds)
    assert all(len(set(folds[training.recordings == r])) == 1 for r in range(4))
    assert set(folds) == set(range(min(n_folds, 4)))
    training = TrainingSet.of(clips(60, takes=60, n_target=30))
    for domain in (True, False):
        assert np.bincount(training.folds(n_folds)[training.is_target == domain]).tolist() == [30 // n_folds] * n_folds


def test_folds_are_the_same_on_every_machine_whatever_the_order_of_the_clips():
    """Golden values: scores of earlier runs depend on them."""
    some = clips(12, takes=6, n_target=3)
    for each in (some, some[::-1]):
        assert TrainingSet.of(each).folds(3).tolist() == [1, 2, 0, 0, 2, 1, 1, 2, 0, 0, 2, 1]


def test_what_is_held_out_is_gone_and_one_recording_or_clip_is_noticed():
    rest = TrainingSet.of(clips(6, takes=3)).without(np.arange(6) % 3 == 0)
    assert [c.name for c in rest.clips] == ["001.wav", "002.wav", "004.wav", "005.wav"]
    assert rest.recordings.tolist() == [0, 1, 0, 1]
    training = TrainingSet.of(clips(4, takes=4, n_target=2))
    assert training.without(~training.is_target).is_target.all()  # target clips stay target without any of the source
    with pytest.warns(UserWarning, match="all clips are of one recording; each is taken for its own"):
        training = TrainingSet.of(clips(4, takes=1))
    assert [c.recording for c in training.clips] == [c.name for c in training.clips]
    assert TrainingSet.of(clips(4, takes=2)).clips == clips(4, takes=2)
    for few, message in (((), "training: found 0"), (clips(1, 1), "found 1 .* expected at least 2")):
        with pytest.raises(InputError, match=message):
            TrainingSet.of(few)
    assert not TrainingSet.of(clips(3, 3, n_target=3)).is_target.any()  # in a fit, target clips alone are called source
