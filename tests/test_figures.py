"""Figures: each draws without a warning, gives the same bytes twice, and shows what it was given."""

import numpy as np
import pandas as pd
import pytest

from asdkit import figures

RNG_SEED = 7


def results_table(machines=("bearing", "fan", "gearbox", "slider", "valve", "all"), seeds=(0, 1, 2)):
    rng = np.random.default_rng(RNG_SEED)
    systems = ["asdkit", "report", "msm", "msm-untrained", "msm-residual", "ridge-complex", "modulation", "logmel-near"]
    omega = rng.uniform(0.45, 0.9, (len(machines), len(systems), 1))
    omega = omega + rng.normal(0, 0.015, (len(machines), len(systems), len(seeds)))
    rows = [
        {"machine": m, "system": s, "seed": seed, "omega": omega[i, j, k]}
        for i, m in enumerate(machines)
        for j, s in enumerate(systems)
        for k, seed in enumerate(seeds)
    ]
    return pd.DataFrame(rows).assign(omega_lo=lambda t: t.omega - 0.08, omega_hi=lambda t: t.omega + 0.06)


def clips(n=50):
    """Labels, domains and one system's scores of 4 n clips."""
    rng = np.random.default_rng(RNG_SEED)
    labels, domains = np.tile([0, 1], 2 * n), np.repeat(["source", "target"], 2 * n)
    return rng.gamma(5, 0.2, 4 * n) + 0.7 * labels + 0.2 * (domains == "target"), labels, domains


def systems(n):
    scores, labels, domains = clips()
    rng = np.random.default_rng(RNG_SEED)
    return {f"system {i}": scores + rng.normal(0, 0.2 * i, len(scores)) for i in range(n)}, labels, domains


def spectrograms(n_mels=64, n_frames=157):
    rng = np.random.default_rng(RNG_SEED)
    hum = -40 + 30 * (np.arange(n_mels) % 24 == 6)[:, None] * np.ones(n_frames)
    hiss = -45 + 12 * (np.arange(n_frames) // 30 % 2)[None, :] * np.ones((n_mels, 1))
    near, far, residual = (x + rng.normal(0, 3, x.shape) for x in (np.maximum(hum, hiss), hiss, hum))
    return near, far, residual, np.arange(n_frames) * 1024 / 16000


DRAW = {
    "omega_bars": lambda: figures.omega_bars(results_table()),
    "omega_bars one machine, one seed": lambda: figures.omega_bars(results_table(("fan", "all"), seeds=(0,))),
    "score_histograms": lambda: figures.score_histograms(*clips(), threshold=1.9, title="fan, asdkit, seed 0"),
    "roc": lambda: figures.roc(*systems(9)),
    "clip_panels": lambda: figures.clip_panels(*spectrograms()),
}


@pytest.mark.parametrize("name, ending", [*((n, ".png") for n in DRAW), ("roc", ".svg"), ("clip_panels", ".svg")])
def test_same_bytes_twice(name, ending, tmp_path):
    fig = DRAW[name]()
    first = figures.save(fig, tmp_path / f"a{ending}").read_bytes()
    assert figures.save(fig, tmp_path / f"b{ending}").read_bytes() == first  # saving moves nothing
    assert figures.save(DRAW[name](), tmp_path / f"c{ending}").read_bytes() == first
    assert len(first) > 5000


def test_style_of_the_caller_changes_nothing(tmp_path):
    import matplotlib as mpl

    first = figures.save(DRAW["roc"](), tmp_path / "a.png").read_bytes()
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "savefig.dpi": 30}):
        assert figures.save(DRAW["roc"](), tmp_path / "b.png").read_bytes() == first


def test_save_is_whole_or_absent(tmp_path):
    fig = DRAW["score_histograms"]()
    figures.save(fig, tmp_path / "new" / "a.png")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]
    with pytest.raises(ValueError, match=r"a\.jpg: found the ending '\.jpg', expected \.png or \.svg"):
        figures.save(fig, tmp_path / "a.jpg")
    fig.savefig = lambda *args, **kwargs: 1 / 0
    with pytest.raises(ZeroDivisionError):
        figures.save(fig, tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists() and len(list(tmp_path.iterdir())) == 1


def test_omega_bars_shows_mean_interval_and_seeds():
    table = pd.DataFrame(
        [
            ("fan", "asdkit", 0, 0.6, 0.5, 0.7),
            ("fan", "asdkit", 1, 0.8, 0.7, 0.9),
            ("all", "asdkit", 0, 0.6, np.nan, np.nan),
        ],
        columns="machine system seed omega omega_lo omega_hi".split(),
    )
    fan, all_machines = figures.omega_bars(table).axes
    chance, seeds, interval, mean = fan.lines
    assert (fan.get_title(), all_machines.get_title()) == ("fan", "all machines")
    assert chance.get_xdata() == [50, 50]
    np.testing.assert_allclose(seeds.get_xdata(), [60, 80])
    np.testing.assert_allclose(interval.get_xdata(), [60, 80])
    np.testing.assert_allclose(mean.get_xdata(), [70])


def test_omega_bars_leaves_out_systems_without_a_score():
    table = results_table(seeds=(0,))
    table.loc[table["machine"] == "fan", "omega"] = np.nan
    assert "fan" not in [ax.get_title() for ax in figures.omega_bars(table).axes]
    with pytest.raises(ValueError, match="no row with a value in column omega"):
        figures.omega_bars(table.assign(omega=np.nan))


def test_histograms_count_every_clip_once():
    scores, labels, domains = clips()
    fig = figures.score_histograms(scores, labels, domains)
    for ax in fig.axes:
        (normal,) = ax.containers
        anomaly = ax.patches[-1].get_path().vertices[:, 1]  # an outline: every bin's height twice
        assert sum(bar.get_height() for bar in normal) == 50 and anomaly[:61].sum() == 100


def test_roc_keeps_the_official_sides():
    """Both anomalies lie above the source normal and below the target normal."""
    labels, domains = np.array([0, 0, 1, 1]), np.array(["source", "target", "source", "target"])
    fig = figures.roc({"a": np.array([0.0, 3.0, 1.0, 2.0])}, labels, domains)
    source, target, every = (ax.lines[0].get_xydata() for ax in fig.axes)
    assert [0, 1] in source.tolist()
    assert [1, 0] in target.tolist()
    assert [0.5, 0] in every.tolist() and [0.5, 1] in every.tolist()


def test_roc_without_target_clips():
    scores, labels, domains = clips()
    fig = figures.roc({"a": scores}, labels, np.full_like(domains, "source"))
    assert [len(ax.lines) for ax in fig.axes] == [2, 1, 2]  # chance line only in the middle


def test_mel_ticks_agree_with_the_filterbank():
    from asdkit.spectrogram import mel_filterbank

    bands, names = figures._mel_ticks(128)
    centres = mel_filterbank(128, n_fft=16000).numpy().argmax(axis=1)  # Hz: one bin a Hz
    hz = np.interp(bands, np.arange(128), centres)
    np.testing.assert_allclose(hz, 1000 * np.array(names, dtype=float), rtol=5e-3)


def test_clip_panels_share_one_scale_and_refuse_other_shapes():
    near, far, residual, times = spectrograms(32, 20)
    fig = figures.clip_panels(near, far, residual, times)
    assert len({ax.images[0].get_clim() for ax in fig.axes[:3]}) == 1
    with pytest.raises(ValueError, match=r"far: found shape \(31, 20\), expected \(32, 20\)"):
        figures.clip_panels(near, far[1:], residual, times)
