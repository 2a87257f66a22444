"""The studies: spectral subtraction, subsets, and tables that say what the scores say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile as sf

from asdkit import metrics
from asdkit.experiments import ablation, results, study


@pytest.fixture(scope="module")
def level(tiny_data, tiny_config):
    fast = replace(tiny_config, blocks=("logmel",), fusion="concatenate", test_hop=40, false_alarm=0.25)
    return study.Level(
        "real", ablation.gather([tiny_data])[:1], {"0.25": fast, "0.5": replace(fast, false_alarm=0.5, k=1)}, (0, 1)
    )


@pytest.fixture(scope="module")
def evaluation(level, tmp_path_factory):
    return study.score(level, tmp_path_factory.mktemp("study"), 1, decide=True)


def written(path, near, far):
    sf.write(path, np.stack([near, far], axis=1), 16000, subtype="PCM_16")
    return path


def test_noise_that_far_hears_is_subtracted_and_bursts_of_near_alone_stay(tmp_path):
    rng = np.random.default_rng(0)
    noise, bursts = 0.05 * rng.normal(size=48000), 0.05 * np.sin(np.arange(48000) * 0.6) * (np.arange(48000) % 16000 > 8000)
    near, far = study.Subtracted(written(tmp_path / "a.wav", noise, 0.5 * noise)).read()
    assert not far.any() and np.square(near).mean() < 0.02 * np.square(noise).mean()  # its floor: 1 % of the power
    kept = study.Subtracted(written(tmp_path / "b.wav", bursts, 0.002 * rng.normal(size=48000))).read()[0]
    assert np.square(kept - bursts).mean() < 0.05 * np.square(bursts).mean()  # sound of near alone stays


def test_differences_are_paired_and_told_for_every_metric(level, evaluation):
    table = study.compared("targets", level, evaluation).set_index(["machine", "variant", "metric"]).sort_index()
    for name in level.systems:
        points = np.mean([evaluation.points["real-pump", name, seed] for seed in level.seeds], axis=0)
        told = [table.loc[("pump", name, metric), "value"] for metric in metrics.METRICS]
        assert told == pytest.approx(points.tolist(), abs=1e-4)
        assert table.loc[("pump", name, results.GAP), "value"] == pytest.approx(points[1] - points[0], abs=1e-4)
    assert set(table["reference"]) == {"0.25"} and set(table["level"]) == {"real"}
    assert (table.loc[("pump", "0.25"), "difference"] == 0).all()


@pytest.mark.parametrize("label, clips", [(0, "normal"), (1, "anomalous")])
def test_alarms_are_the_share_of_clips_that_were_decided(level, evaluation, label, clips):
    told = study.alarms(level, evaluation).query("clips == @clips")
    table = told[told["machine"] == "pump"].set_index(["domain", "requested"]).sort_index()
    truth = evaluation.clips["real-pump"]
    for rate in (0.25, 0.5):
        decided = [
            d for seed in level.seeds
            for part in [evaluation.results["real-pump", f"{rate:g}", seed]]
            for name, d in zip(part["files"], part["decisions"]) if truth[name].label == label
        ]  # fmt: skip
        row = table.loc[("all", rate)]
        assert row["rate"] == pytest.approx(np.mean(decided), abs=1e-4) and row["lo"] <= row["rate"] <= row["hi"]
        assert told.query("machine == 'mean' and domain == 'all' and requested == @rate")["rate"].item() == row["rate"]


def test_rows_of_a_level_are_replaced(tmp_path):
    rows = pd.DataFrame({"family": ["far", "far"], "level": ["0.3", "0.6"], "value": [1, 2]})
    study.add_rows(tmp_path / "t.csv", rows)
    study.add_rows(tmp_path / "t.csv", rows[1:].assign(value=3))
    assert pd.read_csv(tmp_path / "t.csv")["value"].tolist() == [1, 3]
