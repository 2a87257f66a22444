"""The panel: what it shows is what the grid says, step by step; errors are seen; a step is quick at full size."""

import json
from dataclasses import replace
from time import process_time

import numpy as np
import pytest
from helpers import made_up_grid

from asdkit import metrics
from asdkit.apps import panel as widgets
from asdkit.apps.panel import ALL, Panel, state, table_html
from asdkit.config import Config
from asdkit.experiments import ALPHAS, Grid, choose
from asdkit.recordings import InputError


@pytest.fixture(scope="module")
def grid():
    return Grid(replace(Config(), alpha=0.5), {name: made_up_grid(i, 40, 30) for i, name in enumerate("abc")})


@pytest.fixture
def panel(grid, tmp_path):
    return Panel(grid, tmp_path / "alpha.json", {"Sander": "Sander: found an evaluation machine"})


def trace(panel, name):
    return next(t for t in panel.figure.data if t.name == name)


def test_a_state_is_what_the_grid_says(grid):
    now, i = state(grid, ["a", "c"], 0.76, "c"), ALPHAS.index(0.75)
    machine = grid.machines["c"]
    assert now.alpha == 0.75 and now.rows.keys() == {"a", "c", ALL}
    assert sum(map(sum, now.counts)) == 40 and now.counts[1].sum() == machine.labels.sum()
    np.testing.assert_array_equal(now.colours[1], machine.scores[i, machine.labels == 1])
    omega = metrics.omega(machine.points[i])
    assert now.rows["c"]["at alpha 0.75"].startswith(f"{100 * omega:.1f} [")
    assert now.curves["c"][i] == pytest.approx(100 * omega)
    official = metrics.omega([grid.machines[m].points[i] for m in "ac"])
    assert now.rows[ALL]["at alpha 0.75"].startswith(f"{100 * official:.1f} [")
    np.testing.assert_array_equal(now.maps[0], machine.train_map[i])
    assert (now.frame[0] <= machine.test_map).all() and (machine.test_map <= now.frame[1]).all()  # at every alpha
    for rule, picks in choose(grid, "ac").items():
        assert now.rows["c"][rule].endswith(f" at {ALPHAS[picks['c']]:.2f}")
    odd = Grid(grid.config, {"<b>": grid.machines["a"]})
    assert "&lt;b&gt;" in table_html(state(odd, ["<b>"], 0.0, "<b>"))
    with pytest.raises(InputError, match="found none chosen"):
        state(grid, [], 0.0, "a")


def test_the_slider_moves_numbers_bars_colours_and_map(panel, grid):
    def shown():
        test = trace(panel, "anomaly ")
        return [panel.numbers.value, trace(panel, "normal").y, test.marker.color, test.x, trace(panel, "training").y]

    assert panel.alpha.value == 0.5 and "at alpha 0.50" in panel.numbers.value  # as the configuration has it
    assert [child for child in panel.box.children if type(child).__name__ == "FigureWidget"] == [panel.figure]
    before = shown()
    panel.alpha.value = 0.9
    after = shown()
    assert "at alpha 0.90" in panel.numbers.value and trace(panel, "here").x == (0.9,)
    assert not any(np.array_equal(a, b) for a, b in zip(before, after))
    np.testing.assert_array_equal(after[2], state(grid, "abc", 0.9, "a").colours[1])
    np.testing.assert_array_equal(after[4], grid.machines["a"].train_map[ALPHAS.index(0.9), :, 1])


def test_choosing_machines_and_the_one_that_is_shown(panel, grid):
    np.testing.assert_allclose(trace(panel, "b").y, 100 * grid.omegas("b")[0])
    panel.shown.value = "b"
    np.testing.assert_array_equal(trace(panel, "training").x, grid.machines["b"].train_map[ALPHAS.index(0.5), :, 0])
    panel.machines.value = ("b", "c")
    assert not trace(panel, "a").visible and trace(panel, "c").visible
    assert ">a<" not in panel.numbers.value and panel.shown.options == ("b", "c") and panel.shown.value == "b"
    panel.machines.value = ("c",)
    assert panel.shown.value == "c" and "leave-one-machine-out" not in panel.numbers.value
    panel.machines.value = ()
    assert "found none chosen, expected at least one" in panel.status.value


def test_an_evaluation_machine_is_refused_with_the_reason(panel):
    panel.machines.value = ("a", "Sander")
    assert panel.machines.value == ("a",) and "found an evaluation machine" in panel.status.value
    panel.machines.value = ("Sander",)
    assert panel.machines.value == ("a", "b", "c") and "found an evaluation machine" in panel.status.value
    panel.alpha.value = 0.25
    assert "evaluation" not in panel.status.value


def test_the_button_writes_a_configuration_and_errors_are_shown(panel, monkeypatch):
    panel.alpha.value = 0.25
    panel.save.click()
    assert json.loads(panel.path.read_text()) == {"alpha": 0.25}
    assert Config.load(panel.path) == replace(Config(), alpha=0.25)
    assert f"wrote {panel.path}" in panel.status.value
    panel.path.unlink()
    panel.path.mkdir()  # where nothing can be written
    panel.save.click()
    assert "Error" in panel.status.value and not list(panel.path.parent.glob(".*"))
    monkeypatch.setattr(widgets, "state", lambda *_: 1 / 0)
    panel.alpha.value = 0.75
    assert "ZeroDivisionError: division by zero" in panel.status.value


def test_a_step_is_quick_at_full_size():
    grid = Grid(Config(), {name: made_up_grid(i, 200, 1000) for i, name in enumerate("abcdefg")})
    panel, seconds = Panel(grid), []
    for alpha in ALPHAS[:5]:
        start = process_time()
        panel.alpha.value = alpha
        seconds.append(process_time() - start)  # of the processor: others may be using the machine
    assert min(seconds) < 0.2
