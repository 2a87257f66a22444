"""The tuning panel: a slider for alpha, and everything that follows from it. For JupyterLab, in a cell of 930 pixels.

`state` looks up in the grids of `asdkit.experiments.tune_systems` what the panel shows under its settings, `listen` makes the
sound and the spectrogram of one clip; `table_html`, `draw` and `redraw` show them; `Panel` holds the widgets and nothing else.
An error inside a callback is shown in the panel: Jupyter would swallow it.

grids : {control: Grid} of one system; names : machines that count; shown : the machine of the histogram, the map and the clip.
"""

from collections.abc import Iterable
from functools import partial
from html import escape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from asdkit.dsp import cancel_far
from asdkit.experiments import ALPHAS, Grid, choose, position, write_choice
from asdkit.figures import BLACK, GREY, LINES, SKY, VERMILLION, mel_ticks
from asdkit.recordings import SAMPLE_RATE, Clip, InputError, Machine
from asdkit.spectrogram import log_mel, stft

ALL = "all (official)"
WORDS = {"other-recording": "far of another recording", "scrambled-phase": "phase of far scrambled"}  # of the controls
LABELS = {"healthy": "circle", "faulty": "diamond"}  # 0 and 1, and their marks in the map
LABELS_ARE_FOR = (
    "Labels of these development machines' test clips give Omega and choose alpha, which evaluation machines then keep; "
    "label-free reads no test clip."
)


def state(grids: dict[str, Grid], names: Iterable[str], alpha: float, shown: str) -> SimpleNamespace:
    """Look up what the panel shows; the nearest of `ALPHAS` is taken. InputError when no machine is chosen."""
    names = list(names)
    if not names:
        raise InputError("machines: found none chosen, expected at least one")
    grid, machine, i = grids["none"], grids["none"].machines[shown], position(alpha)
    curves = {ALL: grid.official(names), "machine": grid.omegas([shown])[0]}
    curves |= {control: grids[control].official(names) for control in WORDS}
    interval = [grid.quote(dict.fromkeys(names, j))["all"][1:] for j in range(len(ALPHAS))]
    edges = np.histogram_bin_edges(np.append(machine.scores, machine.thresholds[np.isfinite(machine.thresholds)]), 24)
    counts = [[np.histogram(x[machine.labels == label], edges)[0] for label in (0, 1)] for x in machine.scores]
    points = np.concatenate([machine.train_map, machine.test_map], axis=1).reshape(-1, 2)
    return SimpleNamespace(
        i=i,  # index of alpha
        rows=rows(grids, names, i),  # machine -> column -> cell of the table
        curves={name: 100 * curve for name, curve in curves.items()},  # (n_alphas,) Omega x100
        interval=100 * np.transpose(interval),  # (2, n_alphas) 95 % interval of ALL
        shown=shown,
        machine=machine,
        edges=edges,  # (n_bins + 1,) the same at every alpha: bars move, the axis stays
        counts=np.array(counts),  # (n_alphas, 2, n_bins) healthy and faulty test clips
        frame=np.stack([points.min(0), points.max(0)]),  # (2, 2) of the map's two coordinates, over all alphas
    )


def rows(grids: dict[str, Grid], names: list[str], i: int) -> dict[str, dict[str, str]]:
    """Cells of the table: Omega here, without cancelling, with the controls, and under each rule at the alpha it picks."""
    grid, here = grids["none"], dict.fromkeys(names, i)
    omegas, table = grid.quote(here), {}
    beside = {"at alpha 0": grid.quote(dict.fromkeys(names, 0))} | {WORDS[c]: grids[c].quote(here) for c in WORDS}
    rules = {rule: (picks, grid.quote(picks)) for rule, picks in choose(grid, names).items()}
    for name, omega in omegas.items():
        cells = {f"at alpha {ALPHAS[i]:.2f}": "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * x for x in omega))}
        cells |= {words: f"{100 * quote[name][0]:.1f}" for words, quote in beside.items()}
        for rule, (picks, quote) in rules.items():
            cells[rule] = f"{100 * quote[name][0]:.1f}" + (f" at {ALPHAS[picks[name]]:.2f}" if name in picks else "")
        table[ALL if name == "all" else name] = cells
    return table


def table_html(state: SimpleNamespace) -> str:
    """The table as HTML, the last row in bold."""
    table = pd.DataFrame.from_dict(state.rows, orient="index").rename_axis("Omega x100", axis=1)
    return STYLE + table.to_html(classes="asdkit-numbers", border=0, justify="left")


STYLE = """<style>
.asdkit-numbers {border-collapse: collapse; font-size: 12px; line-height: 17px}
.asdkit-numbers th, .asdkit-numbers td {text-align: left !important; vertical-align: bottom; padding: 1px 8px 1px 0}
.asdkit-numbers td, .asdkit-numbers tbody th {border-top: 1px solid #cccccc; white-space: nowrap}
.asdkit-numbers * {font-weight: normal}
.asdkit-numbers tbody tr:last-child * {font-weight: bold}
</style>"""


def listen(clip: Clip, alpha: float, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Near with a share of far cancelled, as a log-mel spectrogram (128, n_frames), dB; and as sound, with far: (2, n_samples).

    At every alpha the loudest sample of the recording itself would be 0.9: what is cancelled is not made up for.
    """
    samples = torch.from_numpy(clip.read())
    spectrum = cancel_far(*stft(samples), alpha, penalty)
    near = torch.istft(spectrum, 1024, 512, window=torch.hann_window(1024), length=samples.shape[1])
    sound = 0.9 * torch.stack([near, samples[1]]) / samples.abs().max().clamp(min=1e-9)
    return log_mel(spectrum).numpy(), sound.clamp(-1, 1).numpy()


OMEGA, SCORES = ("interval", ALL, "machine", *WORDS, "here"), ("healthy bars", "faulty bars", "threshold", "score")
TRACES = (*OMEGA, *SCORES, "training", *LABELS, "clip", "spectrogram")


def draw():
    """The figure without values (plotly); `TRACES` names its traces."""
    from plotly.subplots import make_subplots

    fig = make_subplots(
        2, 3, specs=[[{}, {"rowspan": 2}, {"rowspan": 2}], [{}, None, None]], column_widths=[0.31, 0.37, 0.32],
        horizontal_spacing=0.065, vertical_spacing=0.23, subplot_titles=["Omega x100", "map", "clip", "scores"],
    )  # fmt: skip
    fig.add_scatter(line_width=0, mode="lines", fill="toself", fillcolor="#dddddd", name="95 % interval", row=1, col=1)
    here = dict(color=LINES[4], size=12)
    looks = (BLACK, 2.5, "solid"), (LINES[1], 1.5, "solid"), (GREY, 1.5, "dash"), (GREY, 1.5, "dot")
    for name, (colour, width, dash) in zip((ALL, "machine", *WORDS.values()), looks):
        fig.add_scatter(name=name, mode="lines", line=dict(color=colour, width=width, dash=dash), row=1, col=1)
    fig.add_scatter(mode="markers", marker=dict(color=BLACK, size=10), showlegend=False, row=1, col=1)
    for colour in (SKY, VERMILLION):
        fig.add_bar(marker=dict(color=colour, opacity=0.65), showlegend=False, row=2, col=1)
    fig.add_scatter(name="threshold", mode="lines", line=dict(color=BLACK, dash="dash", width=1.5), row=2, col=1)
    fig.add_scatter(mode="markers", marker=here | {"symbol": "triangle-down"}, cliponaxis=False, showlegend=False, row=2, col=1)
    fig.add_scatter(name="training", mode="markers", marker=dict(color="#bbbbbb", size=4), hoverinfo="skip", row=1, col=2)
    for name, colour in zip(LABELS, (SKY, VERMILLION)):
        fig.add_scatter(name=name, mode="markers", marker=dict(color=colour, size=9), hoverinfo="text", row=1, col=2)
    ring = here | dict(size=16, symbol="circle-open", line_width=2.5)
    fig.add_scatter(name="clip shown", mode="markers", marker=ring, hoverinfo="skip", row=1, col=2)
    fig.add_heatmap(colorscale="Magma", showscale=False, hovertemplate="%{x:.2f} s: %{z:.0f} dB<extra></extra>", row=1, col=3)
    bands, kilohertz = mel_ticks(128)
    fig.update_layout(
        template="simple_white", width=915, height=345, barmode="overlay", bargap=0, margin=dict(l=35, r=8, t=24, b=32),
        font=dict(family="DejaVu Sans, sans-serif", size=11), yaxis4_title=dict(text="clips", standoff=2),
        legend=dict(orientation="h", x=0.5, xanchor="center", y=-0.1, yanchor="top", font_size=10.5, itemclick=False),
        xaxis=dict(range=[-0.02, 1.02], title=dict(text="alpha", standoff=0)), xaxis3_ticksuffix=" s",
        yaxis3=dict(tickvals=bands, ticktext=kilohertz, title=dict(text="kHz", standoff=2)),
        xaxis2=dict(showticklabels=False, ticks=""), yaxis2=dict(showticklabels=False, ticks=""),
    )  # fmt: skip
    fig.update_annotations(font_size=11.5)
    fig.add_hline(y=50, line=dict(color=GREY, dash="dash", width=1), row=1, col=1)
    return fig


def redraw(fig, state: SimpleNamespace, clip: int, spectrogram: np.ndarray, limits: np.ndarray) -> None:
    """Put a state, one of its clips and the spectrogram (128, n_frames) of that, drawn between two limits, into the figure."""
    traces, machine, i = dict(zip(TRACES, fig.data)), state.machine, state.i
    scores, places, threshold, tallest = machine.scores[i], machine.test_map[i], machine.thresholds[i], state.counts.max()
    texts = np.array([f"clip {j}: score {score:.2f}" for j, score in enumerate(scores)])
    with fig.batch_update():
        traces["interval"].update(x=[*ALPHAS, *ALPHAS[::-1]], y=[*state.interval[0], *state.interval[1][::-1]])
        for name, curve in state.curves.items():
            traces[name].update(x=ALPHAS, y=curve)
        traces["machine"].name = state.shown
        traces["here"].update(x=[ALPHAS[i]], y=[state.curves[ALL][i]])
        for label, (name, symbol) in enumerate(LABELS.items()):
            own, middles = machine.labels == label, (state.edges[1:] + state.edges[:-1]) / 2
            traces[f"{name} bars"].update(x=middles, width=np.diff(state.edges), y=state.counts[i, label])
            traces[name].update(x=places[own, 0], y=places[own, 1], text=texts[own], customdata=np.flatnonzero(own))
            traces[name].marker.symbol = np.where(scores[own] > threshold, symbol, f"{symbol}-open")
        traces["threshold"].update(x=[threshold] * 2 if np.isfinite(threshold) else [], y=[0, tallest])
        traces["score"].update(x=[scores[clip]], y=[0.97 * tallest])
        traces["training"].update(x=machine.train_map[i, :, 0], y=machine.train_map[i, :, 1])
        traces["clip"].update(x=places[clip, :1], y=places[clip, 1:])
        traces["spectrogram"].update(z=spectrogram.round(1), dx=512 / SAMPLE_RATE, zmin=limits[0], zmax=limits[1])
        fig.layout.yaxis4.range, axes = [0, tallest], (fig.layout.xaxis2, fig.layout.yaxis2, fig.layout.xaxis4)
        for axis, ends in zip(axes, (*state.frame.T, state.edges[[0, -1]])):
            axis.range = ends + 0.05 * np.ptp(ends) * np.array([-1, 1])
        of_map, of_clip = f"map of {state.shown} (filled: above threshold)", f"near, {ALPHAS[i]:.2f} of far cancelled"
        for title, text in zip(fig.layout.annotations[1:4], (of_map, of_clip, f"scores of {state.shown}")):
            title.text = text


class Panel:
    """A slider for alpha, the choice of machines and of a clip, and what follows from them; ``box`` is the widget to show.

    It begins at the alpha with the best mean Omega of all machines of the first system. `grids` are {system: {control: Grid}}
    of `asdkit.experiments.tune_systems`, a switch chooses the system; `machines` those of the grids, whose test clips are seen
    and heard. A button writes the choice to `path`, as JSON for ``asdkit run --config``. `refused`, of
    `asdkit.experiments.development`, is {machine: why it cannot be tuned on}: choosing one says why.
    """

    def __init__(self, grids: dict[str, dict[str, Grid]], machines: list[Machine], path="alpha.json", refused=None):
        import ipywidgets as w
        import plotly.graph_objects as go

        self.grids, self.path, self.refused = grids, Path(path), dict(refused or {})
        self.clips = {machine.name: machine.test for machine in machines}
        names, first = list(self.clips), next(iter(grids.values()))["none"]
        start = ALPHAS[choose(first, names)["in-sample"][names[0]]]
        wide = lambda width, **more: w.Layout(width=f"{width}px", **more)  # noqa: E731
        narrow, whole = dict(layout=wide(170), style=dict(description_width="62px")), dict(description_width="initial")
        slider = dict(options=[(f"{a:.2f}", a) for a in ALPHAS], value=start, description="alpha")
        self.alpha = w.SelectionSlider(**slider, layout=wide(390), style=whole)
        self.system = w.ToggleButtons(options=list(grids), style=dict(button_width="175px"), layout=wide(370))
        self.machines = w.SelectMultiple(options=[*names, *self.refused], value=names, rows=4, description="counted", **narrow)
        self.shown = w.Dropdown(options=names, description="machine", **narrow)
        self.clip = w.Dropdown(options=[""], description="clip", layout=wide(450), style=whole)
        self.ears = w.ToggleButtons(options=["mono", "stereo"], style=dict(button_width="65px"), layout=wide(150))
        self.ears.tooltips = ["near with that share of far cancelled", "the same on the left, far on the right"]
        self.sound = w.Audio(format="wav", autoplay=False, layout=wide(300, height="32px"))
        self.save = w.Button(description=f"Write {self.path.name}", icon="save", tooltip=str(self.path), layout=wide(150))
        self.numbers, self.status, self.figure = w.HTML(), w.HTML(), draw()
        self.call(self.list_clips)
        self.figure = go.FigureWidget(self.figure)  # filled: what a new widget is given later can be lost before it is seen
        table = w.Box([self.numbers], layout=wide(740, max_height="145px", margin="2px 2px 2px 8px"))
        middle, bottom = [w.VBox([self.shown, self.machines]), table], [self.clip, self.sound, self.ears]
        top, middle, bottom = map(w.HBox, ([self.system, self.alpha, self.save], middle, bottom))
        self.box = w.VBox([top, middle, self.figure, bottom, self.status], layout=wide(925)).add_class("asdkit-panel")
        for widget in (self.alpha, self.system, self.clip, self.ears):
            widget.observe(partial(self.call, self.show), "value")
        self.shown.observe(partial(self.call, self.list_clips), "value")
        self.machines.observe(partial(self.call, self.choose), "value")
        self.save.on_click(partial(self.call, self.write))
        for trace in (self.figure.data[TRACES.index(name)] for name in LABELS):
            trace.on_click(lambda trace, points, _: self.pick(trace.customdata, points.point_inds))

    def say(self, text: str, colour: str = BLACK) -> None:
        """Put a line below the panel, before what the labels are for."""
        line = f"<span class='asdkit-status' style='color:{colour}'>{escape(text)}</span>"
        self.status.value = f"<div style='line-height:15px;font-size:11.5px'>{line} {LABELS_ARE_FOR}</div>"

    def call(self, callback, *_) -> None:
        """Call what a widget asks for; an error is shown in the panel."""
        try:
            callback()
        except Exception as error:  # whatever it is: Jupyter would swallow it
            self.say(str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}", VERMILLION)

    def list_clips(self) -> None:
        """Offer the test clips of the machine shown, faulty ones first; the first is chosen."""
        clips = sorted(enumerate(self.clips[self.shown.value]), key=lambda each: -each[1].label)
        self.clip.options = [(f"{i} {c.name}", i) for i, c in clips]
        self.show()

    def pick(self, clips, points: list[int]) -> None:
        """Choose the clip of a point of the map, by the indices of all clips of its label."""
        if points:
            self.clip.value = int(clips[points[0]])

    def show(self) -> None:
        """Show what the settings ask for."""
        from IPython.display import Audio

        grids = self.grids[self.system.value]
        clip, penalty = self.clips[self.shown.value][self.clip.value], grids["none"].config.cancel_penalty
        now = state(grids, self.machines.value, self.alpha.value, self.shown.value)
        self.numbers.value = table_html(now)
        spectrogram, sound = listen(clip, self.alpha.value, penalty)
        redraw(self.figure, now, self.clip.value, spectrogram, np.percentile(listen(clip, 0, penalty)[0], [2, 99.8]))
        self.sound.value = Audio(sound if self.ears.value == "stereo" else sound[0], rate=SAMPLE_RATE, normalize=False).data
        self.say("")

    def choose(self) -> None:
        """Take up another choice of machines; those that cannot be tuned on are put back, with the reason."""
        allowed = [name for name in self.machines.value if name in self.clips]
        if no := [name for name in self.machines.value if name in self.refused]:
            self.machines.value = allowed or list(self.clips)
            raise InputError(self.refused[no[0]])
        if allowed and self.shown.options != tuple(allowed):
            kept = self.shown.value if self.shown.value in allowed else allowed[0]
            with self.shown.hold_trait_notifications():
                self.shown.options, self.shown.value = allowed, kept
        self.show()

    def write(self) -> None:
        """Write the choice and say where."""
        write_choice(self.path, self.grids[self.system.value]["none"].config, self.alpha.value)
        self.say(f"Wrote {self.path}: asdkit run DATA --out DIR --config {self.path}.")
