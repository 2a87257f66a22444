"""Data sets of simulated machines in the DCASE 2026 layout."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from .machines import KINDS
from .scenes import MACHINES, VERSION, Scene, mix
from .writing import is_complete, new_machine, write_clip, write_table

SEVERITIES = (0.25, 0.5, 0.75, 1.0)  # of the test anomalies
CONDITION_SPAN = 1_000_000  # clip indices set aside for each condition


def simulate(
    out: str | Path,
    machines: Sequence[str] = MACHINES,
    n_source: int = 990,
    n_target: int = 10,
    n_test: int = 50,
    seconds: float = 10.0,
    seed: int = 0,
    jobs: int = 1,
    **surroundings: float | None,
) -> None:
    """Write simulated machines in the DCASE 2026 layout.

    Parameters
    ----------
    out : path
        Each machine becomes a folder in it. A machine that is there with the same parameters is left alone.
    n_source, n_target : int
        Normal training clips of each domain.
    n_test : int
        Test clips for each of {source, target} x {normal, anomaly}.
    seconds : float
        Length of a clip, at least 1.
    seed : int
        Which specimens, rooms and clips, 0 or more.
    jobs : int
        Processes (joblib); the files do not depend on it.
    surroundings
        `snr`, `loudspeakers` and `far_distance` of a `Scene`, in place of the machines' own.

    Raises
    ------
    InputError (a ValueError)
        A machine is not one of `MACHINES`, a clip too short, or a folder holds another version or other parameters.
    """
    sizes = dict(n_source=n_source, n_target=n_target, n_test=n_test, seconds=float(seconds), seed=seed)
    parameters = dict(version=VERSION, made_by="simulate", **sizes)
    parameters |= (changed := {name: value for name, value in surroundings.items() if value is not None})
    plans = {machine: list(scenes(machine, **sizes, **changed)) for machine in machines}
    for machine in [machine for machine in plans if not is_complete(Path(out) / machine, parameters)]:
        with new_machine(Path(out) / machine, parameters) as folder:
            _write(folder, plans[machine], jobs)


def scenes(
    machine: str,
    n_source: int = 990,
    n_target: int = 10,
    n_test: int = 50,
    seconds: float = 10.0,
    seed: int = 0,
    **surroundings: float,
) -> Iterator[tuple[str, Scene]]:
    """Yield the conditions (`source_train_normal` ...) and scenes of one machine's data set.

    Each condition counts clips in a range of its own, so that a small data set is a part of a large one. Test anomalies
    take the machine's faults in turn and then the `SEVERITIES` in turn, alike in both domains.
    """
    sizes = {"source_train_normal": n_source, "target_train_normal": n_target}
    sizes |= {f"{domain}_test_{label}": n_test for label in ("normal", "anomaly") for domain in ("source", "target")}
    for condition_index, (condition, size) in enumerate(sizes.items()):
        for i in range(size):
            index = condition_index * CONDITION_SPAN + i
            scene = Scene(machine, seed, index, condition.split("_")[0], seconds=seconds, **surroundings)
            yield condition, _with_fault(scene, i) if condition.endswith("anomaly") else scene


def _with_fault(scene: Scene, i: int) -> Scene:
    faults = list(KINDS[scene.machine].faults)
    return replace(scene, fault=faults[i % len(faults)], severity=SEVERITIES[i // len(faults) % len(SEVERITIES)])


def _write(folder: Path, plan: list[tuple[str, Scene]], jobs: int) -> None:
    """Render and write all clips of one machine, then its tables."""
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    rows = Parallel(n_jobs=jobs, return_as="generator")(delayed(_write_scene)(folder, *each) for each in plan)
    truth = list(tqdm(rows, folder.name, len(plan), unit="clip"))
    operation = [dict(d1p="spd", d1v=row["speed"], d2p="load", d2v=row["load"]) for row in truth]
    attributes = [dict(file_name=row["file_name"], **each) for row, each in zip(truth, operation, strict=True)]
    write_table(folder / "attributes_00.csv", attributes)
    write_table(folder / "simulation.csv", truth)


def _write_scene(folder: Path, condition: str, scene: Scene) -> dict:
    """Write one clip; return its row of `simulation.csv`."""
    parts = mix(scene)
    attributes = f"spd_{parts.operation.speed}_load_{parts.operation.load}"
    number = scene.index % CONDITION_SPAN
    return dict(
        file_name=write_clip(folder, condition, number, attributes, parts.machine + parts.noise),
        index=scene.index,
        fault=scene.fault or "",
        severity=scene.severity,
        speed=parts.operation.speed,
        load=parts.operation.load,
        near_snr_db=round(parts.near_snr_db, 2),
        noise=parts.noise_kind,
        gain_db=round(parts.gain_db, 2),
    )
