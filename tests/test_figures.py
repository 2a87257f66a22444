"""Figures: each draws from a small table or array without a warning and says what its axes are, and shows what it was given."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from asdkit import figures
from asdkit.spectrogram import mel_filterbank

RNG_SEED = 7


def results_table(machines=("bearing", "fan", "valve", "all"), seeds=(0, 1, 2)):
    rng, names = np.random.default_rng(RNG_SEED), ["asdkit", "report", "msm", "ridge-complex"]
    rows = [(m, s, seed, rng.uniform(0.45, 0.9)) for m in machines for s in names for seed in seeds]
    table = pd.DataFrame(rows, columns=["machine", "system", "seed", "omega"])
    return table.assign(omega_lo=table.omega - 0.08, omega_hi=table.omega + 0.06)


def clips(n=50):
    rng = np.random.default_rng(RNG_SEED)
    labels, domains = np.tile([0, 1], 2 * n), np.repeat(["source", "target"], 2 * n)
    return rng.gamma(5, 0.2, 4 * n) + 0.7 * labels + 0.2 * (domains == "target"), labels, domains


def spectrogram(n_mels=128, n_frames=80):
    return np.random.default_rng(3).normal(-30, 5, (n_mels, n_frames))


ROWS = pd.DataFrame(
    [(g, s, v, v - 0.1, v + 0.1) for g in ("imbalance", "leak") for s, v in (("a", 0.4), ("b", 0.6), ("c", 0.9))],
    columns=["fault", "system", "value", "lo", "hi"],
)
TIMES, UNIT = np.arange(80) * 0.032, np.random.default_rng(3).random((9, 513))
SPANS = {"bank": np.array([[0, 1.0], [0.5, 1.5]]), "scored": np.stack([np.arange(30) / 30, 1.5 + np.arange(30) / 30], 1)}
MAPS = {"healthy": spectrogram(32, 7), "leak": spectrogram(32, 7) + 1, "squeal": spectrogram(32, 7) - 3}
EDGES = [(2**i / 2.5, 2 ** (i + 1) / 2.5) for i in range(7)]
SHARES = pd.DataFrame(UNIT[:3, :4], index=list("abc"), columns=["load", "level", "noise", "fault"])
PREDICTED = spectrogram() + 30, spectrogram() > -28, np.zeros(128), np.full(128, 2.0)
DRAW = {
    "omega_bars": lambda: figures.omega_bars(results_table()),
    "omega_bars, one machine and seed": lambda: figures.omega_bars(results_table(("fan", "all"), seeds=(0,))),
    "score_histograms": lambda: figures.score_histograms(*clips(), threshold=1.9, title="fan, asdkit, seed 0"),
    "roc": lambda: figures.roc({f"system {i}": clips()[0] + 0.1 * i * clips()[1] for i in range(9)}, *clips()[1:]),
    "clip_panels": lambda: figures.clip_panels(*[spectrogram()] * 3, TIMES),
    "bands": lambda: figures.bands({"near": spectrogram().T, "far": spectrogram().T - 3}, "level (dB)", -30.0),
    "windows": lambda: figures.windows(spectrogram(), TIMES, SPANS),
    "panels": lambda: figures.panels({"near": spectrogram(), "residual": spectrogram() + 30}, TIMES, ["residual"]),
    "predicted_bands": lambda: figures.predicted_bands({"a": PREDICTED}, 2.56),
    "learning_curve": lambda: figures.learning_curve(UNIT[0], {"healthy": {0: 1.2, 50: 0.8}, "faulty": {0: 1.3, 50: 0.9}}),
    "modulation_maps": lambda: figures.modulation_maps(MAPS, EDGES, "healthy"),
    "bars": lambda: figures.bars(ROWS, "fault", "AUC", 0.5),
    "waterfall": lambda: figures.waterfall(np.linspace(1, 0, 32), {"a": UNIT[:3, :32], "b": UNIT[:1, :32]}),
    "shares": lambda: figures.shares(SHARES, "share of variance explained"),
    "lines": lambda: figures.lines([1, 10, 100], {"a": [1, 2, 3], "b": UNIT[:3, :3]}, "x", "y", log=True, reference=1),
}


@pytest.mark.parametrize("name", DRAW)
def test_draws_and_names_its_axes(name):
    fig = DRAW[name]()
    fig.draw_without_rendering()
    x, y = ({getattr(ax, f"get_{k}label")() for ax in fig.axes} | {getattr(fig, f"get_sup{k}label")()} for k in "xy")
    assert x != {""} or name == "shares"  # whose columns and rows have names
    assert y != {""} or name == "shares" or "bars" in name


def test_the_same_bytes_twice_whatever_the_style_of_the_caller():
    fig = DRAW["roc"]()
    first, vector = figures.png(fig), figures.svg(fig)
    assert first.startswith(b"\x89PNG") and b"<svg" in vector and len(first) > 5000
    assert figures.png(fig) == first  # drawing moves nothing
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 30, "svg.hashsalt": "other"}):
        fig = DRAW["roc"]()
        assert figures.png(fig) == first and figures.svg(fig) == vector


def test_omega_bars_shows_mean_interval_and_seeds_and_leaves_out_what_has_no_score():
    rows = [("fan", 0, 0.6, 0.5, 0.7), ("fan", 1, 0.8, 0.7, 0.9), ("valve", 0, *3 * [np.nan]), ("all", 0, 0.6, np.nan, np.nan)]
    table = pd.DataFrame(rows, columns="machine seed omega omega_lo omega_hi".split()).assign(system="asdkit")
    fan, all_machines = figures.omega_bars(table).axes
    chance, *drawn = fan.lines
    assert (fan.get_title(), all_machines.get_title()) == ("fan", "all machines") and chance.get_xdata() == [50, 50]
    for line, expected in zip(drawn, ([60, 80], [60, 80], [70])):  # seeds, interval, mean
        np.testing.assert_allclose(line.get_xdata(), expected)
    with pytest.raises(ValueError, match="no row with a value in column omega"):
        figures.omega_bars(table.assign(omega=np.nan))


def test_roc_keeps_the_official_sides():  # both anomalies lie above the source normal and below the target normal
    labels, domains, scores = np.array([0, 0, 1, 1]), np.array(["source", "target"] * 2), np.array([0.0, 3.0, 1.0, 2.0])
    source, target, every = (ax.lines[0].get_xydata().tolist() for ax in figures.roc({"a": scores}, labels, domains).axes)
    assert [0, 1] in source and [1, 0] in target and [0.5, 0] in every and [0.5, 1] in every
    without_target = figures.roc({"a": scores}, labels, np.full(4, "source"))
    assert [len(ax.lines) for ax in without_target.axes] == [2, 1, 2]  # the line of chance alone in the middle
    with pytest.raises(ValueError, match=r"found shapes \(3,\), \(4,\), \(4,\); expected one shape \(n_clips,\)"):
        figures.roc({"a": scores[1:]}, labels, domains)


def test_bars_end_at_the_value_and_a_name_has_one_colour_wherever_it_is_drawn():
    (ax,) = figures.bars(ROWS, "fault", "AUC", 0.5).axes
    ends = {(c.get_label(), i): bar.get_x() + bar.get_width() for c in ax.containers for i, bar in enumerate(c)}
    for row, group in zip(ROWS.itertuples(), [0, 0, 0, 1, 1, 1]):
        assert ends[row.system, group] == pytest.approx(row.value)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["imbalance", "leak"]
    assert len({bar.get_hatch() for c in ax.containers for bar in c}) == 3  # told apart without colour
    curves = {name: np.arange(3.0) for name in ("a", "b", "c", "d", "far")}  # a name has one colour, no other curve has it
    drawn = {line.get_label(): line.get_color() for line in figures.lines(range(3), curves, "x", "y").axes[0].lines}
    table = ROWS[:2].assign(system=["near", "far"])
    handles, labels = figures.bars(table, "fault", "x").axes[0].get_legend_handles_labels()
    colours = {label: mpl.colors.to_hex(handle.patches[0].get_facecolor()) for handle, label in zip(handles, labels)}
    assert colours["far"].upper() == drawn["far"].upper() and len(set(drawn.values())) == 5


def test_what_is_drawn_of_arrays():
    scores, labels, domains = clips()
    for ax in figures.score_histograms(scores, labels, domains).axes:  # every clip is counted once
        (normal,) = ax.containers
        anomaly = ax.patches[-1].get_path().vertices[:, 1]  # an outline: every bin's height twice
        assert sum(bar.get_height() for bar in normal) == 50 and anomaly[:61].sum() == 100
    near, far = spectrogram(32, 20), spectrogram(32, 20) - 10
    panels = figures.clip_panels(near, far, near, TIMES[:20]).axes[:3]
    assert len({ax.images[0].get_clim() for ax in panels}) == 1  # one scale
    assert [ax.get_title() for ax in panels] == ["near", "far", "near, far cancelled"]
    with pytest.raises(ValueError, match=r"far: found shape \(31, 20\), expected \(32, 20\)"):
        figures.clip_panels(near, far[1:], near, TIMES[:20])
    fig = figures.panels({"1": spectrogram() + 30}, TIMES, ["1"])
    low, high = fig.axes[0].images[0].get_clim()
    lightness = mpl.colormaps[figures.SIGNED](np.linspace(0, 1, 50))[:, :3] @ [0.3, 0.59, 0.11]
    assert low == -high and (np.diff(lightness) > 0).all()  # the sign of a difference is left in a grey print
    maps = [ax.images[0].get_array() for ax in figures.modulation_maps(MAPS, EDGES, "healthy").axes[:2]]
    np.testing.assert_allclose(maps, [MAPS["healthy"], MAPS["leak"] - MAPS["healthy"]])
    nulls = figures.waterfall([0.9, 0.3], {"shuffled": np.array([[0.5, 0.1], [0.7, 0.2]])})
    np.testing.assert_allclose([line.get_ydata() for line in nulls.axes[0].lines], [[0.9, 0.3], [0.6, 0.15]])
    assert "shuffled (largest 0.70)" in [t.get_text() for t in nulls.legends[0].get_texts()]
    window, hidden, mean, std = PREDICTED  # what the model does not see is hidden, and compared with what it predicts
    fig = figures.predicted_bands({"a": (window, hidden, mean, std)}, 2.56)
    np.testing.assert_array_equal(np.ma.getmaskarray(fig.axes[1].images[0].get_array()), hidden)
    drawn = fig.axes[2].containers[0].lines[0].get_xdata()
    np.testing.assert_allclose(drawn, [x[h].mean() for x, h in zip(window, hidden) if h.any()])
    assert np.ptp(fig.axes[2].collections[0].get_paths()[0].vertices[:, 0]) == 4  # two standard deviations either way
    circle = figures.clouds({"a": (np.ones((4, 2)), np.zeros((1, 2)), 2.0)}, ("one", "other")).axes[0].lines[2].get_xydata()
    np.testing.assert_allclose(np.hypot(*(circle - 1).T), 2.0)
    bands, names = figures.mel_ticks(128)
    hz = np.interp(bands, np.arange(128), mel_filterbank(128, n_fft=16000).numpy().argmax(axis=1))  # one bin a Hz
    np.testing.assert_allclose(hz, 1000 * np.array(names, dtype=float), rtol=5e-3)
