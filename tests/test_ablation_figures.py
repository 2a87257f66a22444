"""Figures of stored tables: drawn from them alone, and what is drawn is what the table says."""

import json

import numpy as np
import pandas as pd
import pytest

from asdkit import figures
from asdkit.config import Config
from asdkit.experiments.families import plan
from asdkit.experiments.tables import draw_all

MACHINES = {"simulated": ("fan", "valve"), "real": ("fan", "pump")}
ABOUT = {"quick": False, "bases": {"asdkit": "0123"}, "seeds": [0, 1, 2], "machines": {}}
SMALL = ["objective", "alpha", "aggregate"]


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(3)
    rows = plan({"asdkit": Config()}, SMALL)
    head = [
        ("asdkit", r.family, data, m, r.variant, r.reference, metric, 3, 2 if m == "mean" else 1)
        for r in rows for data, names in MACHINES.items() for m in (*names, "mean") for metric in ("omega", "auc_target")
    ]  # fmt: skip
    columns = "base family data machine variant reference metric seeds machines".split()
    differences = pd.DataFrame(head, columns=columns).assign(value=lambda t: rng.uniform(0.5, 0.9, len(t)))
    itself = differences["variant"] == differences["reference"]
    differences["difference"] = np.where(itself, 0, rng.normal(0, 0.05, len(head)))
    around = {"value_lo": ("value", -6), "value_hi": ("value", 6), "lo": ("difference", -3), "hi": ("difference", 4)}
    differences = differences.assign(**{name: differences[of] + by / 100 for name, (of, by) in around.items()})
    return {"differences": differences, **trap_tables(rng), "embedding": embedding(rng), "about": ABOUT}


def trap_tables(rng):
    key = [("asdkit", "objective", m, v, s) for m in MACHINES["simulated"] for v in figures.OBJECTIVES for s in (0, 1)]
    names = ["base", "family", "machine", "variant", "seed"]
    faults = [(f, s) for f in ("leak", "loose_part") for s in (0.5, 1.0)]
    moved = [(*k, n, *f) for k in key for n in ("noise", "clip") for f in [*faults, ("all", np.nan)]]
    moved = pd.DataFrame(moved, columns=[*names, "nuisance", "fault", "severity"])
    moved = moved.assign(sensitivity=rng.uniform(0.3, 3, len(moved)))
    moved = moved.assign(lo=moved["sensitivity"] * 0.8, hi=moved["sensitivity"] * 1.3)
    curves = moved[moved["fault"] == "all"]
    curves = pd.concat([curves.assign(step=n, loss=1.0 / (1 + n)) for n in (0, 25, 50)])
    curves.loc[curves["variant"].isin(["untrained", "log-mel"]), "loss"] = np.nan
    probe = pd.DataFrame([(*k, *f) for k in key for f in faults], columns=[*names, "fault", "severity"])
    probe = probe.assign(auc=rng.uniform(0.6, 1, len(probe)), std=0.1, uses_labels=True)
    return {"trap-sensitivity": moved, "trap-curves": curves, "trap-probe": probe}


def embedding(rng):
    rows = [
        (data, m, f"{i}.wav", split, domain, label, method, *rng.normal(size=2))
        for data, names in MACHINES.items() for m in names for method in ("pca", "umap") for i in range(8)
        for split, label in (("train", 0), ("test", 0), ("test", 1)) for domain in ("source", "target")
    ]  # fmt: skip
    return pd.DataFrame(rows, columns="data machine file split domain label method x y".split()).assign(base="asdkit")


NAMES = [f"asdkit-{n}" for n in ("forest", "alpha", "trap", "trap-training", "embedding-pca")]


def test_everything_is_drawn_and_listed_with_what_it_is_of(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "png", lambda figure: figure.draw_without_rendering() or b"PNG")  # bytes are slow to make
    monkeypatch.setattr(figures, "svg", lambda _: b"SVG")
    names = draw_all(tables, tmp_path)
    written = sorted(p.name for p in tmp_path.iterdir())
    assert written == sorted([*(f"{n}.{e}" for n in NAMES for e in ("png", "svg")), "manifest.json"])
    manifest = json.loads((tmp_path / "manifest.json").read_text())["figures"]
    assert list(manifest) == names
    expected = {"table": "trap-curves.csv", "base": "asdkit", "config": "0123", "seeds": [0, 1, 2]}
    assert expected.items() <= manifest["asdkit-trap-training"].items() and "asdkit" in manifest["asdkit-alpha"]["command"]


def test_a_quick_figure_says_so(tables, tmp_path):
    few = {"differences": tables["differences"].query("family == 'aggregate'"), "about": ABOUT | {"quick": True}}
    assert draw_all(few, tmp_path) == ["asdkit-forest"]
    assert "<!-- QUICK: not a result -->" in (tmp_path / "asdkit-forest.svg").read_text()  # text is drawn as outlines


def test_dots_are_the_mean_and_filled_where_it_is_decided(tables):
    rows = tables["differences"].query("family == 'aggregate'").copy()
    rows.loc[rows["variant"] == "pooled", ["difference", "lo", "hi"]] = (0.05, 0.02, 0.08)
    rows.loc[rows["variant"] == "mean", ["difference", "lo", "hi"]] = (0.01, -0.02, 0.04)
    figure = figures.forest(rows, "asdkit")
    assert [ax.get_title() for ax in figure.axes] == ["real, 2 machines", "simulated, 2 machines"]
    ax = figure.axes[0]
    assert [t.get_text() for t in ax.get_yticklabels()][1:3] == ["pooled", "mean"]  # below the heading
    _, _, _, interval, pooled, _, _, single, *_ = ax.lines  # zero, heading; machines, interval, mean of each variant
    assert pooled.get_xdata() == [pytest.approx(5)] and list(interval.get_xdata()) == [pytest.approx(2), pytest.approx(8)]
    assert pooled.get_markerfacecolor() != "white" and single.get_markerfacecolor() == "white"


def test_the_forest_has_a_row_for_each_variant_on_one_scale_and_a_curve_is_sorted(tables):
    rows = tables["differences"].query("base == 'asdkit'")
    figure = figures.forest(rows, "asdkit")
    labels = figure.axes[0].get_yticklabels()
    headings = [t.get_text() for t in labels if t.get_weight() == "bold"]
    assert [h.split(" ")[0] for h in headings] == SMALL
    compared = rows.query("variant != reference")[["family", "variant"]].drop_duplicates()
    assert len(labels) == len(compared) + len(SMALL)
    assert len({ax.get_xlim() for ax in figure.axes}) == 1


def test_a_curve_is_sorted_by_its_numbers(tables):
    ax = figures.alpha_curve(tables["differences"].query("family == 'alpha'"), "asdkit").axes[0]
    ticks = [float(t.get_text()) for t in ax.get_xticklabels()]
    assert ticks == sorted(ticks) and len(ticks) == 6 and "points" in ax.get_ylabel()
