"""The studies: subsets, and tables that say what the scores say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from asdkit import metrics
from asdkit.experiments import ablation, results, study
from asdkit.recordings import InputError


@pytest.fixture(scope="module")
def level(tiny_data, tiny_config):
    fast = replace(tiny_config, blocks=("statistics",))
    return study.Level("real", ablation.gather([tiny_data])[:1], {"asdkit": fast, "k = 2": replace(fast, k=2)}, (0, 1))


@pytest.fixture(scope="module")
def evaluation(level, tmp_path_factory):
    return study.score(level, tmp_path_factory.getbasetemp() / "study", 1)


def test_the_first_clips_of_each_domain_are_kept_and_rows_of_a_level_replaced(level, tmp_path):
    machine = level.machines[0]
    few = study.first(machine, 3, 1)
    assert [c.domain for c in few.train] == ["source"] * 3 + ["target"] and few.test == machine.test
    assert few.train[:3] == tuple(c for c in machine.train if c.domain == "source")[:3]
    rows = pd.DataFrame({"family": ["far", "far"], "level": ["0.3", "0.6"], "value": [1, 2]})
    for more in (rows, rows[1:].assign(value=3)):
        study.add_rows(tmp_path / "t.csv", more)
    assert pd.read_csv(tmp_path / "t.csv")["value"].tolist() == [1, 3]


def test_differences_are_paired_and_told_for_every_metric(level, evaluation):
    table = study.compared("noise", level, evaluation).set_index(["machine", "variant", "metric"]).sort_index()
    for name in level.systems:
        points = np.mean([evaluation.points["real-pump", name, seed] for seed in level.seeds], axis=0)
        told = table.loc[("pump", name), "value"]
        assert told[list(metrics.METRICS)].tolist() == pytest.approx(points.tolist(), abs=1e-4)
        assert told[results.GAP] == pytest.approx(points[1] - points[0], abs=1e-4)
    assert set(table["reference"]) == {"asdkit"} and set(table["level"]) == {"real"}
    assert (table.loc[("pump", "asdkit"), "difference"] == 0).all()


@pytest.mark.parametrize("label, clips", [(0, "normal"), (1, "anomalous")])
def test_alarms_are_the_share_of_clips_above_the_threshold(level, evaluation, tmp_path_factory, label, clips, monkeypatch):
    monkeypatch.setattr(study, "RATES", (0.25, 0.5))  # that so few recordings can promise
    out = tmp_path_factory.getbasetemp() / "study"
    told = study.alarms(level, evaluation, out).query("clips == @clips")
    table = told[told["machine"] == "pump"].set_index(["domain", "requested"]).sort_index()
    truth, decided = evaluation.clips["real-pump"], []
    for seed in level.seeds:
        result = evaluation.results["real-pump", "asdkit", seed]
        decided += [d for name, d in zip(result["files"], result["decisions"]) if truth[name].label == label]
    assert table.loc[("all", 0.25), "rate"] == pytest.approx(np.mean(decided), abs=1e-4)
    assert table.loc[("all", 0.25), "rate"] <= table.loc[("all", 0.5), "rate"]
    assert (table["lo"] <= table["rate"]).all() and (table["rate"] <= table["hi"]).all()
    means = told.query("machine == 'mean'").set_index(["domain", "requested"])["rate"]
    assert means.to_dict() == table["rate"].to_dict()
    monkeypatch.setattr(study, "estimate", lambda samples: (0.0, 0.0, 0.0))
    none = study.alarms(level, evaluation, out).query("clips == @clips and machine == 'pump' and domain == 'source'")
    n = len({c.recording for c in truth.values() if (c.label, c.domain) == (label, "source")})
    assert none["hi"].tolist() == pytest.approx([3 / n] * 2, abs=1e-5)  # none of n alarm: the rule of three
    monkeypatch.undo()
    low = level._replace(systems={"asdkit": replace(level.systems["asdkit"], false_alarm=0.01)})
    assert study.alarms(low, evaluation, out).query("requested < 0.1").empty  # a rate that cannot be promised has no row
    with pytest.raises(InputError, match="model"):  # where models are missing there is no empty table
        study.alarms(level, evaluation, out / "nowhere")
