"""What a score must be, recomputed from the formulas: pooling, contributions, controls, and a training clip's fold kept out."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asdkit import dsp
from asdkit.blocks import read_spectra
from asdkit.conditioning import fit_conditioner
from asdkit.config import Config
from asdkit.detector import fit
from asdkit.knn import fit_knn
from asdkit.recordings import TrainingSet, index_machine
from asdkit.scorer import fit_scorer
from asdkit.spectrogram import cut_windows, window_starts

PLAIN = Config(whiten=False, steps=2, batch_size=8, ridge_folds=100, width=40, train_hop=20, aggregate="mean")
SUBSPACE = replace(PLAIN, blocks=("msm",), conditioning="subspace", alpha=0.7, rank=3)


@pytest.fixture(scope="module")
def clips(pump):
    machine = index_machine(pump)
    return TrainingSet.of(machine.train), machine.test[::3]


def some_blocks(n, seed, shift=0.0):
    rng = np.random.default_rng(seed)
    return {name: torch.from_numpy(shift + rng.normal(size=(n, dim))) for name, dim in (("statistics", 4), ("texture", 3))}


@pytest.fixture(scope="module", params=["pooled", "mean"])
def scorer(request, clips):
    """A bank of both domains, the target's clips 5 further out."""
    config = Config(blocks=("statistics", "texture"), aggregate=request.param, k=2)
    training = clips[0]
    blocks = [some_blocks(3 + i % 3, i, 5.0 * target) for i, target in enumerate(training.is_target)]
    assert 0 < training.is_target.sum() < len(blocks)
    return fit_scorer(blocks, training, config), blocks, training


def test_a_clip_is_compared_by_the_mean_of_its_windows(scorer):
    fitted, blocks, training = scorer
    new = some_blocks(6, 99)
    x, bank = fitted.space(new), [fitted.space(b) for b in blocks]
    if fitted.config.aggregate == "pooled":
        x, bank = x.mean(0, keepdim=True), [b.mean(0, keepdim=True) for b in bank]
    counts = [len(b) for b in bank]
    ids, is_target = np.repeat(training.recordings, counts), np.repeat(training.is_target, counts)
    knn = fit_knn(torch.cat(bank), ids, is_target, k=2)
    assert fitted(new) == pytest.approx(float(knn(x).mean()))
    assert fitted(new, 0) == pytest.approx(float(knn(x, 0).mean())) and fitted(blocks[0], 0) > fitted(blocks[0])
    reordered = {name: b.flip(0) for name, b in new.items()}
    assert fitted(reordered) == pytest.approx(fitted(new))


@pytest.mark.parametrize("shift", [0.0, 5.0], ids=["like source", "like target"])
@pytest.mark.parametrize("left_out", [None, 1, -1])
def test_contributions_add_up_to_the_score(scorer, shift, left_out):
    """Over dimensions to each window's share; the mean over windows is the score of the clip, a recording left out or not."""
    fitted, blocks, training = scorer
    new = some_blocks(6, 99, shift) if left_out is None else blocks[left_out]
    recording = None if left_out is None else int(training.recordings[left_out])
    x = fitted.space(new)
    n_units = len(fitted.units(x))
    dealt = fitted.contributions(x, None if recording is None else np.full(n_units, recording))
    assert dealt.shape == x.shape
    assert dealt.sum(1).mean().item() == pytest.approx(fitted(new, recording))
    if fitted.config.aggregate == "mean":
        torch.testing.assert_close(dealt.sum(1), fitted.bank(x, recording))
    nearest, _ = fitted.bank.neighbours(fitted.bank.distances(fitted.units(x), None))
    assert fitted.bank.is_target[nearest[:, 0]].all() == (shift == 5.0 if left_out is None else left_out == -1)
    x[2, 3] += 50.0  # a dimension that departs gets the contribution, and a copy of the bank none
    dealt = fitted.contributions(x)
    assert dealt.sum(1).argmax() == 2 and dealt.sum(0).argmax() == 3
    copied = replace(fitted, bank=replace(fitted.bank, k=1)).contributions(fitted.space(blocks[0]))
    assert torch.isfinite(copied).all() and copied.sum(1).mean().abs() < 1e-6


def z_scored(x, reference=None):
    reference = x if reference is None else reference
    return (x - reference.mean(0)) / reference.std(0, correction=0)


def bank_of(training, bank, detector):
    """The bank on the scale of the detector, which has a test of its own."""
    counts, fitted = [len(x) for x in bank], detector.scorer.bank
    ids, target = np.repeat(training.recordings, counts), np.repeat(training.is_target, counts)
    return replace(fit_knn(torch.cat(bank), ids, target, detector.config.k), slopes=fitted.slopes, offsets=fitted.offsets)


@pytest.mark.parametrize("control", ["none", "random", "near-pca", "other-recording"])
def test_embeddings_are_conditioned_by_the_control_that_is_asked_for(clips, control):
    training, test = clips
    config = replace(SUBSPACE, control=control)
    detector = fit(training.clips, config, progress=False)

    def embed(clip, block, hop):
        return detector.extractor.describe(read_spectra(clip, config), hop, [block])[block]

    near, far = ([embed(c, block, config.train_hop) for c in training.clips] for block in ("msm", "msm-far"))
    raw, ids = torch.cat(near), np.repeat(training.recordings, [len(x) for x in near])
    conditioner = fit_conditioner(z_scored(raw), z_scored(torch.cat(far)), ids, 0.7, 3, control=control)
    knn = bank_of(training, [conditioner(z_scored(x, raw)) for x in near], detector)
    expected = [float(knn(conditioner(z_scored(embed(c, "msm", config.test_hop), raw))).mean()) for c in test]
    np.testing.assert_allclose(detector.score(test, progress=False)["score"], expected, rtol=1e-4)


def test_a_training_clip_meets_the_ridge_of_the_other_recordings(clips):
    training, test = clips
    config = replace(PLAIN, blocks=("ridge",))
    logmels = {c: [read_spectra(c, config)[channel] for channel in ("near", "far")] for c in (*training.clips, *test)}

    def block(clip, hop):
        sums = [dsp.RidgeStatistics.of(*logmels[c], config.context) for c in training.clips if c != clip]
        residual = sum(sums[1:], sums[0]).solve(config.ridge_penalty).residual(*logmels[clip])
        return dsp.statistics(cut_windows(residual, window_starts(residual.shape[1], config.width, hop), config.width), True)

    raw = [block(c, config.train_hop) for c in training.clips]
    detector = fit(training.clips, config, progress=False)
    knn = bank_of(training, [z_scored(x, torch.cat(raw)) for x in raw], detector)
    expected = [float(knn(z_scored(block(c, config.test_hop), torch.cat(raw))).mean()) for c in test]
    np.testing.assert_allclose(detector.score(test, progress=False)["score"], expected, rtol=1e-4)
