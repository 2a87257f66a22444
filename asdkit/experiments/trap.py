"""The mechanism of the invariance trap on simulated machines, objective by objective, in results that are computed once.

A result is one machine, embedding and seed of an ablation's family "objective": how far each counterfactual twin moves before,
during and after training, and the linear probe.

sensitivity, nuisance, twins : as in `asdkit.experiments.sensitivity`. variant : of the ablation's family.
ratio : sensitivity over that of a reference; 1 where both are alike. Means over seeds and machines are geometric.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from itertools import product
from pathlib import Path
from zlib import crc32

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from asdkit.blocks import BLOCKS, Encoder, FeatureExtractor, make_examples, network_seed
from asdkit.config import Config
from asdkit.experiments import runs
from asdkit.experiments import sensitivity as measure
from asdkit.experiments.ablation import ROUND, simulation
from asdkit.experiments.cache import Cache, CachedDescriber
from asdkit.experiments.families import Row
from asdkit.experiments.results import estimate
from asdkit.objectives import train_objective
from asdkit.recordings import Machine, TrainingSet
from asdkit.recordings.files import write

REFERENCES = ("start", "untrained", "msm")  # of an objective: itself before training, the untrained twin, the MSM
N_BOOT = 1000


def embedding_hash(config: Config) -> str:
    """Identifies an embedding, whatever scores it then."""
    return config.hash("blocks", *BLOCKS[config.blocks[0]].options)


def run(machines: list[Machine], out: Path, rows, seeds=(0, 1, 2), n_scenes=12, n_points=6, jobs=1) -> dict[tuple, dict]:
    """Measure every embedding of every simulated machine, at `n_points` moments of training; what `out` holds is kept.

    Returns {(machine, hash of the embedding, seed): result}.
    """
    simulated = [m for m in machines if simulation(m)]
    wanted = {embedding_hash(r.config): r.config for r in rows if r.family == "objective"}
    tasks = [(m, runs.other_clips(m, machines), wanted, sorted(seeds), n_scenes, n_points, Path(out)) for m in simulated]
    each = Parallel(n_jobs=jobs, return_as="generator")(delayed(_machine)(*task) for task in tasks)
    bar = tqdm(each, "mechanism, by machine", len(tasks), disable=not tasks)
    return {(m.name, *key): result for m, results in zip(simulated, bar) for key, result in results.items()}


def _machine(machine, others, wanted, seeds, n_scenes, n_points, out) -> dict:
    """All results of one machine; its twins are rendered when the first one is missing."""
    cache, results = Cache(), {}
    torch.set_num_threads(next((c.threads for c in wanted.values()), 1))
    for seed in seeds:
        for name, config in wanted.items():
            data = runs.fingerprint(machine.train + machine.test), runs.others_fingerprint(config, others)
            settings = ["objective", name, seed, n_scenes, n_points, *data]
            path = out / machine.name / f"{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}.json"
            if not path.exists():
                twins = cache(("spectra", "twins"), lambda c=config: _twins(machine, n_scenes, c))
                write(path, json.dumps(_objective(machine, config, seed, cache, others, *twins, n_points)))
            results[name, seed] = json.loads(path.read_text())
        cache.forget("learned", "block")
    return results


def _twins(machine, n_scenes, config):
    made = simulation(machine)
    surroundings = {name: made[name] for name in ("seconds", "seed", "snr", "loudspeakers", "far_distance") if name in made}
    return measure.render_counterfactuals(machine.folder.name, n_scenes, config=config, **surroundings)


def _objective(machine, config: Config, seed: int, cache: Cache, others, twins, spectra, n_points: int) -> dict:
    """The network that a fit trains, or log-mel statistics: by step the loss and how far each twin moves; the probe."""
    block, hop, losses, embeddings = config.blocks[0], config.train_hop, [], {}

    def embed(step, learned):
        extractor = FeatureExtractor(config, learned)
        embeddings[step] = measure.embed(twins, spectra, lambda s: extractor.describe(s, hop, [block])[block])

    if config.blocks == ("msm",):
        describer, clips = CachedDescriber(config, cache, seed, others=others), TrainingSet.of(machine.train).clips
        whitenings, own = make_examples([describer.spectra(c) for c in clips], clips, config)
        examples = [own, *map(describer.examples, describer.others)]
        moments = {*np.linspace(0, config.steps, n_points).round().astype(int).tolist()}  # from the untrained encoder on

        def watch(step, snapshot):
            return embed(step, {"encoder": Encoder(whitenings, snapshot())}) if step in moments else None

        losses = train_objective(examples, config, network_seed(seed), watch=watch)[1]
    else:
        embed(0, {})
    curve = []
    for step, z in embeddings.items():
        moved = measure.displacements(twins, z).round({"displacement": 6}).to_dict("list")
        near = losses[max(step - 5, 0) : step + 5]
        curve.append(dict(step=step, loss=float(np.mean(near)) if near else np.nan, moved=moved))
    return dict(curve=curve, probe=measure.linear_probe(twins, embeddings[max(embeddings)]).to_dict("list"))


def tables(results: dict[tuple, dict], rows: Sequence[Row], seeds=(0, 1, 2)) -> dict[str, pd.DataFrame]:
    """``trap-sensitivity``, ``trap-curves``, ``trap-probe`` and ``trap-ratios``; none without simulated machines."""
    machines = list(dict.fromkeys(key[0] for key in results))
    frames = {name: [] for name in ("trap-sensitivity", "trap-curves", "trap-probe")}
    rows = [row for row in rows if row.family == "objective"]
    for row, machine, seed in product(rows, machines, sorted(seeds)):
        result = results[machine, embedding_hash(row.config), seed]
        head = dict(base=row.base, family=row.family, machine=machine.split("-", 1)[1], variant=row.variant, seed=seed)
        for moment in result["curve"]:
            moved = measure.sensitivity(pd.DataFrame(moment["moved"]), N_BOOT, crc32(machine.encode()))
            at_step = head | dict(step=moment["step"], loss=moment["loss"])
            frames["trap-curves"].append(_headed(at_step, moved[moved["fault"] == "all"]))
        frames["trap-sensitivity"].append(_headed(head, moved))
        frames["trap-probe"].append(_headed(head, pd.DataFrame(result["probe"])))
    whole = {name: pd.concat(some, ignore_index=True).round(ROUND) for name, some in frames.items() if some}
    return whole | ({"trap-ratios": ratios(results, rows, machines, seeds)} if whole else {})


def _headed(head: dict, table: pd.DataFrame) -> pd.DataFrame:
    """The table with constant columns before its own."""
    return table.assign(**head)[[*head, *table]].reset_index(drop=True)


def ratios(results: dict[tuple, dict], rows: Sequence[Row], machines: Sequence[str], seeds=(0, 1, 2)) -> pd.DataFrame:
    """Sensitivity to all faults over that of each of `REFERENCES`, paired by scene: per machine, and the mean over machines."""
    names, table = {(r.base, r.variant): embedding_hash(r.config) for r in rows}, []

    @cache
    def logs(machine, name, moment, nuisance):
        """Logarithm of the sensitivity at one moment, mean over seeds: the estimate and its resamples."""
        moved = [pd.DataFrame(results[machine, name, seed]["curve"][moment]["moved"]) for seed in seeds]
        sampled = [measure.sensitivity_samples(t, N_BOOT, crc32(machine.encode())) for t in moved]
        return np.mean([next(np.log(v) for k, v in s.items() if k[:2] == (nuisance, "all")) for s in sampled], axis=0)

    for row, reference, nuisance in product(rows, REFERENCES, measure.NUISANCES):
        name, moment = embedding_hash(row.config), 0 if reference == "start" else -1
        if below := name if reference == "start" else names.get((row.base, reference)):
            each = {m.split("-", 1)[1]: logs(m, name, -1, nuisance) - logs(m, below, moment, nuisance) for m in machines}
            each["mean"] = np.mean(list(each.values()), axis=0)
            head = (row.base, row.family, row.variant, reference, nuisance, len(seeds))
            table += [(*head, place, *map(float, np.exp(estimate(x)))) for place, x in each.items()]
    columns = ["base", "family", "variant", "reference", "nuisance", "seeds", "machine", "ratio", "lo", "hi"]
    return pd.DataFrame(table, columns=columns).round(ROUND)
