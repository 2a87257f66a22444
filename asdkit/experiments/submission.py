"""From a run to the folder that the challenge takes (see `asdkit.recordings.challenge`). Nothing is uploaded.

Machines whose test clips have no labels are submitted; those with labels give the form's results on development data.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

from asdkit import metrics
from asdkit.blocks import BLOCKS
from asdkit.config import Config
from asdkit.experiments.results import read_results
from asdkit.objectives import POOLED
from asdkit.recordings import InputError, parse_name
from asdkit.recordings.challenge import DATASETS, METRICS, blank_form, fill_form, free_folder, read_form, write_submission
from asdkit.space import conditions_embedding


def submit(
    run: str | Path, label: str, out: str | Path, system: str = "asdkit", seed: int = 0, meta: str | Path | None = None
) -> Path:
    """Write one system of a run as a submission, whole or not at all; return its folder.

    Parameters
    ----------
    run : path
        Output folder of `asdkit.experiments.runs.run`.
    label, out : str, path
        ``<last name>_<institute>_task2_<1 to 4>``, and where the folder of that name is made; it must not be there.
    system, seed : str, int
        Which results of the run.
    meta : path, optional
        YAML or JSON with fields that replace those of the form, in its structure.

    Raises
    ------
    InputError
        A label outside the grammar, a run without these results or without unlabelled test clips, scores or decisions that are
        missing, or an unreadable `meta`.
    """
    free_folder(out, label)
    run, values = Path(run), read_form(meta) if meta else {}
    results = _read_run(run, system, seed)
    submitted = {machine: r for machine, r in results.items() if None in _labels(r)}
    if not submitted:
        machines = ", ".join(DATASETS["evaluation"].archives)
        raise InputError(f"{run}: found no machine with unlabelled test clips, expected {machines}")
    first = next(iter(submitted))
    config, n_parameters = submitted[first]["config"], _count_parameters(run / first / "models" / f"{system}-{seed}")
    described = describe(Config.from_dict(config)) if config else BASELINE
    about = dict(input_sampling_rate="16 kHz", ensemble_method_subsystem_count=1) | described
    complexity = {} if n_parameters is None else dict(total_parameters=n_parameters)
    known = dict(
        submission=dict(name=f"asdkit, {system}", abbreviation=system[:10]),
        system=dict(description=about, complexity=complexity),
        results=dict(development_dataset=_development_results(results)),
    )
    scores, decisions = ({m: dict(zip(r["files"], r[key])) for m, r in submitted.items()} for key in ("scores", "decisions"))
    return write_submission(out, label, scores, decisions, fill_form(fill_form(blank_form(label), known), values))


def _read_run(run: Path, system: str, seed: int) -> dict[str, dict]:
    """{machine: result} of one system and seed, all of one configuration."""
    try:
        results, quick = read_results(run), '"quick": true' in (run / "run.json").read_text()
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{run}: not readable as a run ({error!r}); expected an output folder of `asdkit run`") from None
    chosen = {m: result for (m, s, n), result in results.items() if (s, n) == (system, seed)}
    if not chosen:
        there = ", ".join(dict.fromkeys(f"{s} seed {n}" for _, s, n in results)) or "no results"
        raise InputError(f"{run}: found {there}; expected an output folder of `asdkit run` with {system} seed {seed}")
    if len({result["config_hash"] for result in chosen.values()}) > 1:
        raise InputError(f"{run}: found several configurations of {system}, expected one for all machines")
    if quick:
        warnings.warn(f"{run}: a quick run; its scores are not a result", stacklevel=3)
    return chosen


def _labels(result: dict) -> list[int | None]:
    return [parse_name(name).label for name in result["files"]]


def _development_results(results: dict) -> dict:
    """Official metrics in percent, of every machine whose test clips are labelled."""
    development = {}
    for machine, result in results.items():
        if set(labels := _labels(result)) == {0, 1}:
            values = metrics.evaluate(result["scores"], labels, [parse_name(name).domain for name in result["files"]])
            development[machine] = {name: round(100 * float(values[name]), 2) for name in METRICS}
    return development


def _count_parameters(model: Path) -> int | None:
    """Weights and biases of the networks of a stored model."""
    from safetensors import safe_open

    if not (model / "tensors.safetensors").is_file():
        return None
    with safe_open(model / "tensors.safetensors", "numpy") as tensors:
        shapes = [tensors.get_slice(name).get_shape() for name in tensors.keys() if name.endswith((".weight", ".bias"))]
    return sum(map(math.prod, shapes))


BASELINE = dict(
    acoustic_features="log-mel energies", machine_learning_method="autoencoder (official baseline)",
    aggregation_method="mean", decision_making="0.9 quantile of a gamma distribution fitted to training scores",
)  # fmt: skip


def describe(config: Config) -> dict:
    """A configuration in the words of the form."""
    networks, embedded = any(BLOCKS[b].learned == "encoder" for b in config.blocks), conditions_embedding(config)
    cancelled = config.conditioning == "input" and config.alpha > 0 and any("alpha" in BLOCKS[b].options for b in config.blocks)
    hears_far = cancelled or embedded or any(BLOCKS[b].far for b in config.blocks)
    whitened = ", distances whitened by the variation of normal recordings" * config.whiten
    knn = f"k-nearest neighbours ({config.backend}){whitened}"
    encoder = f"convolutional encoder trained from scratch ({config.objective})"
    pooled = networks and config.objective in POOLED
    far = f"; removal of {config.rank} near directions that the far microphone shares (alpha {config.alpha:g})"
    share = f" ({config.top:.0%})" if config.aggregate == "top" else ""
    how = "mean of window descriptors" if config.aggregate == "pooled" else f"{config.aggregate} of window scores{share}"
    return dict(
        front_end=("far cancelled from near" if cancelled else "far microphone as reference") if hears_far else None,
        acoustic_features="; ".join(dict.fromkeys(BLOCKS[block].words for block in config.blocks)),
        embeddings=encoder if networks else None,
        machine_learning_method=f"{encoder}; {knn}" if networks else knn,
        aggregation_method=how,
        domain_generalization_method=knn + far * embedded,
        ensemble_method_subsystem_count=1,
        decision_making=f"threshold for {config.false_alarm:.0%} false alarms, from held-out normal recordings",
        attribute_usage="classes of the training clips" if pooled else None,
        development_data_usage="training clips of all machines of the run" if pooled else None,
    )
