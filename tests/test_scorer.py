"""What a score must be, recomputed from the formulas: controls condition, far is z-scored, folds are kept out."""

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
from asdkit.recordings import TrainingSet, index_data
from asdkit.scorer import fit_scorer, standardised
from asdkit.space import aggregate
from asdkit.spectrogram import cut_windows, window_starts

pytestmark = pytest.mark.filterwarnings("ignore:.*hear first what both hear")  # the noise of tiny_data is loud
PLAIN = Config(whiten=(), alpha=0.7, rank=3, steps=2, batch_size=16, bottleneck=16, ridge_folds=100, width=40, train_hop=20)


@pytest.fixture(scope="module")
def pump(tiny_data):
    """Training clips in the order of a fit, each its own recording, and test clips."""
    (machine,) = index_data(tiny_data, ["pump"])
    return TrainingSet.of(machine.train), machine.test[::3]


def z_scored(x, reference=None):
    reference = x if reference is None else reference
    return (x - reference.mean(0)) / reference.std(0, correction=0)


def bank_of(training, bank, config):
    """The domain kNN over a bank of one tensor a clip."""
    counts = [len(x) for x in bank]
    ids, target = np.repeat(training.recordings, counts), np.repeat(training.is_target, counts)
    return fit_knn(torch.cat(bank), ids, target, config.k, config.n_0)


@pytest.mark.parametrize("control", ["none", "random", "near-pca", "other-recording"])
def test_scores_are_conditioned_by_the_control_that_is_asked_for(pump, control):
    training, test = pump
    config = replace(PLAIN, blocks=("msm",), control=control)
    detector = fit(training.clips, config, decide=False, progress=False)

    def embed(clip, channel, hop):
        spectra = read_spectra(clip, config)
        return detector.extractor.embed(spectra, window_starts(spectra["near", "slow"].shape[1], config.width, hop), channel)

    near, far = ([embed(c, channel, config.train_hop) for c in training.clips] for channel in ("near", "far"))
    raw, ids = torch.cat(near), np.repeat(training.recordings, [len(x) for x in near])
    conditioner = fit_conditioner(z_scored(raw), z_scored(torch.cat(far)), ids, 0.7, 3, control=control)
    knn = bank_of(training, [conditioner(z_scored(x, raw)) for x in near], config)
    expected = [float(knn(conditioner(z_scored(embed(c, "near", config.test_hop), raw))).mean()) for c in test]
    np.testing.assert_allclose(detector.score(test, progress=False)["score"], expected, rtol=1e-4)


def test_a_training_clip_meets_the_ridge_of_the_other_recordings(pump):
    training, test = pump
    config = replace(PLAIN, blocks=("ridge-log-mel",))
    logmels = {c: [read_spectra(c, config)[channel, "slow"] for channel in ("near", "far")] for c in (*training.clips, *test)}

    def block(clip, hop):
        sums = [dsp.RidgeStatistics.of(*logmels[c], config.context) for c in training.clips if c != clip]
        residual = sum(sums[1:], sums[0]).solve(config.ridge_penalty).residual(*logmels[clip])
        return dsp.statistics(cut_windows(residual, window_starts(residual.shape[1], config.width, hop), config.width), True)

    raw = [block(c, config.train_hop) for c in training.clips]
    knn = bank_of(training, [z_scored(x, torch.cat(raw)) for x in raw], config)
    expected = [float(knn(z_scored(block(c, config.test_hop), torch.cat(raw))).mean()) for c in test]
    detector = fit(training.clips, config, decide=False, progress=False)
    np.testing.assert_allclose(detector.score(test, progress=False)["score"], expected, rtol=1e-4)


@pytest.mark.parametrize("fusion", ["mean", "max"])
def test_scores_of_several_spaces_are_standardised_by_training_clips_left_out(pump, fusion):
    training, rng = pump[0], np.random.default_rng(0)
    config = Config(blocks=("logmel", "texture"), whiten=(), fusion=fusion, balance=False, aggregate="top", top=0.5)
    blocks = [{name: torch.from_numpy(rng.normal(size=(4, 3))) for name in config.blocks} for _ in training.clips]
    scorer = standardised(fit_scorer(blocks, training, config), blocks, training.recordings)
    new, expected = {name: torch.from_numpy(rng.normal(size=(7, 3))) for name in config.blocks}, []
    for name in config.blocks:
        raw = torch.cat([b[name] for b in blocks])
        knn = bank_of(training, [z_scored(b[name], raw) for b in blocks], config)
        normal = [aggregate(knn(z_scored(b[name], raw), i), "top", 0.5) for b, i in zip(blocks, training.recordings)]
        expected.append((aggregate(knn(z_scored(new[name], raw)), "top", 0.5) - np.mean(normal)) / np.std(normal))
    assert scorer(new) == pytest.approx({"mean": np.mean, "max": np.max}[fusion](expected))
