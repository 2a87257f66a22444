"""From samples to blocks: what each is made of, what alpha and its controls change, which options are read."""

from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asdkit import dsp
from asdkit.blocks import BLOCKS, FITTERS, FeatureExtractor, Materials, extract, read_spectra, striped, without_far
from asdkit.config import Config
from asdkit.describer import check
from asdkit.experiments.cache import CachedDescriber
from asdkit.msm import BandWhitening, masked_error
from asdkit.recordings import Clip, InputError, TrainingSet
from asdkit.spectrogram import cut_windows, log_mel, stft, window_starts

CHANNELS = ("near", "far", "conditioned")
READS_CONDITIONED = {"msm", "msm-residual", "statistics", "modulation"}
CONFIG = Config(blocks=tuple(b for b in BLOCKS if b != "msm-far"), steps=1, batch_size=4)
TRAINING = TrainingSet.of(tuple(Clip(Path(f"fan/train/{i}.wav"), recording=str(i)) for i in range(4)))


def samples(seed, seconds=4.0):
    rng = np.random.default_rng(seed)
    x = 0.1 * rng.normal(size=(2, int(16000 * seconds)))
    return (x + 0.05 * rng.normal(size=x.shape[1])).astype(np.float32)  # something that both hear


@pytest.fixture(scope="module")
def spectra():
    return [extract(samples(i, 4 + i / 3), CONFIG) for i in range(4)]


def fitted(config, spectra) -> FeatureExtractor:
    materials = Materials(TRAINING, spectra, config)
    return FeatureExtractor(config, {name: FITTERS[name].fit(materials)[0] for name in FITTERS})


@pytest.fixture(scope="module")
def extractor(spectra):
    return fitted(CONFIG, spectra)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder, found = tmp_path_factory.mktemp("clips"), []
    for i in range(3):
        soundfile.write(folder / f"{i}.wav", samples(i).T, 16000, subtype="FLOAT")
        found.append(Clip(folder / f"{i}.wav", recording=str(i)))
    return found


def test_spectra_are_those_of_the_channels(spectra):
    near, far = torch.from_numpy(samples(0))
    assert set(spectra[0]) == {*CHANNELS, "conditioned, fast"}
    assert set(extract(samples(0), replace(CONFIG, blocks=("msm",)))) == set(CHANNELS)  # fast ones for modulation alone
    torch.testing.assert_close(spectra[0]["near"], log_mel(stft(near)))
    torch.testing.assert_close(spectra[0]["far"], log_mel(stft(far)))
    conditioned = dsp.cancel_far(stft(near), stft(far), CONFIG.alpha, CONFIG.cancel_penalty)
    torch.testing.assert_close(spectra[0]["conditioned"], log_mel(conditioned), atol=1e-3, rtol=0)
    fast = dsp.cancel_far(stft(near, 256, 128), stft(far, 256, 128), CONFIG.alpha, CONFIG.cancel_penalty)
    torch.testing.assert_close(spectra[0]["conditioned, fast"], log_mel(fast, 32), atol=1e-3, rtol=0)


@pytest.mark.parametrize("n_samples", [40448, 40449, 40960, 41471, 48000, 64001])
def test_every_length_of_clip_has_all_blocks(extractor, n_samples):
    blocks = extractor.describe(extract(samples(9, 5)[:, :n_samples], CONFIG), hop=8)
    assert list(blocks) == list(CONFIG.blocks)
    assert {len(block) for block in blocks.values()} == {len(window_starts(1 + n_samples // 512, 80, 8))}
    assert all(torch.isfinite(block).all() for block in blocks.values())
    dims = {"msm": 512, "msm-residual": 128, "statistics": 256, "statistics-near": 256, "statistics-far": 256, "ridge": 384}
    dims |= {"modulation": len(dsp.modulation_bands(316, 125.0)) * 32, "texture": 96}
    assert {name: block.shape[1] for name, block in blocks.items()} == dims


def test_blocks_equal_the_steps_written_out(extractor, spectra):
    s, starts = spectra[1], window_starts(spectra[1]["near"].shape[1], 80, 8)
    blocks, encoder = extractor.describe(s, hop=8), extractor.learned["encoder"]
    near, far, conditioned = (cut_windows(s[channel], starts, 80) for channel in CHANNELS)
    residual = cut_windows(extractor.learned["ridge"].residual(s["near"], s["far"]), starts, 80)
    fast = torch.stack([s["conditioned, fast"][:, 4 * i : 4 * i + 316] for i in starts])
    x = cut_windows(encoder.whitenings["conditioned"](s["conditioned"]), starts, 80)
    stripes = striped((8, 10))
    assert torch.stack(stripes).sum(0).unique().tolist() == [1]  # every patch is hidden once
    with torch.no_grad():
        errors = [masked_error(encoder.net, x, m.expand(len(x), -1, -1)) for m in stripes]
        expected = {
            "statistics": dsp.statistics(conditioned), "statistics-near": dsp.statistics(near),
            "statistics-far": dsp.statistics(far), "texture": dsp.texture(near), "modulation": dsp.modulation(fast, 125.0),
            "ridge": dsp.statistics(residual, with_p95=True), "msm": encoder.net.embed(x),
            "msm-residual": torch.stack(errors).mean(0),
        }  # fmt: skip
        nothing = masked_error(encoder.net, x, torch.zeros(len(x), 8, 10, dtype=torch.bool))
    assert blocks.keys() == expected.keys()
    for name, block in blocks.items():
        torch.testing.assert_close(block, expected[name])
    whole = FeatureExtractor(replace(CONFIG, objective="autoencoder"), extractor.learned).describe(s, 8, ["msm-residual"])
    torch.testing.assert_close(whole["msm-residual"], nothing)
    both, other = extractor.describe_all([s, spectra[0]], 8), extractor.describe(spectra[0], 8)  # segments of a recording
    assert all(torch.equal(both[name], torch.cat([blocks[name], other[name]])) for name in blocks)


def test_bands_are_whitened_by_the_frames_of_all_clips_and_a_silent_one_stays_finite():
    """Mean 0; the covariance is that of the ZCA of shrunk correlations, so near the identity."""
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(6, 6))
    clips = [mixing @ rng.normal(size=(6, n)) - 30 for n in (300, 2000, 700)]
    whitening = BandWhitening.fit([torch.from_numpy(x).float() for x in clips])
    frames = np.hstack(clips)
    z = (frames - frames.mean(1, keepdims=True)) / frames.std(1, keepdims=True)
    values, vectors = np.linalg.eigh(0.97 * np.corrcoef(frames) + 0.03 * np.eye(6))
    expected = vectors @ np.diag(values**-0.5) @ vectors.T @ z
    np.testing.assert_allclose(whitening(torch.from_numpy(frames).float()).numpy(), expected, atol=2e-3)
    silent = torch.full((128, 50), -100.0)
    whitening = BandWhitening.fit([silent])
    assert torch.isfinite(whitening(silent + 1)).all() and torch.equal(whitening(silent), torch.zeros(128, 50))


def moved(extractor, before, after) -> set[str]:
    one, two = (FeatureExtractor(CONFIG, extractor.learned).describe(s, 20) for s in (before, after))
    return {name for name in one if not torch.equal(one[name], two[name])}


@pytest.mark.parametrize("option", [dict(alpha=0.25), dict(cancel_penalty=0.5), dict(control="scrambled-phase")])
def test_the_conditioned_channel_alone_follows_alpha_and_the_control(extractor, spectra, option):
    after = extract(samples(0), replace(CONFIG, **option))
    assert torch.equal(after["near"], spectra[0]["near"]) and torch.equal(after["far"], spectra[0]["far"])
    assert moved(extractor, spectra[0], after) == READS_CONDITIONED
    for nothing in (dict(alpha=0.0), dict(conditioning="subspace")):  # is cancelled
        after = extract(samples(0), replace(CONFIG, **option | nothing))
        assert torch.equal(after["conditioned"], after["near"])
    near, far = (stft(torch.from_numpy(x)) for x in samples(0))  # a scrambled phase keeps the strength of what is removed
    removed = [near - dsp.cancel_far(near, far, CONFIG.alpha), CONFIG.alpha * dsp.transfer(near, far)[:, None] * far]
    torch.testing.assert_close(*removed)
    scrambled = replace(CONFIG, control="scrambled-phase")
    one, same, other = (extract(samples(0), scrambled, np.random.default_rng(s))["conditioned"] for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_far_of_another_recording_is_a_control(clips, extractor):
    config, plain = replace(CONFIG, control="other-recording"), CachedDescriber(CONFIG)
    clips = [replace(clip, recording="one" if i < 2 else "other") for i, clip in enumerate(clips)]
    describer, training = CachedDescriber(config), TrainingSet.of(tuple(clips))
    describer.training = training
    for clip in clips:
        found, own = describer.spectra(clip), plain.spectra(clip)
        others = [plain.spectra(c)["far"] for c in clips if c.recording != clip.recording]
        assert torch.equal(found["near"], own["near"]) and any(torch.equal(found["far"], far) for far in others)
        assert moved(extractor, own, found) == READS_CONDITIONED | {"ridge", "statistics-far"}
        again = CachedDescriber(config)
        again.training = training
        assert torch.equal(again.spectra(clip)["far"], found["far"])


@pytest.mark.parametrize("n_samples", [1, 700, 40447, 40448])
def test_a_clip_shorter_than_a_window_is_tiled_with_a_warning(tmp_path, n_samples):
    x, short = samples(0)[:, :n_samples], n_samples < 40448
    soundfile.write(tmp_path / "a.wav", x.T, 16000, subtype="FLOAT")
    message = "a.wav: found .* s, expected at least a window of 2.53 s; tiled"
    with pytest.warns(UserWarning, match=message) if short else nullcontext():
        spectra = read_spectra(Clip(tmp_path / "a.wav"), Config())
    tiled = np.tile(x, 40448 // n_samples + 1)[:, :40448]
    torch.testing.assert_close(spectra["near"], log_mel(stft(torch.from_numpy(tiled[0]))))
    assert spectra["near"].shape == (128, 80)


class Watched:
    def __init__(self, config: Config):
        self.config, self.read = config, set()

    def __getattr__(self, name):
        self.read |= {name} & {f.name for f in fields(Config)}
        return getattr(self.config, name)


NO_SYSTEM = {"blocks"}  # whether there are fast spectra; in no value of a block


@pytest.mark.parametrize("name", FITTERS)
def test_a_fitter_reads_the_options_that_it_names(name, clips):
    """A cache shares between systems by these names: one that is missing would give a system what another has learned."""
    watched = Watched(CONFIG)
    spectra = [read_spectra(clip, watched) for clip in [*clips, clips[0]]]
    FITTERS[name].fit(Materials(TRAINING, spectra, watched))
    of_every_fit = {"threads"} if name == "encoder" else set()  # it is set before a fit, and sums of gradients depend on it
    conditioned = {"conditioning", "alpha", "control", "cancel_penalty"}  # of spectra; the ridge reads none of them
    read = watched.read - NO_SYSTEM - (conditioned if name == "ridge" else set())
    assert read | of_every_fit == set(FITTERS[name].options)


@pytest.fixture(scope="module")
def with_far(spectra):
    config = replace(CONFIG, conditioning="subspace", blocks=tuple(BLOCKS))
    return fitted(config, spectra)


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_depends_on_the_options_that_it_names(name, with_far, spectra):
    watched = Watched(with_far.config)
    FeatureExtractor(watched, with_far.learned).describe(spectra[0], 20, [name])
    assert watched.read <= set(BLOCKS[name].options)
    assert (name in READS_CONDITIONED | {"msm-far"}) == ("alpha" in BLOCKS[name].options)  # the network has heard it
    if BLOCKS[name].learned:
        assert set(FITTERS[BLOCKS[name].learned].options) <= set(BLOCKS[name].options)


@pytest.mark.parametrize("config", [Config(), Config.report(), CONFIG, replace(CONFIG, blocks=("msm-far", "statistics"))])
def test_without_far_nothing_reads_far_and_what_does_not_fit_together_is_refused(config, extractor):
    alone = without_far(config)
    x = samples(0)
    silent, loud = (extract(np.stack([x[0], far]), alone) for far in (0 * x[0], 5 * x[1]))
    one, two = (FeatureExtractor(alone, extractor.learned).describe(s, 20) for s in (silent, loud))
    assert one.keys() == set(alone.blocks) and all(torch.equal(one[name], two[name]) for name in one)
    with pytest.raises(InputError, match="blocks"):
        without_far(replace(config, blocks=("ridge",)))
    for options, message in (
        ({"blocks": ("msm", "beats")}, "found block beats, expected msm, "),
        ({"backend": "svm"}, "found backend = 'svm', expected domain, "),
        ({"objective": "far-to-near", "blocks": ("msm-residual",)}, "msm-residual with objective = 'far-to-near', expected"),
    ):
        with pytest.raises(InputError, match=message):
            check(replace(config, **options))
