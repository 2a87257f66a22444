"""One self-contained HTML file per run: of scored recordings, and of a results folder.

Nothing is loaded from elsewhere: pictures are inside, and the page forbids itself the network. File names are the user's and
are escaped. The pages are in ``templates``.
"""

from __future__ import annotations

import base64
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from asdkit import __version__, figures
from asdkit.apps.verdicts import Model, Verdict
from asdkit.blocks import HOP
from asdkit.detector import Detector
from asdkit.experiments import results
from asdkit.experiments.parts import check_parts
from asdkit.explain import Explainer, fit_explainer, sentence
from asdkit.recordings import Machine, index_data
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


def write_run(path: str | Path, out: str | Path, data: str | Path) -> Path:
    """Report on a folder of `asdkit.experiments.runs.run`; its tables and figures are made anew from its parts.

    Parameters
    ----------
    path : path
        The HTML file, written whole or not at all.
    out : path
        The folder of the run.
    data : path
        The recordings it was run on: labels and domains are read from their names.

    Raises
    ------
    InputError
        When `out` holds no run, or one of other recordings.
    """
    out = Path(out)
    names = sorted(p.parent.name for p in out.glob("*/parts") if any(p.glob("*.json")))
    if not (out / "run.json").is_file() or not names:
        raise InputError(f"{out}: found no results, expected a folder written by `asdkit run`")
    machines = index_data(data, names)
    for machine in machines:
        check_parts(out, machine, {})
    table, differences = results.write_tables(out, machines)
    pictures = results.write_figures(out, machines, table)
    configs, quick = json.loads((out / "configs.json").read_text()), json.loads((out / "run.json").read_text())["quick"]
    first = next(iter(configs.values()))["config"]
    html = render(
        "run.html", title=f"Run {out.resolve().name}", quick=quick, about=run_facts(out, machines, table),
        results=text_table(results.summary_table(table, differences).rename_axis("system").reset_index()),
        differences=text_table(difference_cells(differences)), parts=text_table(metric_cells(table)),
        limits=limits(table, machines), requested=f"{100 * first['false_alarm']:g}" if first else "10",
        figures=[(p.stem, inline(p.read_bytes())) for p in pictures], systems=text_table(system_cells(configs)),
        config=json.dumps(first, indent=1) if first else "none",
    )  # fmt: skip
    write(path, html)
    return Path(path)


def run_facts(out: Path, machines: list[Machine], table: pd.DataFrame) -> list[tuple[str, str]]:
    """What was run on what."""
    clips = "; ".join(f"{m.name} {len(m.train)} / {len(m.test)}" for m in machines)
    return [
        ("run", str(out)),
        ("clips, training / test", clips),
        ("systems", ", ".join(table["system"].unique())),
        ("seeds", ", ".join(map(str, sorted(table["seed"].unique())))),
        ("computing", f"{table[table['machine'] != 'all']['seconds'].sum() / 60:.1f} minutes in all"),
    ]


def text_table(frame: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Column names and rows."""
    return [str(c) for c in frame.columns], frame.astype(str).to_numpy().tolist()


def difference_cells(differences: pd.DataFrame) -> pd.DataFrame:
    """Paired differences as text, the mean over machines in its column."""
    rows = differences.assign(cell=[results.cell(100 * d, 100 * lo, 100 * hi, "+") for d, lo, hi in _bounds(differences)])
    rows["comparison"] = rows["reference"] + " minus " + rows["system"]
    wide = rows.pivot(index="comparison", columns="machine", values="cell")
    return wide.loc[rows["comparison"].unique(), rows["machine"].unique()].fillna("").reset_index()


def _bounds(differences):
    return differences[["difference", "lo", "hi"]].itertuples(index=False)


def metric_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Parts of the metric and the false-alarm rate, x100, mean over seeds."""
    columns = ["auc_source", "auc_target", "pauc", "omega", "false_alarm"]
    mean = 100 * table.groupby(["machine", "system"], sort=False)[columns].mean()
    return mean.map(lambda x: "" if np.isnan(x) else f"{x:.1f}").reset_index()


def system_cells(configs: dict) -> pd.DataFrame:
    """Each system's hash and where its options differ from the first one's."""
    first, rows = next(iter(configs.values()))["config"], []
    for name, entry in configs.items():
        config = entry["config"]
        changed = {k: v for k, v in (config or {}).items() if first and v != first[k]}
        rows.append((name, entry["hash"], ", ".join(f"{k} = {v}" for k, v in changed.items())))
    return pd.DataFrame(rows, columns=["system", "hash", "differs in"])


def limits(table: pd.DataFrame, machines: list[Machine]) -> list[str]:
    """What keeps these numbers from saying more than they do."""
    n_seeds, n_test = table["seed"].nunique(), {m.name: len({c.recording for c in m.test}) for m in machines}
    few = ", ".join(f"{n} recordings of {name}" for name, n in n_test.items())
    seeds = "One seed: training again may move each number by some points." if n_seeds == 1 else f"Mean over {n_seeds} seeds."
    return [
        f"Test sets are small ({few}), and intervals over them are wide. They do not cover other machines of the kind.",
        seeds + " The interval of a machine is the mean of its seeds' intervals.",
        "Where the configuration, or which system to quote, was chosen on these test clips, the numbers are optimistic.",
        "A threshold promises its false-alarm rate for recordings like the training ones; elsewhere it does not hold.",
        "A difference between systems is a finding about these implementations under these budgets.",
    ]
