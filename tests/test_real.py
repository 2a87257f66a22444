"""On real two-channel recordings: known values, and names of test files that lie."""

import pandas as pd
import pytest

from asdkit.apps.cli import main

KNOWN = {"fan": 0.717, "BrushlessMotor": 0.815}  # Omega of z-scored log-mel statistics, mean over windows, k = 3, other scales


@pytest.mark.parametrize("machine", KNOWN)
def test_log_mel_statistics_reach_known_values(real_data, machine, tmp_path, capsys):
    out, config = tmp_path / "out", tmp_path / "config.json"
    config.write_text('{"aggregate": "mean", "k": 3}')
    command = ["run", str(real_data), "--out", str(out), "--quick", "--systems", "log-mel", "--machines", machine]
    command += ["--config", str(config)]
    assert main(command) == 0
    table = pd.read_csv(out / "results.csv").set_index("machine")
    assert table.loc[machine, "omega"] == pytest.approx(KNOWN[machine], abs=0.02)
    assert table.loc[machine, "omega_lo"] < table.loc[machine, "omega"] < table.loc[machine, "omega_hi"]
    assert "This is not a result" in capsys.readouterr().out
