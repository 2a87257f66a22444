"""What the notebooks let one hear, move and click: players, sliders and a map of clips.

What is shown under a setting is a pure function that returns HTML; the widgets only call it. An error is shown where the
result would be: Jupyter would swallow it.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from html import escape

import numpy as np
import torch

from asdkit import figures, log_mel, read_clip, stft
from asdkit.blocks import HOP
from asdkit.experiments import principal_axes, umap
from asdkit.recordings import SAMPLE_RATE, Clip
from asdkit.simulate import Scene, render


def player(name: str, samples, peak: float | None = None) -> str:
    """HTML that plays samples, (n_samples,), under a name; `peak` is what becomes full scale, by default their own peak."""
    from IPython.display import Audio

    samples = np.asarray(samples, dtype=float)
    scaled = samples / max(np.abs(samples).max() if peak is None else peak, 1e-9)
    source = Audio(scaled, rate=SAMPLE_RATE, normalize=False).src_attr()
    style = "display:inline-block;margin:4px 16px 4px 0"
    return f"<span style='{style}'>{escape(name)}<br><audio controls src='{source}'></audio></span>"


def sounds(named: Mapping[str, np.ndarray], one_scale: bool = False):
    """Players side by side, {name: (n_samples,)}, as loud as each other or, with `one_scale`, as loud as they were."""
    from IPython.display import HTML

    peak = max(float(np.abs(np.asarray(x)).max()) for x in named.values()) if one_scale else None
    return HTML("".join(player(name, x, peak) for name, x in named.items()))


def image(fig) -> str:
    """A matplotlib figure as HTML."""
    return f"<img style='max-width:100%' src='data:image/png;base64,{base64.b64encode(figures.png(fig)).decode()}'>"


def with_static(box, html: str):
    """A widget that carries what it shows at first as HTML too, for pages without a kernel."""
    bundle = box._repr_mimebundle_
    box._repr_mimebundle_ = lambda **options: bundle(**options) | {"text/html": html}
    return box


def sliders(view: Callable[..., str], **controls):
    """ipywidgets controls over the HTML that `view` makes of their values."""
    import ipywidgets as w

    output = w.HTML()

    def show(change=None):
        try:
            output.value = view(**{name: control.value for name, control in controls.items()})
        except Exception as error:  # whatever it is: Jupyter would swallow it
            output.value = escape(f"{type(error).__name__}: {error}")

    for control in controls.values():
        control.observe(show, "value")
    show()
    return with_static(w.VBox([*controls.values(), output]), output.value)


def fault_view(scene: Scene, severity: float, snr: float) -> str:
    """The near microphone without and with the fault of a scene, seen and heard; `snr` is machine over noise there, dB."""
    scene = replace(scene, snr=snr)
    severities = {"healthy": 0.0, f"{scene.fault}, severity {severity:.2f}": severity}
    near = {name: render(replace(scene, severity=value))[0] for name, value in severities.items()}
    levels = {name: log_mel(stft(torch.from_numpy(x))).numpy() for name, x in near.items()}
    times = np.arange(next(iter(levels.values())).shape[1]) * HOP / SAMPLE_RATE
    peak = max(np.abs(x).max() for x in near.values())
    return image(figures.panels(levels, times)) + "<br>" + "".join(player(name, x, peak) for name, x in near.items())


def fault_sliders(scene: Scene, severity: float = 0.5, snr: float = 0.0):
    """Sliders for how severe the fault of a scene is and how far the machine stands above the noise."""
    import ipywidgets as w

    wide = dict(continuous_update=False, style=dict(description_width="180px"), layout=w.Layout(width="480px"))
    return sliders(
        partial(fault_view, scene),
        severity=w.FloatSlider(severity, min=0, max=1, step=0.05, description="severity", **wide),
        snr=w.FloatSlider(snr, min=-20, max=20, step=1, description="machine over noise (dB)", **wide),
    )


def threshold_view(scores, labels, domains, threshold: float) -> str:
    """Histograms of test scores, (n_clips,), a threshold in them, and whom it alarms."""
    scores, labels, domains = map(np.asarray, (scores, labels, domains))
    kinds = {f"healthy {d}": (labels == 0) & (domains == d) for d in ("source", "target")} | {"faulty": labels == 1}
    alarms = ", ".join(f"{(scores[k] > threshold).sum()} of {k.sum()} {name} clips" for name, k in kinds.items() if k.any())
    return image(figures.score_histograms(scores, labels, domains, threshold)) + f"<br>Above {threshold:.2f}: {alarms}."


def threshold_slider(scores, labels, domains, threshold: float | None):
    """A slider for the threshold, which begins where it was promised or, without a promise, in the middle."""
    import ipywidgets as w

    low, high = float(np.min(scores)), float(np.max(scores))
    start = float(np.clip(np.median(scores) if threshold is None else threshold, low, high))
    look = dict(step=(high - low) / 100, description="threshold", continuous_update=False, layout=w.Layout(width="480px"))
    return sliders(partial(threshold_view, scores, labels, domains), threshold=w.FloatSlider(start, min=low, max=high, **look))


def project(vectors: np.ndarray, n_train: int, how: str) -> np.ndarray:
    """Two coordinates of each clip, (n_clips, dim) -> (n_clips, 2): "PCA" of the first `n_train` clips, or "UMAP" of all."""
    return umap(vectors, 0) if how == "UMAP" else (vectors - vectors[:n_train].mean(0)) @ principal_axes(vectors[:n_train])


class ClipMap:
    """A map of clips: hover for what is known of one, click to hear it; ``box`` is the widget to show.

    `vectors` are (n_clips, dim), the first `n_train` those of training; `table` has a row a clip and a column "file", and its
    column `colour` colours the clips. UMAP is computed when it is chosen, which takes half a minute.
    """

    def __init__(self, vectors: np.ndarray, clips: Sequence[Clip], table, n_train: int, colour: str):
        import ipywidgets as w
        from plotly.graph_objects import FigureWidget

        self.vectors, self.n_train, self.table = vectors, n_train, table.reset_index(drop=True)
        self.clips = {clip.name: clip for clip in clips}
        self.figure = FigureWidget(figures.embedding_scatter(project(vectors, n_train, "PCA"), self.table, colour))
        self.how, self.sound = w.Dropdown(options=["PCA", "UMAP"], description="map"), w.HTML("Click a clip to hear it.")
        self.how.observe(self.move, "value")
        for trace in self.figure.data:
            trace.on_click(lambda trace, points, state: [self.play(trace.hovertext[i]) for i in points.point_inds[:1]])
        static = self.figure.to_html(include_plotlyjs="cdn", full_html=False)
        self.box = with_static(w.VBox([self.how, self.figure, self.sound]), static)

    def move(self, change=None) -> None:
        """Put every clip where the chosen map has it."""
        at = dict(zip(self.table["file"], project(self.vectors, self.n_train, self.how.value)))
        with self.figure.batch_update():
            for trace in self.figure.data:
                trace.x, trace.y = np.array([at[file] for file in trace.hovertext]).T

    def play(self, file: str) -> None:
        """Offer the near channel of a clip."""
        clip = self.clips[file]
        self.sound.value = player(f"{file}, near", read_clip(clip.path, clip.reading, clip.segment, clip.lag)[0])
