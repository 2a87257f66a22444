"""Which figures the stored tables of an ablation and of the studies suffice for; `tables` is {name: DataFrame}."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pandas as pd
from matplotlib.figure import Figure

from asdkit.figures import differences, study, trap

GALLERY = (  # the figures that carry the story; the rest is drawn on demand
    "forest",
    "alpha",
    "trap",
    "trap-training",
    "embedding-pca",
    "machines",
    "autoencoder",
    "noise",
    "clips",
    "alarms",
    "speed",
)


def in_gallery(name: str) -> bool:
    """Whether a figure, such as "asdkit-alpha", is one of `GALLERY`; of the base "report" only the forest is."""
    base, _, what = name.partition("-")
    return what in GALLERY and (base != "report" or what == "forest")


def all_figures(tables: dict) -> Iterator[tuple[str, str, str, Callable[[], Figure]]]:
    """Name, table, base and drawing function of every figure."""
    for base, rows in tables["differences"].groupby("base", sort=False):
        if rows["family"].nunique() > 1 and rows["value"].notna().any():
            yield f"{base}-forest", "differences", base, partial(differences.forest, rows, base)
    for (base, family), rows in tables["differences"].groupby(["base", "family"], sort=False):
        is_number = differences.FAMILIES.get(family, ("", ""))[1]
        draw = differences.differences_curve if is_number else differences.differences_dots
        if rows["value"].notna().any():
            yield f"{base}-{family}", "differences", base, partial(draw, rows, family, base)
    if "trap-sensitivity" in tables:
        base = tables["trap-sensitivity"]["base"].iloc[0]  # the mechanism is of single embeddings: the same in every base
        yield from ((f"{base}-{name}", table, base, draw) for name, table, draw in trap_figures(tables, base))
    for method, rows in tables["embedding"].groupby("method", sort=False) if "embedding" in tables else ():
        base = rows["base"].iloc[0]
        yield f"{base}-embedding-{method}", "embedding", base, partial(trap.embedding_map, rows)
    for family in ("machines", "autoencoder"):
        if "study" in tables and len(rows := tables["study"].query("family == @family")):
            yield f"study-{family}", "study", "study", partial(differences.differences_dots, rows, family, "study")
    yield from ((name, table, "study", draw) for name, table, draw in study_figures(tables))


def trap_figures(tables: dict, base: str) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Name, table and drawing function of every figure of the invariance trap for one base."""
    names = ("trap-sensitivity", "trap-curves", "differences")
    mine = {n: t[(t["base"] == base) & (t["family"] == "objective")] for n in names if (t := tables.get(n)) is not None}
    if len(mine) < len(names) or mine["trap-sensitivity"].empty:
        return
    moved = mine["trap-sensitivity"]
    yield "trap", names[0], partial(trap.trap_scatter, moved, mine["differences"])
    yield "trap-training", names[1], partial(trap.trap_training, mine["trap-curves"])
    for machine, rows in moved.groupby("machine", sort=False):
        yield f"trap-faults-{machine}", names[0], partial(trap.trap_faults, rows, machine)


def study_figures(tables: dict) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Name, table and drawing function of every figure of the studies that are there."""
    rows = tables.get("study", pd.DataFrame({"family": []}))
    for name in (name for name in study.AXES if name in set(rows["family"])):
        yield f"study-{name}", "study", partial(study.levels, rows[rows["family"] == name], name)
    if "alarms" in tables:
        yield "study-alarms", "alarms", partial(study.alarms, tables["alarms"])
    if "speed" in tables:
        yield "study-speed", "speed", partial(study.speed, tables["speed"])
