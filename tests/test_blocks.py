"""From samples to blocks: what each is made of, that a clip stands alone, that folds are left out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asdkit import blocks, dsp
from asdkit.blocks import BandScaler, FrontEnd, extract, fit_net, fit_ridges, make_examples, read_spectra, striped
from asdkit.config import Config
from asdkit.msm import masked_error
from asdkit.recordings import Clip
from asdkit.spectrogram import cut_windows, log_mel, stft, window_starts

ALL = ("near", "far", "residual")
CONFIG = Config(
    blocks=("msm", "msm-residual", "ridge-complex", "ridge-log-mel", "modulation", "texture", "logmel"), steps=1, batch_size=4,
    bottleneck=8, modulation="both", modulation_channels=ALL,
)  # fmt: skip
CLIPS = [Clip(Path(f"fan/train/{i}.wav")) for i in range(4)]


def samples(seed, seconds=4.0):
    rng = np.random.default_rng(seed)
    x = 0.1 * rng.normal(size=(2, int(16000 * seconds)))
    return (x + 0.05 * rng.normal(size=x.shape[1])).astype(np.float32)  # something that both hear


@pytest.fixture(scope="module")
def spectra():
    return [extract(samples(i, 4 + i / 3), CONFIG.ridge_penalty, ALL) for i in range(4)]


@pytest.fixture(scope="module")
def front(spectra):
    scalers, examples = make_examples(spectra, CLIPS, CONFIG)
    net = fit_net([examples], CONFIG, seed=0)
    return FrontEnd(CONFIG, scalers, net, fit_ridges(spectra, np.zeros(4, dtype=int), CONFIG)[0])


def test_spectra_are_those_of_the_channels(spectra):
    near, far = torch.from_numpy(samples(0))
    torch.testing.assert_close(spectra[0]["near", "slow"], log_mel(stft(near)))
    torch.testing.assert_close(spectra[0]["far", "fast"], log_mel(stft(far, 256, 128), 32))
    residual = dsp.cancel_far(stft(near), stft(far), CONFIG.ridge_penalty)
    torch.testing.assert_close(spectra[0]["residual", "slow"], log_mel(residual), atol=1e-3, rtol=0)
    assert set(extract(samples(0), 0.01)) == {(c, "slow") for c in ALL}
    assert set(extract(samples(0), 0.01, ["far"])) == {(c, "slow") for c in ALL} | {("far", "fast")}


@pytest.mark.parametrize("n_samples", [40448, 40449, 40960, 41471, 48000, 64001])
def test_every_length_of_clip_has_all_blocks(front, n_samples):
    """Fast windows never reach past the end, whatever remains behind the last frame."""
    x = extract(samples(9, 5)[:, :n_samples], CONFIG.ridge_penalty, ALL)
    found = front.describe(x, hop=8)
    n_windows = len(window_starts(1 + n_samples // 512, 80, 8))
    assert list(found) == list(CONFIG.blocks)
    assert {len(block) for block in found.values()} == {n_windows}
    assert all(torch.isfinite(block).all() for block in found.values())
    n_fast = len(dsp.modulation_bands(316, 125.0))
    modulation = 3 * (6 * 128 + n_fast * 32)
    expected = {
        "msm": 8, "msm-residual": 1, "ridge-complex": 256, "ridge-log-mel": 384, "modulation": modulation, "texture": 96,
        "logmel": 256,
    }  # fmt: skip
    assert {name: block.shape[1] for name, block in found.items()} == expected


def test_blocks_equal_the_steps_written_out(front, spectra):
    s, starts = spectra[1], window_starts(spectra[1]["near", "slow"].shape[1], 80, 8)
    found = front.describe(s, hop=8)
    near = cut_windows(s["near", "slow"], starts, 80)
    torch.testing.assert_close(found["logmel"], dsp.statistics(near))
    ridge = dsp.statistics(cut_windows(front.ridge.residual(s["near", "slow"], s["far", "slow"]), starts, 80), upper=True)
    complex_residual = dsp.statistics(cut_windows(s["residual", "slow"], starts, 80))
    torch.testing.assert_close(found["ridge-log-mel"], ridge)
    torch.testing.assert_close(found["ridge-complex"], complex_residual)
    fast = torch.stack([s["near", "fast"][:, 4 * i : 4 * i + 316] for i in starts])
    modulation = torch.cat([dsp.modulation(near, 31.25), dsp.modulation(fast, 125.0)], dim=1)
    torch.testing.assert_close(found["modulation"][:, : modulation.shape[1]], modulation)
    x = cut_windows(front.scalers["near"](s["near", "slow"]), starts, 80)
    with torch.no_grad():
        torch.testing.assert_close(found["msm"], front.net.embed(x))
        errors = [masked_error(front.net, x, m.expand(len(x), -1, -1)) for m in striped((8, 10))]
    torch.testing.assert_close(found["msm-residual"][:, 0], torch.stack(errors).mean(0))


def test_stripes_hide_every_patch_once():
    assert torch.stack(striped((8, 10))).sum(0).unique().tolist() == [1]
    assert [m.float().mean().item() for m in striped((8, 10))] == [0.5, 0.5]


def test_each_channel_has_its_own_band_scaler(spectra):
    scalers, _ = make_examples(spectra, CLIPS, CONFIG)
    for channel in ALL:
        frames = torch.cat([s[channel, "slow"] for s in spectra], dim=1)
        z = scalers[channel](frames)
        torch.testing.assert_close(z.mean(1), torch.zeros(128), atol=1e-3, rtol=0)
        torch.testing.assert_close(z.std(1, correction=0), torch.ones(128), atol=1e-3, rtol=0)


def test_a_silent_band_stays_finite():
    logmel = torch.full((128, 50), -100.0)
    assert torch.isfinite(BandScaler.fit([logmel])(logmel + 1)).all()


def test_the_ridge_of_a_fold_never_saw_it(spectra):
    folds = np.array([0, 1, 0, 2])
    whole, by_fold = fit_ridges(spectra, folds, CONFIG)

    def refitted(chosen):
        clips = [(s["near", "slow"], s["far", "slow"]) for s in chosen]
        frames = [dsp.RidgeStatistics.of(*clip, CONFIG.context) for clip in clips]
        return sum(frames[1:], frames[0]).solve(CONFIG.ridge_penalty)

    torch.testing.assert_close(whole.weights, refitted(spectra).weights)
    for fold, ridge in enumerate(by_fold):
        rest = [s for s, f in zip(spectra, folds) if f != fold]
        torch.testing.assert_close(ridge.weights, refitted(rest).weights)


def test_networks_differ_by_seed(front, spectra):
    scalers, examples = make_examples(spectra, CLIPS, CONFIG)
    weights = [fit_net([examples], CONFIG, seed).to_bottleneck.weight for seed in (0, 0, 1)]
    assert torch.equal(front.net.to_bottleneck.weight, weights[0])
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("n_samples", [1, 700, 40447])
def test_a_short_clip_is_tiled_with_a_warning(tmp_path, n_samples):
    x = samples(0)[:, :n_samples]
    soundfile.write(tmp_path / "a.wav", x.T, 16000, subtype="FLOAT")
    with pytest.warns(UserWarning, match="a.wav: found .* s, expected at least a window of 2.53 s; tiled"):
        spectra = read_spectra(Clip(tmp_path / "a.wav"), Config())
    tiled = np.tile(x, 40448 // n_samples + 1)[:, :40448]
    torch.testing.assert_close(spectra["near", "slow"], log_mel(stft(torch.from_numpy(tiled[0]))))
    assert spectra["near", "slow"].shape == (128, 80)


def test_a_clip_of_just_a_window_is_not_tiled(tmp_path):
    soundfile.write(tmp_path / "a.wav", samples(0)[:, :40448].T, 16000)
    assert read_spectra(Clip(tmp_path / "a.wav"), Config())["near", "slow"].shape == (128, 80)


def test_fast_channels_are_those_that_are_used():
    modulation = Config(blocks=("modulation",), modulation_channels=("far",))
    assert blocks.fast_channels(replace(modulation, modulation="slow")) == set()
    assert blocks.fast_channels(replace(modulation, modulation="both")) == {"far"}
    assert blocks.fast_channels(replace(modulation, modulation="both", blocks=("msm",))) == set()
