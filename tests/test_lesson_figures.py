"""Figures of the notebooks: each draws without a warning, gives the same bytes twice, and shows what it was given."""

import numpy as np
import pandas as pd
import pytest

from asdkit.figures import lessons as lf
from asdkit.figures import save


def rng():
    return np.random.default_rng(3)


def rows(groups=("imbalance", "leak"), systems=("a", "b", "c")):
    values = iter(rng().uniform(0.3, 1, 99))
    table = [(g, s, v, v - 0.1, v + 0.1) for g in groups for s in systems for v in [next(values)]]
    return pd.DataFrame(table, columns=["fault", "system", "value", "lo", "hi"])


def spectrogram(n_mels=128, n_frames=80):
    return rng().normal(-30, 5, (n_mels, n_frames))


TIMES = np.arange(80) * 0.032
SPANS = {"bank": np.array([[0, 1.0], [0.5, 1.5]]), "scored": np.stack([np.arange(30) / 30, 1.5 + np.arange(30) / 30], 1)}
MAPS = {"healthy": spectrogram(32, 7), "leak": spectrogram(32, 7) + 1, "squeal": spectrogram(32, 7) - 3}
EDGES = [(2**i / 2.5, 2 ** (i + 1) / 2.5) for i in range(7)]
SHARES = pd.DataFrame(rng().random((3, 4)), index=list("abc"), columns=["load", "level", "noise", "fault"])
DRAW = {
    "coherence": lambda: lf.coherence(np.linspace(0, 8000, 513), rng().random((9, 513)), 0.01, [120, 240]),
    "bands": lambda: lf.bands({"near": spectrogram().T, "far": spectrogram().T - 3}, "level (dB)", -30.0),
    "windows": lambda: lf.windows(spectrogram(), TIMES, SPANS),
    "panels": lambda: lf.panels({"near": spectrogram(), "residual": spectrogram() + 30}, TIMES, ["residual"]),
    "panels, levels only": lambda: lf.panels({"near": spectrogram()}, TIMES),
    "reconstruction": lambda: lf.reconstruction({"a": (spectrogram(), spectrogram() > -30, spectrogram() + 30)}, 2.56),
    "learning_curve": lambda: lf.learning_curve(rng().random(50), {"healthy": {0: 1.2, 50: 0.8}, "faulty": {0: 1.3, 50: 0.9}}),
    "modulation_maps": lambda: lf.modulation_maps(MAPS, EDGES, "healthy"),
    "modulation_maps, plain": lambda: lf.modulation_maps(MAPS, EDGES),
    "bars": lambda: lf.bars(rows(), "fault", "AUC", 0.5),
    "waterfall": lambda: lf.waterfall(np.linspace(1, 0, 32), {"a": rng().random((3, 32)), "b": rng().random((1, 32))}),
    "decoded": lambda: lf.decoded({f"{i}: load": spectrogram() + 30 for i in range(5)}, 2.56),
    "shares": lambda: lf.shares(SHARES, "share of variance explained"),
    "lines": lambda: lf.lines([1, 10, 100], {"a": [1, 2, 3], "b": rng().random((3, 3))}, "x", "y", log=True, reference=1),
}


@pytest.mark.parametrize("name", DRAW)
def test_same_bytes_twice(name, tmp_path):
    first = save(DRAW[name](), tmp_path / "a.png").read_bytes()
    assert save(DRAW[name](), tmp_path / "b.png").read_bytes() == first and len(first) > 5000


@pytest.mark.parametrize("name", DRAW)
def test_axes_are_labelled(name):
    fig = DRAW[name]()
    labels = {ax.get_ylabel() for ax in fig.axes} | {fig._supylabel.get_text() if fig._supylabel else ""}
    assert name == "shares" or name == "bars" or labels - {""}
    if name != "shares":
        assert {ax.get_xlabel() for ax in fig.axes} | {fig._supxlabel.get_text() if fig._supxlabel else ""} != {""}


def test_bars_begin_at_the_reference_and_end_at_the_value():
    table = rows()
    (ax,) = lf.bars(table, "fault", "AUC", 0.5).axes
    ends = {(c.get_label(), i): bar.get_x() + bar.get_width() for c in ax.containers for i, bar in enumerate(c)}
    for (_, row), (group, system) in zip(table.iterrows(), [(g, s) for g in (0, 1) for s in "abc"]):
        assert ends[system, group] == pytest.approx(row["value"])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["imbalance", "leak"]
    assert len({bar.get_hatch() for c in ax.containers for bar in c}) == 3  # told apart without colour


def test_waterfall_shows_the_range_of_each_null():
    null = np.array([[0.5, 0.1], [0.7, 0.2]])
    fig = lf.waterfall([0.9, 0.3], {"shuffled": null})
    assert [bar.get_height() for bar in fig.axes[0].containers[0]] == [0.9, 0.3]
    np.testing.assert_allclose(fig.axes[0].lines[0].get_ydata(), [0.6, 0.15])
    assert "shuffled (largest 0.70)" in [t.get_text() for t in fig.legends[0].get_texts()]


def test_reconstruction_shows_the_model_no_hidden_cell():
    window, hidden = spectrogram(), spectrogram() > -28
    fig = lf.reconstruction({"a": (window, hidden, np.zeros_like(window))}, 2.56)
    shown, missed = (fig.axes[i].images[0].get_array() for i in (1, 3))
    np.testing.assert_array_equal(np.ma.getmaskarray(shown), hidden)
    np.testing.assert_array_equal(missed, window)


def test_differences_are_signed_by_lightness():
    """Zero in the middle of a scale whose lightness only rises: the sign is left in a grey print."""
    import matplotlib as mpl

    fig = lf.decoded({"1": spectrogram() + 30}, 2.56)
    low, high = fig.axes[0].images[0].get_clim()
    assert low == -high
    lightness = mpl.colormaps[lf.SIGNED](np.linspace(0, 1, 50))[:, :3] @ [0.3, 0.59, 0.11]
    assert (np.diff(lightness) > 0).all()


def test_modulation_maps_subtract_the_base():
    fig = lf.modulation_maps(MAPS, EDGES, "healthy")
    np.testing.assert_allclose(fig.axes[1].images[0].get_array(), MAPS["leak"] - MAPS["healthy"])
    np.testing.assert_allclose(fig.axes[0].images[0].get_array(), MAPS["healthy"])


def test_embedding_map_names_the_file_on_hover():
    pytest.importorskip("plotly")
    table = pd.DataFrame({"file": ["a.wav", "b.wav", "c.wav"], "what": ["healthy", "healthy", "faulty"], "load": [1, 2, 3]})
    figure = lf.embedding_map(np.arange(6.0).reshape(3, 2), table, "what", "PCA")
    hover = [name for trace in figure.data for name in trace.hovertext]
    assert sorted(hover) == ["a.wav", "b.wav", "c.wav"] and [t.name for t in figure.data] == ["healthy", "faulty"]
    assert len({t.marker.symbol for t in figure.data}) == 2 and "load" in figure.data[0].hovertemplate
