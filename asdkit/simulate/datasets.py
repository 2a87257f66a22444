"""Data sets of simulated machines in the DCASE 2026 layout, a machine's folder all of it or nothing.

A folder `<machine>/` holds `train/`, `test/`, `attributes_00.csv` and, beside what the challenge gives, `simulation.csv` (the
truth about every file, for analysis only) and `simulation.json` (version and parameters).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..recordings import SAMPLE_RATE, InputError
from ..recordings.files import new_folder
from .machines import KINDS
from .scenes import MACHINES, VERSION, Scene, mix

RECORD = "simulation.json"
SEVERITIES = (0.25, 0.5, 0.75, 1.0)  # of the test anomalies
CONDITION_SPAN = 1_000_000  # clip indices set aside for each condition


def simulate(
    out: str | Path, machines: Sequence[str] = MACHINES, n_source: int = 990, n_target: int = 10, n_test: int = 50,
    seconds: float = 10.0, seed: int = 0, jobs: int = 1, **surroundings: float | None,
) -> None:  # fmt: skip
    """Write simulated machines in the DCASE 2026 layout, each a folder in `out`.

    A machine that is there with the same parameters is left alone. `n_source` and `n_target` are the normal training clips of
    each domain, `n_test` the test clips of each of {source, target} x {normal, anomaly}; the files do not depend on `jobs`, the
    number of processes. `surroundings` are `snr`, `loudspeakers` and `far_distance` of a `Scene`, in place of the machine's.
    Another machine, a clip of less than a second, or a folder of other parameters is an InputError.
    """
    sizes = dict(n_source=n_source, n_target=n_target, n_test=n_test, seconds=float(seconds), seed=seed)
    parameters = dict(version=VERSION, made_by="simulate", **sizes)
    parameters |= (changed := {name: value for name, value in surroundings.items() if value is not None})
    plans = {machine: list(scenes(machine, **sizes, **changed)) for machine in machines}
    for machine in [machine for machine in plans if not is_complete(Path(out) / machine, parameters)]:
        write_machine(Path(out) / machine, parameters, _render_scene, plans[machine], jobs)


def scenes(
    machine: str, n_source: int = 990, n_target: int = 10, n_test: int = 50, seconds: float = 10.0, seed: int = 0, **more
) -> Iterator[tuple[str, Scene]]:
    """Yield the conditions (`source_train_normal` ...) and scenes of one machine's data set.

    Each condition counts clips in a range of its own, so that a large data set holds the clips of a small one. Test anomalies
    take the machine's faults in turn and then the `SEVERITIES` in turn, alike in both domains.
    """
    sizes = {"source_train_normal": n_source, "target_train_normal": n_target}
    sizes |= {f"{domain}_test_{label}": n_test for label in ("normal", "anomaly") for domain in ("source", "target")}
    for condition_index, (condition, size) in enumerate(sizes.items()):
        for i in range(size):
            index = condition_index * CONDITION_SPAN + i
            scene = Scene(machine, seed, index, condition.split("_")[0], seconds=seconds, **more)
            if condition.endswith("anomaly"):
                faults = list(KINDS[machine].faults)
                severity = SEVERITIES[i // len(faults) % len(SEVERITIES)]
                scene = replace(scene, fault=faults[i % len(faults)], severity=severity)
            yield condition, scene


def _render_scene(condition: str, scene: Scene) -> tuple:
    """A scene as `write_machine` takes it."""
    mixed, number = mix(scene), scene.index % CONDITION_SPAN
    speed, load = mixed.operation.speed, mixed.operation.load
    truth = dict(
        index=scene.index, fault=scene.fault or "", severity=scene.severity, speed=speed, load=load,
        near_snr_db=round(mixed.near_snr_db, 2), noise=mixed.noise_kind, gain_db=round(mixed.gain_db, 2),
    )  # fmt: skip
    return condition, number, dict(spd=speed, load=load), mixed.machine + mixed.noise, truth


def is_complete(folder: Path, parameters: dict) -> bool:
    """Whether `folder` was written with `parameters`; a folder of anything else is an InputError."""
    if not folder.exists():
        return False
    if not (folder / RECORD).is_file():
        raise InputError(f"{folder}: holds no {RECORD}; expected a folder that does not exist or one written by asdkit")
    known = json.loads((folder / RECORD).read_text())
    keys = [key for key in {**parameters, **known} if known.get(key) != parameters.get(key)]
    if keys:
        was, want = (", ".join(f"{key} {each.get(key)}" for key in keys) for each in (known, parameters))
        raise InputError(f"{folder}: found {was}; expected {want}; remove the folder or choose another")
    return True


def write_machine(folder: Path, parameters: dict, render: Callable[..., tuple], plan: list[tuple], jobs: int = 1) -> None:
    """Write the folder of a machine: a clip and a row in the tables for each item of the plan.

    `render(*item)` gives the condition (`source_train_normal` ...), a number, attributes, the clip (2, n_samples) and the truth
    about it. A folder that is there by the end, as another process was quicker, is an OSError: it may be in use.
    """
    import pandas as pd
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    with new_folder(folder, replace=False) as draft:
        for split in ("train", "test"):
            (draft / split).mkdir()
        rows = Parallel(n_jobs=jobs, return_as="generator")(delayed(write_clip)(draft, render, item) for item in plan)
        attributes, truth = map(pd.DataFrame, zip(*tqdm(rows, folder.name, len(plan), unit="clip")))
        tables = {"attributes_00.csv": attributes, "simulation.csv": truth}
        if "recording" in truth:
            tables["recordings_00.csv"] = truth[["file_name", "recording"]]
        for name, table in tables.items():
            table = table.assign(file_name=f"{folder.name}/" + table["file_name"]).sort_values("file_name")
            table.to_csv(draft / name, index=False, lineterminator="\n")
        (draft / RECORD).write_text(json.dumps(parameters, indent=2) + "\n")


def write_clip(folder: Path, render: Callable[..., tuple], item: tuple) -> tuple[dict, dict]:
    """Write a clip as PCM-16; return its rows of attributes and of the truth."""
    import soundfile as sf

    condition, number, attributes, clip, truth = render(*item)
    text = "_".join(f"{name}_{value}" for name, value in attributes.items()) or "noAttribute"
    name = f"{condition.split('_')[1]}/section_00_{condition}_{number:04d}_{text}.wav"
    sf.write(folder / name, np.clip(clip, -1, 1).T, SAMPLE_RATE, subtype="PCM_16")
    cells = {f"d{i}{column}": cell for i, pair in enumerate(attributes.items(), 1) for column, cell in zip("pv", pair)}
    return dict(file_name=name, **cells), dict(file_name=name, **truth)
