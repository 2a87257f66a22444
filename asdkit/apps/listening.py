"""What the notebooks let one hear, move and click: players, sliders and a map of clips.

A view makes a figure and HTML of the values of its sliders. An error is shown where they would be: Jupyter would swallow it.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np
import torch

from asdkit import figures, log_mel, stft
from asdkit.blocks import HOP
from asdkit.experiments import principal_axes, umap
from asdkit.recordings import SAMPLE_RATE, Clip
from asdkit.simulate import Scene, render


def sounds(named: Mapping[str, np.ndarray], one_scale: bool = False):
    """Players side by side, {name: (n_samples,)}, as loud as each other or, with `one_scale`, as loud as they were."""
    from IPython.display import HTML, Audio

    html, peaks = "", [float(np.abs(np.asarray(x)).max()) for x in named.values()]
    for (name, samples), peak in zip(named.items(), peaks):
        scaled = np.asarray(samples, dtype=float) / max(max(peaks) if one_scale else peak, 1e-9)
        source = Audio(scaled, rate=SAMPLE_RATE, normalize=False).src_attr()
        html += "<span style='display:inline-block;margin:4px 16px 4px 0'>"
        html += f"{escape(name)}<br><audio controls src='{source}'></audio></span>"
    return HTML(html)


def with_static(box, html: str):
    """A widget that carries what it shows at first as HTML too, for pages without a kernel."""
    bundle = box._repr_mimebundle_
    box._repr_mimebundle_ = lambda **options: bundle(**options) | {"text/html": html}
    return box


def sliders(view: Callable, **controls):
    """ipywidgets controls over what `view` makes of their values: a matplotlib figure or None, and HTML below it."""
    import ipywidgets as w

    output = w.HTML()

    def show(change=None):
        try:
            figure, html = view(**{name: control.value for name, control in controls.items()})
            picture = base64.b64encode(figures.png(figure)).decode() if figure else ""
            output.value = f"<img style='max-width:100%' src='data:image/png;base64,{picture}'><br>{html}" if figure else html
        except Exception as error:  # whatever it is: Jupyter would swallow it
            output.value = escape(f"{type(error).__name__}: {error}")

    for control in controls.values():
        control.observe(show, "value")
    show()
    return with_static(w.VBox([*controls.values(), output]), output.value)


def fault_sliders(scene: Scene, severity: float = 0.5, snr: float = 0.0):
    """Sliders for how severe the fault of a scene is and how far the machine stands above the noise at near, dB.

    They show and play the near microphone without and with the fault.
    """
    import ipywidgets as w

    def view(severity: float, snr: float):
        severities = {"healthy": 0.0, f"{scene.fault}, severity {severity:.2f}": severity}
        near = {name: render(replace(scene, snr=snr, severity=value))[0] for name, value in severities.items()}
        levels = {name: log_mel(stft(torch.from_numpy(x))).numpy() for name, x in near.items()}
        times = np.arange(next(iter(levels.values())).shape[1]) * HOP / SAMPLE_RATE
        return figures.panels(levels, times), sounds(near, one_scale=True).data

    wide = dict(continuous_update=False, style=dict(description_width="180px"), layout=w.Layout(width="480px"))
    return sliders(
        view,
        severity=w.FloatSlider(severity, min=0, max=1, step=0.05, description="severity", **wide),
        snr=w.FloatSlider(snr, min=-20, max=20, step=1, description="machine over noise (dB)", **wide),
    )


def threshold_slider(scores, labels, domains, threshold: float | None):
    """A slider for a threshold in the histograms of test scores, (n_clips,), that says whom it alarms.

    It begins where the threshold was promised or, without a promise, in the middle.
    """
    import ipywidgets as w

    scores, labels, domains = map(np.asarray, (scores, labels, domains))
    kinds = {f"healthy {d}": (labels == 0) & (domains == d) for d in ("source", "target")} | {"faulty": labels == 1}

    def view(threshold: float):
        alarms = ", ".join(f"{(scores[k] > threshold).sum()} of {k.sum()} {name} clips" for name, k in kinds.items() if k.any())
        return figures.score_histograms(scores, labels, domains, threshold), f"Above {threshold:.2f}: {alarms}."

    low, high = float(scores.min()), float(scores.max())
    start = float(np.clip(np.median(scores) if threshold is None else threshold, low, high))
    look = dict(step=(high - low) / 100, description="threshold", continuous_update=False, layout=w.Layout(width="480px"))
    return sliders(view, threshold=w.FloatSlider(start, min=low, max=high, **look))


class ClipMap:
    """A map of clips: hover for what is known of one, click to hear it; ``box`` is the widget to show.

    `vectors` are (n_clips, dim), the first `n_train` those of training; `table` has a row a clip and a column "file", and its
    column `colour` colours the clips. PCA is of the training clips; UMAP, of all, is computed when it is chosen, which takes
    half a minute.
    """

    def __init__(self, vectors: np.ndarray, clips: Sequence[Clip], table, n_train: int, colour: str):
        import ipywidgets as w
        import plotly.express as px
        from plotly.graph_objects import FigureWidget

        self.vectors, self.files, self.clips = vectors, list(table["file"]), {clip.name: clip for clip in clips}
        self.pca = (vectors - vectors[:n_train].mean(0)) @ principal_axes(vectors[:n_train])
        shown = table.assign(**dict(zip(("component 1", "component 2"), self.pca.T)))
        look = dict(color_discrete_sequence=list(figures.LINES), color_discrete_map=figures.NAMED, template="simple_white")
        hover = dict(hover_name="file", hover_data={name: name in table and name != "file" for name in shown})
        figure = px.scatter(shown, "component 1", "component 2", color=colour, symbol=colour, title="", **look, **hover)
        figure.update_traces(marker_size=8, marker_opacity=0.75).update_layout(width=820, height=520)
        self.figure = FigureWidget(figure)
        self.how, self.sound = w.Dropdown(options=["PCA", "UMAP"], description="map"), w.HTML("Click a clip to hear it.")
        self.how.observe(self.move, "value")
        for trace in self.figure.data:
            trace.on_click(lambda trace, points, state: [self.play(trace.hovertext[i]) for i in points.point_inds[:1]])
        static = self.figure.to_html(include_plotlyjs="cdn", full_html=False)
        self.box = with_static(w.VBox([self.how, self.figure, self.sound]), static)

    def move(self, change) -> None:
        """Put every clip where the chosen map has it."""
        at = dict(zip(self.files, umap(self.vectors, 0) if change.new == "UMAP" else self.pca))
        with self.figure.batch_update():
            for trace in self.figure.data:
                trace.x, trace.y = np.array([at[file] for file in trace.hovertext]).T

    def play(self, file: str) -> None:
        """Offer the near channel of a clip."""
        self.sound.value = sounds({f"{file}, near": self.clips[file].read()[0]}).data
