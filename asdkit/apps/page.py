"""One self-contained HTML file: what was scored, and an explanation of the most anomalous recordings.

Nothing is loaded from elsewhere: pictures are inside, and the page forbids itself the network. File names are the user's and
are escaped. The page is in ``templates``.
"""

from __future__ import annotations

import base64
import json
import warnings
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from asdkit import __version__, figures
from asdkit.apps.verdicts import Model, Verdict
from asdkit.blocks import HOP
from asdkit.detector import Detector
from asdkit.explain import Explainer, fit_explainer, sentence
from asdkit.recordings.files import write
from asdkit.recordings.reading import SAMPLE_RATE, InputError, Reading

MAX_DRAWN = 12  # recordings with a picture
DECISIONS = {1: "anomaly", 0: "normal", None: "none"}


def write_scores(
    path: str | Path, folder: str | Path, model: Model, verdicts: list[Verdict], max_drawn: int = MAX_DRAWN
) -> Path:
    """Report on scored recordings: the model, all scores, and an explanation of the highest.

    Parameters
    ----------
    path : path
        The HTML file, written whole or not at all.
    folder : path
        Where `model` was loaded from.
    model : asdkit.apps.verdicts.Model
    verdicts : list of asdkit.apps.verdicts.Verdict
        Of `model`; a recording without a score is listed with its error.
    max_drawn : int
        Recordings with a picture; they are read again. The rest is in the table only, and the report says how many.
    """
    scored = sorted((v for v in verdicts if not v.error), key=lambda v: -v.score)
    explainer, window = fit_explainer(model.detector) if scored else None, model.detector.config.width * HOP / SAMPLE_RATE
    shown = [explained(explainer, model, v.file) for v in tqdm(scored[:max_drawn], desc="report", unit="file", disable=None)]
    html = render(
        "scores.html", title="Scored recordings", model=model_facts(folder, model), scored=scored, decisions=DECISIONS,
        failed=[v for v in verdicts if v.error], count=count(scored, len(verdicts)), cut=len(scored) - len(shown),
        shown=shown, window=window,
    )  # fmt: skip
    write(path, html)
    return Path(path)


def render(template: str, **values) -> str:
    """A page as ASCII text: whatever a file name holds, it can be written in any locale."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(loader=PackageLoader("asdkit.apps"), autoescape=True, undefined=StrictUndefined)
    html = pages.get_template(template).render(version=__version__, **values)
    return html.encode("ascii", "xmlcharrefreplace").decode()


def model_facts(folder: str | Path, model: Model) -> list[tuple[str, str]]:
    """What a reader needs to know of a model."""
    detector, head = model.detector, json.loads((Path(folder) / "model.json").read_text())
    config, training = detector.config, head.get("training", {})
    learned = [f"{training['clips']} clips"] if "clips" in training else []
    if detector.spaces:
        bank = next(iter(detector.spaces.values()))
        learned += [f"{len(np.unique(bank.recordings))} recordings", f"{len(bank.bank)} windows"]
    return [
        ("model", str(folder)),
        ("learned from", ", ".join(learned) + " of the healthy machine" if learned else "unknown"),
        ("microphones", microphones(model.reading)),
        ("blocks", f"{', '.join(config.blocks)}; fusion: {config.fusion}"),
        ("threshold", promise(detector)),
        ("configuration", f"{config.hash()}, seed {detector.seed}, asdkit {head.get('asdkit')}"),
    ]


def microphones(reading: Reading) -> str:
    """How recordings are read, in words."""
    if reading.near_only:
        return "near only"
    return "near and far, pairs of mono files" if reading.pairs else "near and far, two channels of a file"


def promise(detector: Detector) -> str:
    """The threshold and the false-alarm rate it stands for."""
    if detector.threshold is None:
        return "none: too few healthy recordings to promise a false-alarm rate"
    rate = f"{100 * detector.config.false_alarm:g} %"
    return f"{detector.threshold:.3f}; of healthy recordings like those it learned from, at most {rate} are expected above it"


def count(scored: list[Verdict], n_files: int) -> str:
    """How many there are of what."""
    alarms = sum(v.decision == 1 for v in scored)
    text = f"{n_files} recordings, {alarms} above the threshold"
    return text + (f", {n_files - len(scored)} could not be scored." if len(scored) < n_files else ".")


def explained(explainer: Explainer, model: Model, file: Path) -> dict:
    """Sentence, picture and warnings of one recording, read again."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            parts = list(model.spectra(file))
        except InputError as error:
            return {"file": file, "sentence": "Not drawn.", "png": "", "messages": [str(error)]}
    explanation = explainer(parts)
    messages = list(dict.fromkeys(str(w.message) for w in caught))
    png = inline(figures.png(figures.anomaly_panels(explanation)))
    return {"file": file, "sentence": sentence(explanation), "png": png, "messages": messages}


def inline(png: bytes) -> str:
    """Base64, for a data URI."""
    return base64.b64encode(png).decode()
