"""The challenge's published ground truth: joined when all scores are written, and refused where it does not fit."""

import shutil

import pandas as pd
import pytest

from asdkit.apps.cli import main
from asdkit.recordings import parse_name
from asdkit.recordings.files import write

TABLE = "ground_truth_Sander_section_00_test.csv"


@pytest.fixture
def hidden(tiny_data, tmp_path):
    test, rows = tmp_path / "data" / "Sander" / "test", {"data": "", "domain": ""}
    shutil.copytree(tiny_data / "dev_data/raw/valve/train", test.parent / "train")
    test.mkdir()
    for i, path in enumerate(sorted((tiny_data / "dev_data/raw/valve/test").iterdir())):
        clip, name = parse_name(path), f"section_00_{i:04d}.wav"
        shutil.copy(path, test / name)
        rows["data"] += f"{name},{clip.label}\n"
        rows["domain"] += f"{name},{int(clip.domain == 'target')}\n"
    for kind, text in rows.items():
        write(tmp_path / "truth" / f"ground_truth_{kind}" / TABLE, text)
    return tmp_path / "data", tmp_path / "truth"


def run(data, out, *more):
    return main(["run", str(data), "--out", str(out), "--systems", "log-mel", *map(str, more)])


def test_the_truth_is_joined_to_scores_that_are_written(hidden, tiny_data, tmp_path, capsys):
    (data, truth), out, known = hidden, tmp_path / "out", tmp_path / "known"
    assert run(data, out) == 0 and "no labels" in capsys.readouterr().out
    (result,) = out.glob("*/results/*.json")
    before = result.read_bytes(), result.stat().st_mtime_ns
    assert run(data, out, "--truth", truth) == 0 and "no labels" not in capsys.readouterr().out
    assert (result.read_bytes(), result.stat().st_mtime_ns) == before
    assert run(tiny_data, known, "--machines", "valve") == 0
    tables = [pd.read_csv(folder / "results.csv") for folder in (out, known)]
    pd.testing.assert_frame_equal(*(t[["auc_source", "auc_target", "pauc", "omega", "false_alarm"]] for t in tables))


def test_a_truth_that_does_not_fit_is_refused(hidden, tmp_path, capsys):
    (data, truth), out, table = hidden, tmp_path / "out", tmp_path / "truth" / "ground_truth_data" / TABLE
    rows = table.read_text()
    table.unlink()
    assert run(data, out, "--truth", truth) == 2 and f"found 0 files ground_truth_data/{TABLE}" in capsys.readouterr().err
    assert not out.exists()  # what is missing is noticed before anything is fitted
    without_first = rows.partition("\n")[2]
    for text, says in ((rows.replace(",1", ",2"), "a file name and 0 or 1"), (without_first, "no data of 1 test clips")):
        write(table, text)
        assert run(data, out, "--truth", truth) == 2 and says in capsys.readouterr().err
