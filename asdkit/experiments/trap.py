"""The mechanism of the invariance trap on simulated machines, objective by objective, in parts that are computed once.

A part is one machine, embedding and seed, whatever scores the embedding. Of the rows of an ablation's family "objective" it
holds how far each counterfactual twin moves before and after training, curves over training, shares of variance, and the
linear probe; of "conditioning-msm" how far twins move in the conditioned embedding. The tables are read from the parts.

Legend
------
sensitivity, nuisance, twins : as in `asdkit.experiments.sensitivity`. variant : of the ablation's family.
ratio : sensitivity over that of a reference; 1 where both are alike. Means over seeds and machines are geometric.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from asdkit.blocks import FrontEnd, network_seed
from asdkit.config import Config, part_hash
from asdkit.detector import fit
from asdkit.experiments import runs
from asdkit.experiments import sensitivity as measure
from asdkit.experiments.ablation import ROUND, simulation
from asdkit.experiments.families import Row
from asdkit.experiments.results import estimate
from asdkit.fitting import Fitting, Memo
from asdkit.recordings import Machine
from asdkit.recordings.files import write

SPAN = 5  # steps on either side over which a loss is averaged
REFERENCES = ("start", "untrained", "msm")  # of an objective: itself before training, the untrained twin, the MSM
N_BOOT = 1000


def embedding_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows whose embedding is measured: objectives and log-mel statistics, and the conditioned embeddings."""
    return [r for r in rows if r.family == "conditioning-msm" or (r.family == "objective" and not _is_residual(r.config))]


def _is_residual(config: Config) -> bool:
    return config.blocks == ("msm-residual",)


def run(machines: list[Machine], out: Path, rows, seeds=(0, 1, 2), n_scenes=12, n_points=6, jobs=1) -> dict[tuple, dict]:
    """Measure every embedding of every simulated machine; what `out` holds is not computed again.

    Returns
    -------
    parts : dict
        (machine, hash of the embedding, family, seed) -> part.
    """
    simulated = [m for m in machines if simulation(m)]
    wanted = {(r.family, part_hash(r.config, "embedding")): r.config for r in embedding_rows(rows)}
    tasks = [(m, runs.other_clips(m, machines), wanted, sorted(seeds), n_scenes, n_points, Path(out)) for m in simulated]
    found = Parallel(n_jobs=jobs, return_as="generator")(delayed(_machine)(*task) for task in tasks)
    bar = tqdm(found, "mechanism, by machine", len(tasks), disable=not tasks)
    return {(m.name, *key): part for m, parts in zip(simulated, bar) for key, part in parts.items()}


def _machine(machine, others, wanted, seeds, n_scenes, n_points, out) -> dict:
    """All parts of one machine; its twins are rendered when the first part is missing."""
    memo, parts = Memo(), {}
    torch.set_num_threads(next((c.threads for c in wanted.values()), 1))
    for seed in seeds:
        for (family, name), config in wanted.items():
            settings = [family, name, seed, n_scenes, n_points, runs.fingerprint(machine)]
            settings.append(runs.others_fingerprint(config, others))
            path = out / machine.name / f"{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}.json"
            if not path.exists():
                twins = memo(("spectra", "twins"), lambda c=config: _twins(machine, n_scenes, c))
                how = _objective if family == "objective" else _conditioned
                write(path, json.dumps(how(machine, config, seed, memo, others, twins, n_points)))
            parts[name, family, seed] = json.loads(path.read_text())
        memo.forget_all_but("spectra")
    return parts


def _twins(machine, n_scenes, config):
    made = simulation(machine)
    told = {name: made[name] for name in ("seconds", "seed", "snr", "loudspeakers", "far_distance") if name in made}
    return measure.render_counterfactuals(machine.folder.name, n_scenes, penalty=config.ridge_penalty, **told)


def _objective(machine, config: Config, seed: int, memo: Memo, others, twins, n_points: int) -> dict:
    """One objective: the network that a fit trains."""
    if config.blocks == ("logmel",):
        losses, embeddings = [], {0: measure.embed(twins, measure.describe_front(FrontEnd(config, {}, None, None), "logmel"))}
    else:
        fitting = Fitting(tuple(sorted(machine.train, key=lambda c: c.path)), config, seed, memo, (), others=others)
        scalers, examples = fitting.examples()
        own_seed = network_seed(seed)
        losses, embeddings = measure.embeddings_over_training(examples, scalers, config, twins, own_seed, n_points)
    moved = {step: measure.displacements(twins.twins, z) for step, z in embeddings.items()}
    last = embeddings[max(embeddings)]
    return dict(
        curve=[
            dict(step=step, loss=measure.loss_around(losses, step, SPAN), moved=rounded_columns(table))
            for step, table in moved.items()
        ],
        shares=measure.variance_shares(twins.twins, last).to_dict("list"),
        probe=measure.linear_probe(twins.twins, last).to_dict("list"),
    )


def _conditioned(machine, config: Config, seed: int, memo: Memo, others, twins, n_points: int) -> dict:
    """The embedding as the kNN sees it: z-scored by training clips, then conditioned."""
    detector = fit(machine.train, config, seed, memo, (), decide=False, others=others)
    z = measure.embed(twins, measure.describe_detector(detector), standardise=False)
    return dict(curve=[dict(step=config.steps, loss=None, moved=rounded_columns(measure.displacements(twins.twins, z)))])


def rounded_columns(table: pd.DataFrame) -> dict:
    """Columns as they are stored."""
    return table.assign(displacement=table["displacement"].round(6)).to_dict("list")


# tables


def tables(parts: dict[tuple, dict], rows: Sequence[Row], seeds=(0, 1, 2)) -> dict[str, pd.DataFrame]:
    """``trap-sensitivity``, ``trap-curves``, ``trap-shares``, ``trap-probe`` and ``trap-ratios``."""
    machines = list(dict.fromkeys(key[0] for key in parts))
    asked = [(row, m, seed) for row in embedding_rows(rows) for m in machines for seed in sorted(seeds)]
    told = {name: [] for name in ("sensitivity", "curves", "shares", "probe")}
    for row, machine, seed in asked:
        part = parts[machine, part_hash(row.config, "embedding"), row.family, seed]
        head = dict(base=row.base, family=row.family, machine=machine.split("-", 1)[1], variant=row.variant, seed=seed)
        curve = [(m["step"], m["loss"], _sensitivity(m["moved"], machine)) for m in part["curve"]]
        told["sensitivity"].append(_headed(head, curve[-1][2]))
        told["curves"] += [_headed(head | dict(step=n, loss=loss), s[s["fault"] == "all"]) for n, loss, s in curve]
        told["shares"] += [_headed(head, pd.DataFrame(part["shares"]))] if "shares" in part else []
        told["probe"] += [_headed(head, pd.DataFrame(part["probe"]))] if "probe" in part else []
    found = {f"trap-{name}": pd.concat(frames, ignore_index=True).round(ROUND) for name, frames in told.items() if frames}
    return found | ({"trap-ratios": ratios(parts, rows, machines, seeds)} if found else {})


def _sensitivity(moved: dict, machine: str) -> pd.DataFrame:
    return measure.sensitivity(pd.DataFrame(moved), N_BOOT, crc32(machine.encode()))


def _headed(head: dict, table: pd.DataFrame) -> pd.DataFrame:
    """The table with constant columns before its own."""
    return pd.DataFrame({**{name: [value] * len(table) for name, value in head.items()}, **table.reset_index(drop=True)})


def ratios(parts: dict[tuple, dict], rows: Sequence[Row], machines: Sequence[str], seeds=(0, 1, 2)) -> pd.DataFrame:
    """Sensitivity to all faults over that of a reference, paired by scene: per machine, and the mean over machines.

    References: of an objective its own network before training ("start"), the untrained twin and the MSM; of a conditioned
    embedding the one that is not ("none").
    """
    names, found = {(r.base, r.family, r.variant): part_hash(r.config, "embedding") for r in rows}, []

    @cache
    def logs(machine, name, family, moment, nuisance):
        return _mean_log([parts[machine, name, family, seed] for seed in seeds], machine, moment, nuisance)

    for row in embedding_rows(rows):
        for reference in ("none",) if row.family == "conditioning-msm" else REFERENCES:
            below = names.get((row.base, row.family, row.variant if reference == "start" else reference))
            for nuisance in measure.NUISANCES if below else ():
                moment = 0 if reference == "start" else -1
                told = {m: [(names[row[:3]], row.family, -1), (below, row.family, moment)] for m in machines}
                told = {m: np.subtract(*(logs(m, *key, nuisance) for key in keys)) for m, keys in told.items()}
                told["simulated-mean"] = np.mean(list(told.values()), axis=0)
                head = (row.base, row.family, row.variant, reference, nuisance, len(seeds))
                found += [(*head, m.split("-", 1)[1], *map(float, np.exp(estimate(x)))) for m, x in told.items()]
    columns = ["base", "family", "variant", "reference", "nuisance", "seeds", "machine", "ratio", "lo", "hi"]
    return pd.DataFrame(found, columns=columns).round(ROUND)


def _mean_log(parts: list[dict], machine: str, moment: int, nuisance: str) -> np.ndarray:
    """Logarithm of the sensitivity to all faults at one moment, mean over seeds: the estimate and its resamples."""
    moved = [pd.DataFrame(part["curve"][moment]["moved"]) for part in parts]
    sampled = [measure.sensitivity_samples(t, N_BOOT, crc32(machine.encode())) for t in moved]
    return np.mean([next(np.log(v) for k, v in s.items() if k[:2] == (nuisance, "all")) for s in sampled], axis=0)
