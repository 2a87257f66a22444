"""One self-contained HTML file about scored recordings: a table that sorts, and pictures with their sound.

Nothing is loaded from elsewhere: pictures and sounds are inside, and the page forbids itself the network and every script but
its own. File names are the user's and are escaped. The page and its words are in ``templates``.
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
        render, folder=str(folder), detector=detector, threshold=threshold, rate=false_alarm or detector.config.false_alarm,
        scored=scored, failed=[r for r in results if r.reason], window=detector.config.width * HOP / SAMPLE_RATE,
        common=f"{folders.pop()}{os.sep}" if len(folders) == 1 else "",
    )  # fmt: skip
    shown, room = [], MAX_BYTES - len(page(shown=[]))
    for result in tqdm(scored[:max_drawn], desc="page", unit="file", disable=None):
        card = explained(detector, result, threshold)
        room -= len(card["png"]) + len(card["sound"]) + CARD
        if room < 0:
            break
        shown.append(card)
    return write(path, page(shown=shown))


def render(**values) -> str:
    """The page as ASCII text: whatever a file name holds, it can be written in any locale."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("asdkit.apps"), autoescape=True, undefined=StrictUndefined)
    script = pages.loader.get_source(pages, "page.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()  # no other script is run
    html = pages.get_template("page.html").render(version=__version__, script=script, digest=digest, **values)
    return html.encode("ascii", "xmlcharrefreplace").decode()


def explained(detector: Detector, result: FileResult, threshold: float | None) -> dict:
    """Explanation, picture, sound and warnings of one recording, read again."""
    card = dict(file=result.file, decision=result.decision, explanation="Not drawn.", png="", sound="")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            explanation = replace(detector.explain(result.file), threshold=threshold)
            heard, sound = hear(Path(result.file), detector.reading, explanation)
        except InputError as error:
            return card | {"messages": [str(error)]}
    png, axes = picture(explanation)
    card |= dict(png=base64.b64encode(png).decode(), sound=base64.b64encode(sound).decode(), axes=axes, heard=heard)
    return card | dict(explanation=explanation, messages=list(dict.fromkeys(str(w.message) for w in caught)))


def hear(path: Path, reading: Reading, explanation: Explanation) -> tuple[tuple[float, float], bytes]:
    """From where to where (s) a recording can be heard, and its near channel there as MP3, at full level."""
    import soundfile

    (start, end), peak, sound = explanation.span, explanation.peak, io.BytesIO()
    start = float(np.clip((peak.start + peak.end - MAX_HEARD_S) / 2, start, max(start, end - MAX_HEARD_S)))
    end = min(end, start + MAX_HEARD_S)
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
