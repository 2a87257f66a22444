"""On real two-channel recordings: known values, and names of test files that lie."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from asdkit.apps.cli import main
from asdkit.config import Config
from asdkit.experiments import runs
from asdkit.experiments.results import read_results
from asdkit.recordings import index_data

KNOWN = {"fan": 0.717, "BrushlessMotor": 0.815}  # Omega of z-scored log-mel statistics of near, mean over windows, k = 3


@pytest.mark.parametrize("machine", KNOWN)
def test_log_mel_statistics_reach_known_values(real_data, machine, tmp_path, capsys):
    out, config = tmp_path / "out", tmp_path / "config.json"
    config.write_text('{"aggregate": "mean", "k": 3}')
    command = ["run", str(real_data), "--out", str(out), "--quick", "--systems", "log-mel", "--machines", machine]
    command += ["--config", str(config)]
    assert main(command) == 0
    table = pd.read_csv(out / "results.csv").set_index("machine")
    assert table.loc[machine, "omega"] == pytest.approx(KNOWN[machine], abs=0.01)
    assert table.loc[machine, "omega_lo"] < table.loc[machine, "omega"] < table.loc[machine, "omega_hi"]
    assert "This is not a result" in capsys.readouterr().out


def test_siblings_are_known(real_data):
    """Clips cut from one recording are many on the motor: they must not count as strangers."""
    machine = index_data(real_data, ["BrushlessMotor"])[0]
    assert len({c.recording for c in machine.train}) < len(machine.train) / 2
    assert not {c.recording for c in machine.train} & {c.recording for c in machine.test}


@pytest.fixture
def some(real_data, tmp_path) -> Path:
    """A dozen training and six test clips of the real fan."""
    machine, folder = index_data(real_data, ["fan"])[0], tmp_path / "data" / "fan"
    for clip in machine.train[::7] + machine.test[::15]:
        (folder / clip.split).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip.path, folder / clip.split / clip.name)
    return folder


def test_lying_names_change_no_score(some, tmp_path):
    config = Config(steps=2, batch_size=8)

    def scores(out):
        runs.run(some.parent, out, config, ["asdkit"], machines=["fan"])
        result = read_results(out)["fan", "asdkit", 0]
        return {(some / "test" / name).read_bytes(): score for name, score in zip(result["files"], result["scores"])}

    honest = scores(tmp_path / "honest")
    for i, path in enumerate(sorted((some / "test").iterdir(), reverse=True)):
        lie = "source_test_normal" if "anomaly" in path.name else "target_test_anomaly"
        path.rename(path.with_name(f"section_00_{lie}_{i:04d}_spd_{i}.wav"))
    assert scores(tmp_path / "lying") == honest and len(honest) == 6
