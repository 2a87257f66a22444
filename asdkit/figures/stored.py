"""Which figures the stored tables of an ablation and of the studies suffice for; `tables` is {name: DataFrame}."""

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.figure import Figure

from asdkit.figures import differences, study, trap


def all_figures(tables: dict) -> Iterator[tuple[str, str, str, Callable[[], Figure]]]:
    """Name, table, base and drawing function of every figure; of the base "report" the forest alone."""
    for base, rows in tables["differences"].groupby("base", sort=False):
        if rows["value"].notna().any():
            yield f"{base}-forest", "differences", base, partial(differences.forest, rows, base)
        if base != "report" and (rows := rows[rows["family"] == "alpha"])["value"].notna().any():
            yield f"{base}-alpha", "differences", base, partial(differences.alpha_curve, rows, base)
    if "trap-sensitivity" in tables:
        base = tables["trap-sensitivity"]["base"].iloc[0]  # the mechanism is of single embeddings: the same in every base
        yield from ((f"{base}-{name}", table, base, draw) for name, table, draw in trap_figures(tables, base))
    if "embedding" in tables:
        rows = tables["embedding"].query("method == 'pca'")
        yield f"{(base := rows['base'].iloc[0])}-embedding-pca", "embedding", base, partial(trap.embedding_map, rows)
    families = dict(iter(tables["study"].groupby("family"))) if "study" in tables else {}
    for family in (f for f in ("machines", "autoencoder", *study.AXES) if f in families):
        drawn = (study.levels, family) if family in study.AXES else (differences.forest, "study")
        yield f"study-{family}", "study", "study", partial(drawn[0], families[family], drawn[1])
    for name, draw in (("alarms", study.alarms), ("speed", study.speed)):
        if name in tables:
            yield f"study-{name}", name, "study", partial(draw, tables[name])


def trap_figures(tables: dict, base: str) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    """Name, table and drawing function of the figures of the invariance trap over all machines, for one base."""
    names = ("trap-sensitivity", "trap-curves", "differences")
    mine = [t[(t["base"] == base) & (t["family"] == "objective")] for n in names if (t := tables.get(n)) is not None]
    if len(mine) == len(names) and len(mine[0]):
        yield "trap", names[0], partial(trap.trap_scatter, mine[0], mine[2])
        yield "trap-training", names[1], partial(trap.trap_training, mine[1])
