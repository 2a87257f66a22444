"""One self-contained HTML file about scored recordings.

Nothing is loaded from elsewhere: pictures are inside, and the page forbids itself the network. File names are the user's and
are escaped. The page is in ``templates``.
"""

from __future__ import annotations

import base64
import warnings
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from asdkit import __version__, figures
from asdkit.blocks import HOP
from asdkit.detector import Detector, FileResult
from asdkit.recordings import SAMPLE_RATE, InputError, Reading
from asdkit.recordings.files import write

MAX_DRAWN = 12  # recordings with a picture
DECISIONS = {1: "anomaly", 0: "normal", None: "none"}


def write_page(
    path: str | Path, folder: str | Path, detector: Detector, results: list[FileResult], max_drawn: int = MAX_DRAWN
) -> Path:
    """Report on a detector's results, whole or not at all: the model, all scores, and an explanation of the highest.

    Parameters
    ----------
    path, folder : path
        The HTML file, and where the detector was loaded from.
    max_drawn : int
        Recordings with a picture; they are read again. The rest is in the table only, and the page says how many. A recording
        without a score is listed with its reason.
    """
    scored = sorted((r for r in results if not r.reason), key=lambda r: -r.score)
    shown = [explained(detector, r.file) for r in tqdm(scored[:max_drawn], desc="page", unit="file", disable=None)]
    html = render(
        "scores.html", title="Scored recordings", model=model_facts(folder, detector), scored=scored, decisions=DECISIONS,
        failed=[r for r in results if r.reason], count=count(scored, len(results)), cut=len(scored) - len(shown),
        shown=shown, window=detector.config.width * HOP / SAMPLE_RATE,
    )  # fmt: skip
    return write(path, html)


def render(template: str, **values) -> str:
    """A page as ASCII text: whatever a file name holds, it can be written in any locale."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("asdkit.apps"), autoescape=True, undefined=StrictUndefined)
    html = pages.get_template(template).render(version=__version__, **values)
    return html.encode("ascii", "xmlcharrefreplace").decode()


def model_facts(folder: str | Path, detector: Detector) -> list[tuple[str, str]]:
    """What a reader needs to know of a model."""
    config, about = detector.config, detector.about
    clips = f"{about['clips']} clips, " if "clips" in about else ""
    recordings = len(np.unique(detector.scorer.bank.recordings))
    return [
        ("model", str(folder)),
        ("learned from", f"{clips}{recordings} recordings of the healthy machine"),
        ("microphones", microphones(detector.reading)),
        ("blocks", ", ".join(config.blocks)),
        ("threshold", promise(detector)),
        ("configuration", f"{config.hash()}, seed {detector.seed}, asdkit {__version__}"),
    ]


def microphones(reading: Reading) -> str:
    """How recordings are read, in words."""
    if reading.near_only:
        return "near only"
    return "near and far, pairs of mono files" if reading.pairs else "near and far, two channels of a file"


def promise(detector: Detector) -> str:
    """The threshold and the false-alarm rate it stands for."""
    if (threshold := detector.decision_threshold()) is None:
        return "none: too few healthy recordings to promise a false-alarm rate"
    rate = f"{100 * detector.config.false_alarm:g} %"
    return f"{threshold:.3f}; of healthy recordings like those it learned from, at most {rate} are expected above it"


def count(scored: list[FileResult], n_files: int) -> str:
    """How many there are of what."""
    alarms = sum(r.decision == 1 for r in scored)
    text = f"{n_files} recordings, {alarms} above the threshold"
    return text + (f", {n_files - len(scored)} could not be scored." if len(scored) < n_files else ".")


def explained(detector: Detector, file: str | Path) -> dict:
    """Sentence, picture and warnings of one recording, read again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            explanation = detector.explain(file)
        except InputError as error:
            return {"file": file, "sentence": "Not drawn.", "png": "", "messages": [str(error)]}
    messages = list(dict.fromkeys(str(w.message) for w in caught))
    picture = base64.b64encode(figures.png(explanation.plot())).decode()
    return {"file": file, "sentence": str(explanation), "png": picture, "messages": messages}
