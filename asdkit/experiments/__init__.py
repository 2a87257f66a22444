"""Experiments: many machines, systems and seeds, and what their tables say of the method and of the report's claims.

`runs` scores named `systems` and `results` makes tables of them, on processes or a cluster (`parallel`); `baseline` is the
official autoencoder. `ablation` runs the variants of `families` and measures the `trap` with the twins of `sensitivity`;
`study` runs new machines and noise; `claims` judges the tables. `tuning` chooses alpha through the closed form of `sweep`.
`lessons` and `nuisance` are what the notebooks share.
"""

import importlib

_PUBLIC = {
    "run": "runs", "run_systems": "runs", "systems": "systems", "choose_systems": "systems", "Evaluation": "results",
    "read_results": "results", "results_table": "results", "differences_table": "results", "write_tables": "results",
    "write_figures": "results", "summary": "results", "ablate": "ablation", "gather": "ablation", "families": "families",
    "plan": "families", "tune": "tuning", "choose": "tuning", "write_choice": "tuning", "Grid": "tuning",
    "claims_table": "claims", "goals_table": "claims", "machine": "lessons", "machines": "lessons", "truth": "lessons",
    "stored_tables": "lessons", "token_tables": "lessons", "score_systems": "lessons", "compare": "lessons",
    "by_fault": "lessons",
}  # fmt: skip
__all__ = [*_PUBLIC]


def __getattr__(name):
    """Load a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'asdkit.experiments' has no attribute {name!r}")
    return getattr(importlib.import_module(f"asdkit.experiments.{_PUBLIC[name]}"), name)


def __dir__():
    return sorted(__all__)
