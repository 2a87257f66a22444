"""The tuning panel: a slider wired to pure functions over the grid of `asdkit.experiments.tuning`. For JupyterLab.

`state` says what the panel shows under its settings; `table_html`, `draw` and `redraw` show it; `Panel` holds the widgets and
nothing else. An error inside a callback is shown in the panel: Jupyter would swallow it.

Legend
------
shown : the machine of the histogram and the map. edges : (n_bins + 1,). counts : (n_bins,) normal and anomalous test clips.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import wraps
from html import escape
from itertools import cycle, islice
from pathlib import Path

import numpy as np

from asdkit.experiments import ALPHAS, Grid, choose, position, write_choice
from asdkit.figures import BLACK, GREY, LINES, SKY, VERMILLION
from asdkit.recordings import InputError

N_BINS = 24
ALL = "all (official)"


@dataclass(frozen=True)
class State:
    """Everything the panel shows for one choice of machines, alpha and machine shown."""

    alpha: float
    rows: dict[str, dict[str, str]]  # machine -> column -> cell of the table
    curves: dict[str, np.ndarray]  # machine -> (n_alphas,) Omega x100
    shown: str
    edges: np.ndarray  # the same at every alpha: bars move, the axis stays
    frame: np.ndarray  # (2, 2) lowest and highest of the map's two coordinates, over all alphas
    counts: tuple[np.ndarray, np.ndarray]
    colours: tuple[np.ndarray, np.ndarray]  # scores of normal and of anomalous test clips
    maps: tuple[np.ndarray, np.ndarray, np.ndarray]  # (n, 2) of training clips, normal and anomalous test clips


def state(grid: Grid, names: Iterable[str], alpha: float, shown: str) -> State:
    """Look up what the panel shows; nothing is computed that takes time.

    Parameters
    ----------
    grid : Grid
    names : iterable of str
        Machines chosen.
    alpha : float
        The nearest of `ALPHAS` is taken.
    shown : str
        Machine of the histogram and the map.

    Raises
    ------
    InputError
        When no machine is chosen.
    """
    names = list(names)
    if not names:
        raise InputError("machines: found none chosen, expected at least one")
    machine, i = grid.machines[shown], position(alpha)
    curves = dict(zip(names, 100 * grid.omegas(names))) | {ALL: 100 * grid.official(names)}
    masks = [machine.labels == label for label in (0, 1)]
    edges = np.histogram_bin_edges(machine.scores, N_BINS)
    colours = tuple(machine.scores[i, mask] for mask in masks)
    counts = tuple(np.histogram(scores, edges)[0] for scores in colours)
    maps = (machine.train_map[i], *(machine.test_map[i, mask] for mask in masks))
    points = np.concatenate([machine.train_map, machine.test_map], axis=1).reshape(-1, 2)
    frame = np.stack([points.min(0), points.max(0)])
    return State(ALPHAS[i], rows(grid, names, i), curves, shown, edges, frame, counts, colours, maps)


def rows(grid: Grid, names: list[str], i: int) -> dict[str, dict[str, str]]:
    """Cells of the table: Omega here, and under each rule at the alpha it picks."""
    here = grid.quote(dict.fromkeys(names, i))
    quotes = {rule: (picks, grid.quote(picks)) for rule, picks in choose(grid, names).items()}
    table = {}
    for name in here:
        omega, low, high = (f"{100 * value:.1f}" for value in here[name])
        cells = {f"at alpha {ALPHAS[i]:.2f}": f"{omega} [{low}, {high}]"}
        for rule, (picks, quote) in quotes.items():
            cells[rule] = f"{100 * quote[name][0]:.1f}" + (f" at {ALPHAS[picks[name]]:.2f}" if name in picks else "")
        table[ALL if name == "all" else name] = cells
    return table


def table_html(state: State) -> str:
    """The table as HTML, the last row in bold."""
    columns = list(next(iter(state.rows.values())))
    head = "".join(f"<th style='{CELL}white-space:normal'>{escape(name)}</th>" for name in ("Omega x100", *columns))
    lines = [
        "".join(f"<td style='{CELL}{BOLD * (name == ALL)}'>{escape(text)}</td>" for text in (name, *cells.values()))
        for name, cells in state.rows.items()
    ]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table class='asdkit-numbers' style='border-collapse:collapse'><tr>{head}</tr>{body}</table>"


CELL = "text-align:left;vertical-align:bottom;padding:2px 14px 2px 0;border-bottom:1px solid #dddddd;white-space:nowrap;"
BOLD = "font-weight:bold;"


# the figure


def draw(state: State, machines: Iterable[str]):
    """The figure with a curve for each of all machines, to be kept and redrawn (plotly FigureWidget)."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    names = [*machines, ALL]
    fig = make_subplots(1, 3, column_widths=[0.34, 0.33, 0.33], horizontal_spacing=0.07)
    for name, colour in zip(names, [*islice(cycle(LINES), len(names) - 1), BLACK]):
        line = dict(color=colour, width=3 if name == ALL else 1.3)
        fig.add_scatter(x=ALPHAS, name=name, mode="lines", line=line, legend="legend", row=1, col=1)
    fig.add_scatter(name="here", mode="markers", marker=dict(color=VERMILLION, size=11), showlegend=False, row=1, col=1)
    for name, colour in (("normal", SKY), ("anomaly", VERMILLION)):
        fig.add_bar(name=name, marker=dict(color=colour, opacity=0.65), legend="legend2", row=1, col=2)
    fig.add_scatter(name="training", mode="markers", marker=dict(color="#cccccc", size=4), legend="legend3", row=1, col=3)
    for name, symbol in (("normal ", "circle"), ("anomaly ", "x")):
        marker = dict(symbol=symbol, size=8, coloraxis="coloraxis", line=dict(width=0))
        fig.add_scatter(name=name, mode="markers", marker=marker, legend="legend3", row=1, col=3)
    _lay_out(fig)
    redraw(fig, state)
    return go.FigureWidget(fig)  # whole: what is added to a widget later can be lost on its way to the browser


def _lay_out(fig) -> None:
    legends = {
        key: dict(orientation="h", x=x, y=1.02, yanchor="bottom", font_size=11)
        for key, x in (("legend", 0), ("legend2", 0.36), ("legend3", 0.7))
    }
    fig.update_layout(
        template="simple_white", width=1060, height=360, barmode="overlay", bargap=0, margin=dict(l=50, r=10, t=60, b=45),
        font=dict(family="DejaVu Sans, sans-serif", size=12), **legends,
        coloraxis=dict(colorscale="Cividis", colorbar=dict(title="score", thickness=12)),
        xaxis=dict(title="alpha", range=[-0.02, 1.02]), yaxis_title="Omega x100", yaxis2_title="clips",
        xaxis3_title="principal component 1", yaxis3_title="principal component 2",
    )  # fmt: skip
    fig.add_hline(y=50, line=dict(color=GREY, dash="dash", width=1), row=1, col=1)


def redraw(fig, state: State) -> None:
    """Put a state into the figure: curves, bars, map."""
    traces = {trace.name: trace for trace in fig.data}
    with fig.batch_update():
        for name in list(traces)[:-N_FIXED]:
            traces[name].update(y=state.curves.get(name), visible=name in state.curves)
        traces["here"].update(x=[state.alpha], y=[state.curves[ALL][list(ALPHAS).index(state.alpha)]])
        for name, counts in zip(("normal", "anomaly"), state.counts):
            traces[name].update(x=(state.edges[1:] + state.edges[:-1]) / 2, width=np.diff(state.edges), y=counts)
        for name, points in zip(("training", "normal ", "anomaly "), state.maps):
            traces[name].update(x=points[:, 0], y=points[:, 1])
        for name, scores in zip(("normal ", "anomaly "), state.colours):
            traces[name].marker.color = scores
        fig.layout.coloraxis.update(cmin=state.edges[0], cmax=state.edges[-1])
        fig.layout.xaxis2.update(title=f"score of {state.shown}", range=[state.edges[0], state.edges[-1]])
        for axis, limits in zip((fig.layout.xaxis3, fig.layout.yaxis3), state.frame.T):
            axis.range = limits + 0.05 * np.ptp(limits) * np.array([-1, 1])


N_FIXED = 6  # traces that are not curves


# the panel


def reported(callback):
    """A callback whose error is shown in the panel."""

    @wraps(callback)
    def call(self, change=None):
        try:
            callback(self)
        except InputError as error:
            self.say(str(error), VERMILLION)
        except Exception as error:  # whatever it is: Jupyter would swallow it
            self.say(f"{type(error).__name__}: {error}", VERMILLION)

    return call


class Panel:
    """A slider for alpha, the choice of machines, and what follows from them; ``box`` is the widget to show.

    Parameters
    ----------
    grid : Grid
        From `asdkit.experiments.tune`.
    path : path
        Where the button writes the choice, as JSON for ``asdkit run --config``.
    refused : dict of str to str, optional
        Machines that cannot be tuned on, and why, from `asdkit.experiments.development`: choosing one says why.
    """

    def __init__(self, grid: Grid, path: str | Path = "alpha.json", refused: dict[str, str] | None = None):
        import ipywidgets as w

        self.grid, self.path, self.refused = grid, Path(path), dict(refused or {})
        names, start = list(grid.machines), ALPHAS[position(grid.config.alpha)]
        wide = dict(layout=w.Layout(width="340px"), style=dict(description_width="80px"))
        self.alpha = w.SelectionSlider(options=[(f"{a:.2f}", a) for a in ALPHAS], value=start, description="alpha", **wide)
        options, lines = [*names, *self.refused], min(6, len(names) + len(self.refused))
        self.machines = w.SelectMultiple(options=options, value=names, rows=lines, description="machines", **wide)
        self.shown = w.Dropdown(options=names, description="show", **wide)
        self.save = w.Button(description=f"Write {self.path.name}", icon="save", layout=w.Layout(margin="2px 2px 2px 90px"))
        self.numbers, self.status = w.HTML(), w.HTML()
        self.figure = draw(state(grid, names, start, names[0]), names)
        left = w.VBox([self.alpha, self.machines, self.shown, self.save], layout=w.Layout(flex="0 0 360px"))
        self.box = w.VBox([w.HBox([left, w.VBox([self.numbers, self.status])]), self.figure])
        for widget in (self.alpha, self.shown):
            widget.observe(self.show, "value")
        self.machines.observe(self.choose, "value")
        self.save.on_click(self.write)
        self.show()

    def say(self, text: str, colour: str = BLACK) -> None:
        """Put a line below the numbers."""
        self.status.value = f"<span class='asdkit-status' style='color:{colour}'>{escape(text)}</span>"

    @reported
    def show(self) -> None:
        """Show what the settings ask for."""
        now = state(self.grid, self.machines.value, self.alpha.value, self.shown.value)
        self.numbers.value = table_html(now)
        redraw(self.figure, now)
        self.say("")

    @reported
    def choose(self) -> None:
        """Take up another choice of machines; those that cannot be tuned on are put back, with the reason."""
        allowed = [name for name in self.machines.value if name in self.grid.machines]
        if no := [name for name in self.machines.value if name in self.refused]:
            self.machines.value = allowed or list(self.grid.machines)
            raise InputError(self.refused[no[0]])
        if allowed and self.shown.options != tuple(allowed):
            kept = self.shown.value if self.shown.value in allowed else allowed[0]
            with self.shown.hold_trait_notifications():
                self.shown.options, self.shown.value = allowed, kept
        self.show()

    @reported
    def write(self) -> None:
        """Write the choice and say where."""
        write_choice(self.path, self.grid.config, self.alpha.value)
        self.say(f"wrote {self.path}: asdkit run DATA --out DIR --config {self.path}")
