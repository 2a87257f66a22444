"""Stored tables of an ablation and of the studies: read, and drawn as figures."""

import json
from pathlib import Path

import pandas as pd

from asdkit.recordings import InputError
from asdkit.recordings.files import write

COMMAND = "asdkit figures TABLES --out DIR, after asdkit ablate DATA --out DIR"
TEXT = dict.fromkeys(("variant", "reference", "fault", "level"), str)  # columns whose numbers are names


def read_tables(folder: str | Path) -> dict:
    """Every table of a folder, {name: DataFrame}, and "about": what they were made of. An InputError where there are none."""
    folder = Path(folder)
    if not (folder / "about.json").is_file() or not (folder / "differences.csv").is_file():
        raise InputError(f"{folder}: found no tables, expected those of an ablation; run `make ablate` first")
    paths = sorted(folder.glob("*.csv"))
    tables = {path.stem: pd.read_csv(path, dtype=TEXT, keep_default_na=False, na_values=[""]) for path in paths}
    about = json.loads((folder / "about.json").read_text())
    if (study := folder / "study.json").is_file():  # what the tables of `asdkit.experiments.study` are of
        about["bases"] |= json.loads(study.read_text())["bases"]
    return tables | {"about": about}


def draw_all(tables: dict, out: str | Path) -> list[str]:
    """Draw the figures that the tables suffice for as PNG and SVG, and write ``manifest.json``. Returns their names."""
    from asdkit import figures

    out, manifest, about = Path(out), {}, tables["about"]
    for name, table, base, draw in figures.all_figures(tables):
        figure = draw()
        if about["quick"]:
            figure.text(0.005, 0.995, "QUICK: not a result", color=figures.VERMILLION, fontsize=6, va="top")
        write(out / f"{name}.png", figures.png(figure))
        write(out / f"{name}.svg", figures.svg(figure))
        config = about["bases"].get(base)
        manifest[name] = dict(command=COMMAND, table=f"{table}.csv", base=base, config=config, seeds=about["seeds"])
    write(out / "manifest.json", json.dumps({"about": about, "figures": manifest}, indent=1) + "\n")
    return list(manifest)
