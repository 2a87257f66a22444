"""Experiments: many machines, systems and seeds, and what their tables say of the method and of the report's claims.

`runs` scores the systems of `families`, on processes or a cluster (`parallel`); `results` makes tables of the scores, with
labels of the challenge's `ground_truth`; `baseline` is the official autoencoder. `ablation` scores variants and measures the
`trap` with the twins of `sensitivity`, `study` new machines and noise; `claims` judges their tables. `tuning` chooses alpha;
`lessons` and `nuisance` are what the notebooks share.
"""

from asdkit.public import on_first_use

_PUBLIC = {
    "run": "runs", "run_systems": "runs", "evaluate": "runs", "score_machine": "runs", "Cache": "cache",
    "CachedDescriber": "cache", "read_tables": "tables", "submit": "submission", "check_submission": "submission",
    "systems": "families", "choose_systems": "families", "plan": "families",
    "Evaluation": "results", "read_results": "results", "results_table": "results", "differences_table": "results",
    "write_tables": "results", "write_figures": "results", "summary": "results",
    "find_truth": "ground_truth", "with_truth": "ground_truth", "ablate": "ablation", "gather": "ablation",
    "claims_table": "claims", "goals_table": "claims", "write_claims": "claims", "write_goals": "study", "tune": "tuning",
    "tune_systems": "tuning",
    "choose": "tuning", "write_choice": "tuning", "development": "tuning", "Grid": "tuning", "MachineGrid": "tuning",
    "ALPHAS": "tuning", "RULES": "tuning", "position": "tuning", "machine": "lessons", "home": "lessons",
    "machines": "lessons", "truth": "lessons", "resolve": "lessons", "stored_tables": "lessons",
    "token_tables": "lessons", "score_systems": "lessons", "compare": "lessons",
    "in_words": "lessons", "taken_away": "lessons",
    "embed_pairs": "nuisance", "null_strengths": "nuisance", "NULLS": "nuisance", "clip_means": "nuisance",
    "explained": "nuisance", "explained_in_all": "nuisance",
}  # fmt: skip
__all__ = [*_PUBLIC]
__getattr__, __dir__ = on_first_use(__name__, _PUBLIC)
