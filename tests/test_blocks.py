"""From samples to blocks: what each is made of, which options it reads, that a clip stands alone, that folds are left out."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asdkit import dsp
from asdkit.blocks import (
    BLOCKS,
    FITTERS,
    BandScaler,
    FeatureExtractor,
    Materials,
    check,
    extract,
    fast_channels,
    fit_extractor,
    read_spectra,
    striped,
    without_far,
)  # fmt: skip
from asdkit.config import Config
from asdkit.msm import masked_error
from asdkit.recordings import Clip, InputError, TrainingSet
from asdkit.spectrogram import cut_windows, log_mel, stft, window_starts

ALL = ("near", "far", "residual")
CONFIG = Config(
    blocks=("msm", "msm-residual", "ridge-complex", "ridge-log-mel", "modulation", "texture", "logmel"), steps=1, batch_size=4,
    bottleneck=8, modulation="both", modulation_channels=ALL,
)  # fmt: skip
TRAINING = TrainingSet.of(tuple(Clip(Path(f"fan/train/{i}.wav"), recording=str(i)) for i in range(4)))


def samples(seed, seconds=4.0):
    rng = np.random.default_rng(seed)
    x = 0.1 * rng.normal(size=(2, int(16000 * seconds)))
    return (x + 0.05 * rng.normal(size=x.shape[1])).astype(np.float32)  # something that both hear


@pytest.fixture(scope="module")
def spectra():
    return [extract(samples(i, 4 + i / 3), CONFIG.ridge_penalty, ALL) for i in range(4)]


@pytest.fixture(scope="module")
def extractor(spectra):
    return fit_extractor(Materials(TRAINING, spectra, CONFIG))[0]


def test_spectra_are_those_of_the_channels(spectra):
    near, far = torch.from_numpy(samples(0))
    torch.testing.assert_close(spectra[0]["near", "slow"], log_mel(stft(near)))
    torch.testing.assert_close(spectra[0]["far", "fast"], log_mel(stft(far, 256, 128), 32))
    residual = dsp.cancel_far(stft(near), stft(far), CONFIG.ridge_penalty)
    torch.testing.assert_close(spectra[0]["residual", "slow"], log_mel(residual), atol=1e-3, rtol=0)
    assert set(extract(samples(0), 0.01)) == {(c, "slow") for c in ALL}
    assert set(extract(samples(0), 0.01, ["far"])) == {(c, "slow") for c in ALL} | {("far", "fast")}


@pytest.mark.parametrize("n_samples", [40448, 40449, 40960, 41471, 48000, 64001])
def test_every_length_of_clip_has_all_blocks(extractor, n_samples):
    """Fast windows never reach past the end, whatever remains behind the last frame."""
    x = extract(samples(9, 5)[:, :n_samples], CONFIG.ridge_penalty, ALL)
    blocks = extractor.describe(x, hop=8)
    assert list(blocks) == list(CONFIG.blocks)
    assert {len(block) for block in blocks.values()} == {len(window_starts(1 + n_samples // 512, 80, 8))}
    assert all(torch.isfinite(block).all() for block in blocks.values())
    modulation = 3 * (6 * 128 + len(dsp.modulation_bands(316, 125.0)) * 32)
    assert [block.shape[1] for block in blocks.values()] == [8, 1, 256, 384, modulation, 96, 256]


def test_blocks_equal_the_steps_written_out(extractor, spectra):
    s, starts = spectra[1], window_starts(spectra[1]["near", "slow"].shape[1], 80, 8)
    blocks, encoder = extractor.describe(s, hop=8), extractor.learned["encoder"]
    near = cut_windows(s["near", "slow"], starts, 80)
    torch.testing.assert_close(blocks["logmel"], dsp.statistics(near))
    torch.testing.assert_close(blocks["texture"], dsp.texture(near))
    residual = extractor.learned["ridge"].residual(s["near", "slow"], s["far", "slow"])
    torch.testing.assert_close(blocks["ridge-log-mel"], dsp.statistics(cut_windows(residual, starts, 80), with_p95=True))
    torch.testing.assert_close(blocks["ridge-complex"], dsp.statistics(cut_windows(s["residual", "slow"], starts, 80)))
    fast = torch.stack([s["near", "fast"][:, 4 * i : 4 * i + 316] for i in starts])
    modulation = torch.cat([dsp.modulation(near, 31.25), dsp.modulation(fast, 125.0)], dim=1)
    torch.testing.assert_close(blocks["modulation"][:, : modulation.shape[1]], modulation)
    x = cut_windows(encoder.scalers["near"](s["near", "slow"]), starts, 80)
    with torch.no_grad():
        torch.testing.assert_close(blocks["msm"], encoder.net.embed(x))
        errors = [masked_error(encoder.net, x, m.expand(len(x), -1, -1)) for m in striped((8, 10))]
    torch.testing.assert_close(blocks["msm-residual"][:, 0], torch.stack(errors).mean(0))


def test_stripes_hide_every_patch_once():
    assert torch.stack(striped((8, 10))).sum(0).unique().tolist() == [1]
    assert [m.float().mean().item() for m in striped((8, 10))] == [0.5, 0.5]


def test_each_channel_has_its_own_band_scaler(extractor, spectra):
    for channel in ALL:
        frames = torch.cat([s[channel, "slow"] for s in spectra], dim=1)
        z = extractor.learned["encoder"].scalers[channel](frames)
        torch.testing.assert_close(z.mean(1), torch.zeros(128), atol=1e-3, rtol=0)
        torch.testing.assert_close(z.std(1, correction=0), torch.ones(128), atol=1e-3, rtol=0)


def test_a_silent_band_stays_finite():
    logmel = torch.full((128, 50), -100.0)
    assert torch.isfinite(BandScaler.fit([logmel])(logmel + 1)).all()


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
    assert fast_channels(modulation) == ()
    assert fast_channels(replace(modulation, modulation="both")) == ("far",)
    assert fast_channels(replace(modulation, modulation="both", blocks=("msm",))) == ()


# which options are read


class Watched:
    """A configuration that notes which of its options are read."""

    def __init__(self, config: Config):
        self.config, self.read = config, set()

    def __getattr__(self, name):
        self.read |= {name} & {f.name for f in fields(Config)}
        return getattr(self.config, name)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "a.wav"
    soundfile.write(path, samples(0).T, 16000)
    return Clip(path)


@pytest.mark.parametrize("name", FITTERS)
def test_a_fitter_reads_the_options_that_it_names(name, clip):
    """A cache shares between systems by these names: one that is missing would give a system what another has learned."""
    watched = Watched(CONFIG)
    FITTERS[name].fit(Materials(TRAINING, [read_spectra(clip, watched, ())] * 4, watched))
    of_every_fit = {"threads"} if name == "encoder" else set()  # it is set before a fit, and sums of gradients depend on it
    assert watched.read | of_every_fit == set(FITTERS[name].options)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_reads_the_options_that_it_names(name, clip, extractor):
    watched = Watched(CONFIG)
    FeatureExtractor(watched, extractor.learned).describe(read_spectra(clip, watched, ALL), 20, [name])
    fitter = FITTERS[BLOCKS[name].learned].options if BLOCKS[name].learned else ()
    assert watched.read | set(fitter) == set(BLOCKS[name].options)


# which configurations there are


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"blocks": ("msm", "beats")}, "found block beats, expected msm, "),
        ({"whiten": ("textures",)}, "found block textures, expected msm, "),
        ({"backend": "svm"}, "found backend = 'svm', expected domain, pooled"),
        ({"backend": "value"}, r"found backend = 'value' with blocks = .*, expected \('msm-residual',\)"),
        ({"objective": "far-to-near", "blocks": ("msm-residual",)}, "msm-residual with objective = 'far-to-near', expected"),
    ],
)
def test_what_does_not_fit_together_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        check(replace(Config(), **options))


@pytest.mark.parametrize("config", [Config(), Config.report(), CONFIG, replace(CONFIG, blocks=("msm-far", "logmel"))])
def test_without_far_nothing_reads_far(config, spectra, extractor):
    alone = without_far(replace(config, logmel_channel="far", msm_channel="residual", texture_channel="far"))
    assert "ridge-log-mel" not in alone.blocks and "msm-far" not in alone.blocks and alone.rank == 0
    near = {key: s for key, s in spectra[0].items() if key[0] == "near"}
    blocks = [b for b in alone.blocks if b != "ridge-complex"]  # the residual is near itself where there is no far
    assert FeatureExtractor(alone, extractor.learned).describe(near, 20, blocks).keys() == set(blocks)
    with pytest.raises(InputError, match="blocks"):
        without_far(replace(config, blocks=("ridge-log-mel",)))
