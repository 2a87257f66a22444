"""One self-contained HTML file about scored recordings: a table that sorts, and pictures with their sound.

Nothing is loaded from elsewhere: pictures and sounds are inside, and the page forbids itself the network and every script but
its own. File names are the user's and are escaped. The page is in ``templates``.
"""

import base64
import hashlib
import io
import os
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from asdkit import __version__, figures
from asdkit.blocks import HOP
from asdkit.detector import Detector, FileResult
from asdkit.explain import Explanation
from asdkit.recordings import SAMPLE_RATE, InputError, Reading, read_clip
from asdkit.recordings.files import write

MAX_DRAWN = 100  # recordings with a picture and sound
MAX_BYTES, CARD = 19.5e6, 3000  # of the page, and of what surrounds a picture
MAX_HEARD_S = 60.0  # of a long recording, around what stands out


def write_page(
    path: str | Path, folder: str | Path, detector: Detector, results: list[FileResult], false_alarm: float | None = None,
    max_drawn: int = MAX_DRAWN,
) -> Path:  # fmt: skip
    """Report on a detector's results, whole or not at all: the model, all scores, and of the highest an explanation and sound.

    `path` is the HTML file, `folder` where the detector was loaded from, and `false_alarm` the rate of the results' decisions,
    see `Detector.threshold`; that of the fit by default. At most `max_drawn` recordings have a picture and sound, and are
    read again; fewer where the file would exceed 20 MB. The rest is in the table only, and the page says how many. A
    recording without a score is listed with its reason.
    """
    scored = sorted((r for r in results if not r.reason), key=lambda r: -r.score)
    threshold = detector.decision_threshold() if false_alarm is None else detector.threshold(false_alarm)
    folders = {Path(r.file).parent for r in results}
    page = partial(
        render, model=model_facts(folder, detector, threshold, false_alarm), count=count(scored, len(results)), scored=scored,
        failed=[r for r in results if r.reason], common=f"{folders.pop()}{os.sep}" if len(folders) == 1 else "",
        window=detector.config.width * HOP / SAMPLE_RATE,
    )  # fmt: skip
    shown = draw(detector, scored[:max_drawn], threshold, MAX_BYTES - len(page(shown=[])))
    return write(path, page(shown=shown))


def render(**values) -> str:
    """The page as ASCII text: whatever a file name holds, it can be written in any locale."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("asdkit.apps"), autoescape=True, undefined=StrictUndefined)
    script = pages.loader.get_source(pages, "page.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()  # no other script is run
    html = pages.get_template("page.html").render(version=__version__, script=script, digest=digest, **values)
    return html.encode("ascii", "xmlcharrefreplace").decode()


def model_facts(folder: str | Path, detector: Detector, threshold: float | None, rate: float | None) -> list[tuple[str, str]]:
    """What a reader needs to know of a model."""
    config, about, reading = detector.config, detector.about, detector.reading
    pairs, channels = "pairs of mono files", "two channels of a file"
    clips = f"{about['clips']} clips, " if "clips" in about else ""
    recordings = len(np.unique(detector.scorer.bank.recordings))
    words = "none: too few healthy recordings to promise a false-alarm rate"
    if threshold is not None:
        at_most = f"at most {100 * (rate or config.false_alarm):g} % are expected above it"
        words = f"{threshold:.3f}; of healthy recordings like those it learned from, {at_most}"
    return [
        ("model", str(folder)),
        ("learned from", f"{clips}{recordings} recordings of the healthy machine"),
        ("microphones", "near only" if reading.near_only else f"near and far, {pairs if reading.pairs else channels}"),
        ("blocks", ", ".join(config.blocks)),
        ("threshold", words),
        ("configuration", f"{config.hash()}, seed {detector.seed}, asdkit {__version__}"),
    ]


def count(scored: list[FileResult], n_files: int) -> str:
    """How many there are of what."""
    alarms = sum(r.decision == 1 for r in scored)
    text = f"{n_files} recordings, {alarms} above the threshold"
    return text + (f", {n_files - len(scored)} could not be scored." if len(scored) < n_files else ".")


def draw(detector: Detector, results: list[FileResult], threshold: float | None, room: float) -> list[dict]:
    """As many of the recordings, explained, as there is room for, in bytes."""
    shown = []
    for result in tqdm(results, desc="page", unit="file", disable=None):
        card = explained(detector, result, threshold)
        room -= len(card["png"]) + len(card["sound"]) + CARD
        if room < 0:
            break
        shown.append(card)
    return shown


def explained(detector: Detector, result: FileResult, threshold: float | None) -> dict:
    """Sentence, picture, sound and warnings of one recording, read again."""
    card = dict(file=result.file, decision=result.decision, sentence="Not drawn.", png="", sound="")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            explanation = replace(detector.explain(result.file), threshold=threshold)
            heard, sound = hear(Path(result.file), detector.reading, explanation)
        except InputError as error:
            return card | {"messages": [str(error)]}
    png, axes = picture(explanation)
    card |= dict(sentence=str(explanation), span=explanation.span, peak=explanation.peak, axes=axes, heard=heard)
    card |= dict(png=base64.b64encode(png).decode(), sound=base64.b64encode(sound).decode())
    return card | {"messages": list(dict.fromkeys(str(w.message) for w in caught))}


def hear(path: Path, reading: Reading, explanation: Explanation) -> tuple[tuple[float, float], bytes]:
    """From where to where (s) a recording can be heard, and its near channel there as MP3, at full level."""
    import soundfile

    (start, end), peak, sound = explanation.span, explanation.peak, io.BytesIO()
    if end - start > MAX_HEARD_S:
        start = float(np.clip((peak.start + peak.end - MAX_HEARD_S) / 2, start, end - MAX_HEARD_S))
        end = start + MAX_HEARD_S
    near = read_clip(path, replace(reading, near_only=True), (start, end))[0]
    soundfile.write(sound, 0.9 * near / max(np.abs(near).max(), 1e-9), SAMPLE_RATE, format="MP3")
    return (start, end), sound.getvalue()


def picture(explanation: Explanation) -> tuple[bytes, tuple[float, ...]]:
    """The figure as PNG, and where in it time runs: left, width, top and height as shares of its size."""
    from PIL import Image

    figure, png = explanation.plot(), io.BytesIO()
    image = Image.open(io.BytesIO(figures.png(figure))).convert("RGB")
    image.quantize(method=Image.Quantize.FASTOCTREE).save(png, "PNG", optimize=True)  # a quarter of the bytes
    near, curves = (figure.axes[i].get_position() for i in (0, 4))
    return png.getvalue(), (near.x0, near.width, 1 - near.y1, near.y1 - curves.y0)
