"""Explanations: bands add up to the distance, blocks to the score, and a planted event is found where it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from asdkit import dsp, figures
from asdkit.blocks import FeatureExtractor, block_bands, extract, mel_centres, read_spectra
from asdkit.detector import fit_detector
from asdkit.experiments.cache import Cache, CachedDescriber
from asdkit.explain import Explanation
from asdkit.recordings import InputError, TrainingSet, index_data, read_clip

DSP = ("statistics", "ridge", "modulation")


@pytest.fixture(scope="module")
def machine(tiny_data):
    return index_data(tiny_data, ["pump"])[0]


@pytest.fixture(scope="module")
def clip(machine, tiny_config):
    return read_spectra(next(c for c in machine.test if c.label == 1), tiny_config)


@pytest.fixture(scope="module")
def fit(machine, tiny_config):
    training, cache, known = TrainingSet.of(machine.train), Cache(), {}

    def fitted(**options):
        if (key := str(options)) not in known:
            describer = CachedDescriber(replace(tiny_config, **options), cache)
            known[key] = fit_detector(training, describer)
        return known[key]

    return fitted


def test_a_band_that_flutters_moves_the_dimensions_of_that_band_alone(tiny_config):
    config, rng = replace(tiny_config, blocks=("modulation",)), np.random.default_rng(0)
    fast = torch.from_numpy(rng.normal(size=(32, 636)).astype(np.float32))
    spectra, extractor = {"near": torch.zeros(128, 160), "conditioned, fast": fast}, FeatureExtractor(config)
    before = extractor.describe(spectra, 40)["modulation"]
    bands = block_bands("modulation", config, before.shape[1])
    for hz in (300.0, 3100.0):
        band, loud = int(np.abs(bands.hz - hz).argmin()), fast.clone()
        loud[band] *= 9
        moved = (extractor.describe(spectra | {"conditioned, fast": loud}, 40)["modulation"] != before).any(0).numpy()
        assert moved.any() and set(bands.index[moved]) == {band}
    with pytest.raises(InputError, match="block modulation: found 7 dimensions, expected .* over .* bands"):
        block_bands("modulation", config, 7)


@pytest.mark.parametrize("block", ["statistics", "statistics-far", "ridge", "texture"])
def test_statistics_are_dealt_out_by_band(tiny_config, block):
    windows = torch.zeros(1, 128, 80)
    windows[0, 60, ::2] = 9.0
    x = dsp.texture(windows) if block == "texture" else dsp.statistics(windows, with_p95=block == "ridge")
    bands = block_bands(block, tiny_config, x.shape[1])
    moved = set(bands.index[x[0].numpy() != 0])
    middle = int(np.abs(bands.hz - mel_centres(128)[60]).argmin())
    near = {middle - 1, middle + 1} if block == "texture" else set()  # a coarse cell reaches into the neighbours
    assert middle in moved <= {middle, *near}


@pytest.mark.parametrize("aggregate", ["pooled", "mean", "top", "max"])
def test_blocks_make_the_score_and_bands_the_curves(fit, clip, aggregate):
    """Levels sum to the score; the curve of all blocks averages to it where windows are pooled, and else is their score."""
    detector = fit(blocks=("msm", *DSP), aggregate=aggregate)
    explainer = detector.explainer
    found, n = explainer([(0.0, clip)]), len(explainer([(0.0, clip)]).times)
    assert found.score == detector.score_spectra([clip])
    assert sum(found.levels.values()) == pytest.approx(found.score, rel=1e-4)
    assert list(found.curves) == list(found.levels) == ["msm", *DSP] and list(found.maps) == list(DSP)
    assert sum(found.share.values()) == pytest.approx(1) and min(found.share.values()) >= 0
    if aggregate == "pooled":
        assert found.curve.mean() == pytest.approx(found.score, rel=1e-4)
    else:
        x = detector.scorer.space(detector.extractor.describe(clip, detector.config.test_hop))
        np.testing.assert_allclose(found.curve, detector.scorer.bank(x), rtol=1e-3)
    assert 0.5 < found.normal < 2  # in units of the typical healthy distance
    for block in DSP:  # a map times what is usual in a band, summed over bands
        assert found.maps[block].shape == (len(found.bands[block]), n)
        np.testing.assert_allclose(explainer.healthy[block] @ found.maps[block], found.curves[block], rtol=1e-3, atol=1e-4)
        edges = found.band_edges(block)
        assert edges[0] == 0 and edges[-1] == pytest.approx(8000)
        assert (edges[:-1] < found.bands[block]).all() and (found.bands[block] < edges[1:]).all()


def test_healthy_recordings_are_usual_on_the_map(fit, machine):
    detector = fit(blocks=DSP, whiten=False)  # whitened by 16 recordings, new ones are several times as far as these
    normal = [detector.explain(c) for c in machine.test if c.label == 0]
    for block in DSP:
        assert 0.4 < np.mean([x.maps[block].mean() for x in normal]) < 2.5


def test_a_planted_event_is_found(fit, machine):
    detector = fit(blocks=DSP)
    samples = read_clip(max((c for c in machine.test if c.label == 0), key=lambda c: c.path.stat().st_size).path)
    time = np.arange(samples.shape[1]) / 16000
    burst = 0.3 * np.sin(2 * np.pi * 3100 * time) * (4.6 < time) * (time < 5.0)
    samples[0] += burst.astype(np.float32)
    found = detector.explainer([(0.0, extract(samples, detector.config))])
    assert found.span == pytest.approx((0, 6), abs=0.1)
    assert found.peak.start <= 4.6 and 5.0 <= found.peak.end and found.peak.end - found.peak.start < 4.6
    assert 2000 < found.peak.low < 3100 < found.peak.high < 4500
    assert found.peak.band_block in DSP and found.score > 2


def test_segments_lie_one_after_the_other(fit, clip):
    explainer = fit(blocks=("msm", *DSP)).explainer
    once, twice = explainer([(0.0, clip)]), explainer([(3.0, clip), (9.5, clip)])
    assert [once.times[0], once.span[1] - once.times[-1]] == pytest.approx([once.window / 2] * 2, abs=0.05)
    assert once.edges[0] == 0 and once.edges[-1] == once.span[1]
    assert twice.span == (3.0, 9.5 + once.span[1]) and (np.diff(twice.edges) > 0).all()
    np.testing.assert_allclose(twice.times, [*(3.0 + once.times), *(9.5 + once.times)])
    for block in once.curves:
        np.testing.assert_allclose(twice.curves[block], np.tile(once.curves[block], 2), rtol=1e-3, atol=1e-4)
    assert twice.maps["modulation"].shape[1] == 2 * len(once.times) and twice.near.shape[1] == 2 * once.near.shape[1]


@pytest.mark.parametrize("options", [
    {"blocks": ("statistics-near",), "whiten": False}, {"blocks": ("msm",)},
    {"blocks": ("texture",), "aggregate": "top"}, {"blocks": ("msm-residual",), "backend": "pooled", "k": 3},
    {"blocks": ("msm", "modulation"), "conditioning": "subspace", "aggregate": "max"},
], ids=lambda options: "+".join(options["blocks"]))  # fmt: skip
def test_every_kind_of_detector_is_explained(fit, clip, options):
    found = fit(**options).explainer([(0.0, clip)])
    assert sum(found.levels.values()) == pytest.approx(found.score, rel=1e-4)
    assert set(found.maps) == {b for b in options["blocks"] if b != "msm"}
    assert np.isfinite(found.curve).all() and str(found).endswith(".")
    assert ("kHz" in str(found)) == bool(found.maps) or "in all bands" in str(found)
    np.testing.assert_array_equal(found.near, clip["near"])
    assert len(figures.png(found.plot())) > 5000


def explanation(curve, band_map=None, threshold=1.0, block="statistics"):
    curve = np.array(curve, dtype=float)
    times = 1.28 + 0.25 * np.arange(len(curve))
    maps = {} if band_map is None else {block: band_map}
    level = float(curve.max())
    return Explanation(
        level, threshold, times, 2.56, (0.0, times[-1] + 1.28), {block: curve}, {block: level},
        {b: mel_centres(len(m)) for b, m in maps.items()}, maps, np.zeros((128, 200)), normal=0.0,
    )  # fmt: skip


def test_sentences():
    curve = 5.0 * (np.abs(np.arange(41) - 20) <= 5)
    tone = np.ones((128, 41))
    tone[60:63] = 50
    low, high = mel_centres(128)[[60, 62]] / 1000
    said = str(explanation(curve, tone))
    assert said.startswith("Most anomalous from 4.9 to 7.7 s, around ") and said.endswith(" kHz, in statistics.")
    a, b = (float(word) for word in said.split("around ")[1].split(" kHz")[0].split(" to "))
    assert a <= low and high <= b and b - a < 0.5
    everywhere = explanation(np.full(41, 5.0), np.full((128, 41), 9.0))
    assert str(everywhere) == "Most anomalous throughout, in all bands, in statistics."
    assert str(explanation(curve, block="msm")) == "Most anomalous from 4.9 to 7.7 s, in msm."
    within = str(explanation(0.1 * curve, block="msm", threshold=2))
    assert within.startswith("Not an anomaly, its score is within the threshold.") and within.endswith("in msm.")
    assert str(explanation(-1 - curve, tone)).startswith("Nothing stands out")
    one_window = explanation(np.arange(41) == 20).peak
    assert one_window.end - one_window.start == pytest.approx(2.56)  # no finer than a window
    both = replace(explanation(np.ones(9), np.ones((128, 9)), threshold=0.5), levels={"msm": 3.0, "statistics": 1.0})
    assert str(both) == "Most anomalous throughout, in msm; statistics departs in all bands."
