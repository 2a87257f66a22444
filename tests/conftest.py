"""What several tests share: the folder of real recordings, and the rule that on CI it and a browser must be there."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the workers of pytest -n share the cores


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real two-channel recordings, ``<machine>/{train,test}``, named by ASDKIT_REAL_DATA."""
    named = os.environ.get("ASDKIT_REAL_DATA")
    if not named:
        pytest.skip("ASDKIT_REAL_DATA is not set; expected the folder of real recordings, <machine>/{train,test}")
    if not Path(named).is_dir():
        pytest.skip(f"ASDKIT_REAL_DATA: found no folder {named}; expected real recordings, <machine>/{{train,test}}")
    return Path(named).resolve()


def _sound(rng: np.random.Generator, target: bool, anomaly: bool, seconds: int) -> np.ndarray:
    """(n_samples, 2) of a humming machine under noise that both microphones hear; a fault is a whine that beats."""
    n = 16000 * seconds
    time = np.arange(n) / 16000
    hum = sum(np.sin(2 * np.pi * f * time + rng.uniform(0, 6)) / f for f in rng.uniform(0.98, 1.02) * np.array([120, 240, 360]))
    whine = anomaly * 0.3 * np.sin(2 * np.pi * 3100 * time) * (1 + np.sin(2 * np.pi * 6 * time))
    noise = rng.uniform(0.1, 0.3) * (2 if target else 1) * rng.normal(size=n)
    machine = 10 * hum + whine + 0.05 * rng.normal(size=n)
    near, far = machine + 0.5 * np.roll(noise, 9), 0.3 * np.roll(machine, 20) + noise
    return 0.1 * np.stack([near, far], axis=1)


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory) -> Path:
    """Two machines, ``pump`` and ``valve``, of a few clips of 4 to 6 s in the official layout. Not to be written to."""
    import soundfile

    root = tmp_path_factory.mktemp("tiny")
    for seed, name, n_source, n_target, n_test in ((0, "pump", 12, 4, 3), (1, "valve", 6, 2, 2)):
        rng = np.random.default_rng(seed)
        clips = [("train", d, "normal", i) for d, n in (("source", n_source), ("target", n_target)) for i in range(n)]
        clips += [("test", d, y, i) for d in ("source", "target") for y in ("normal", "anomaly") for i in range(n_test)]
        for split, domain, label, i in clips:
            path = root / "dev_data" / "raw" / name / split / f"section_00_{domain}_{split}_{label}_{i:04d}_load_{i % 2}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, _sound(rng, domain == "target", label == "anomaly", 4 + i % 3), 16000, subtype="FLOAT")
    return root


@pytest.fixture(scope="session")
def tiny_config():
    """All blocks of the default, and a network that trains in a moment."""
    from asdkit.config import Config

    return Config(steps=2, batch_size=8, test_hop=16, alpha=0.7, false_alarm=0.25)  # pump: one fold held out; valve: each


@pytest.fixture(scope="session")
def pump(tiny_data) -> Path:
    """The folder of that machine. Not to be written to."""
    return tiny_data / "dev_data/raw/pump"


@pytest.fixture
def data(tiny_data, tmp_path) -> Path:
    """A folder of both machines that may be changed."""
    return Path(shutil.copytree(tiny_data / "dev_data/raw", tmp_path / "data"))


@pytest.fixture
def pump_copy(pump, tmp_path) -> Path:
    """The folder of that machine alone, to be changed."""
    return Path(shutil.copytree(pump, tmp_path / "data/pump"))


@pytest.fixture(scope="session")
def brief_detector(tmp_path_factory):
    """Fitted on four seconds of noise; scores in milliseconds."""
    import soundfile
    from helpers import BRIEF

    import asdkit

    folder, rng = tmp_path_factory.mktemp("healthy"), np.random.default_rng(0)
    for i in range(4):
        soundfile.write(folder / f"{i}.wav", 0.1 * rng.normal(size=(16000, 2)), 16000)
    return asdkit.fit(folder, BRIEF, progress=False)


@pytest.fixture(scope="session")
def pump_detector(pump, tiny_config):
    """Fitted on a machine with a target domain, by every step of the method."""
    import asdkit

    return asdkit.fit(pump, tiny_config, progress=False)


def pytest_collection_modifyitems(items):
    """Mark `real` whatever asks for the real recordings; the loud noise of `tiny_data` makes its channels look swapped."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "real_data" in names:
            item.add_marker("real")
        if "tiny_data" in names:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*hear first what both hear"))


REQUIRED = {"real": "ASDKIT_REQUIRE_REAL", "browser": "ASDKIT_REQUIRE_BROWSER"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """With ASDKIT_REQUIRE_REAL=1 a test marked `real` that skips has failed; so for `browser`."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    for mark, variable in REQUIRED.items():
        if skipped and item.get_closest_marker(mark) and os.environ.get(variable) == "1":
            report.outcome, report.longrepr = "failed", f"{variable}=1 and skipped: {report.longrepr[-1]}"
    return report
