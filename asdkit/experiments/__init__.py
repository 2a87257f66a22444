"""Experiments: many machines, systems and seeds, and what their tables say of the method and of the report's claims.

`runs` scores the systems of `families`, on processes or a cluster (`parallel`); `results` makes tables of the scores, with
labels of the challenge's `ground_truth`; `baseline` is the official autoencoder. `ablation` scores variants and measures the
`trap` with the twins of `sensitivity`, `study` new machines and noise; `claims` judges their tables. `tuning` chooses alpha;
`lessons` is what the notebooks share.
"""

from asdkit.public import on_first_use

_NAMES = {  # by module
    "runs": "run run_systems evaluate score_machine",
    "cache": "Cache CachedDescriber",
    "tables": "read_tables",
    "submission": "submit check_submission",
    "families": "systems choose_systems plan",
    "results": "Evaluation read_results results_table differences_table write_tables write_figures summary",
    "ground_truth": "find_truth with_truth",
    "ablation": "ablate gather",
    "claims": "claims_table goals_table write_claims",
    "study": "write_goals",
    "tuning": "tune tune_systems choose write_choice development Grid MachineGrid ALPHAS position",
    "lessons": "machine home machines truth resolve stored_tables token_tables score_systems compare in_words taken_away "
    "explained",
    "maps": "principal_axes umap",
}
_PUBLIC = {name: module for module, names in _NAMES.items() for name in names.split()}
__all__ = [*_PUBLIC]
__getattr__, __dir__ = on_first_use(__name__, _PUBLIC)
