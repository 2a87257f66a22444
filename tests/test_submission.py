"""A submission is written whole or not at all, holds the run's scores, and its check finds every flaw."""

import json
import shutil

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from asdkit import metrics
from asdkit.apps.cli import main
from asdkit.config import Config
from asdkit.experiments import runs
from asdkit.experiments.families import systems
from asdkit.experiments.submission import FORM, check_submission, describe, submit
from asdkit.msm import MSM
from asdkit.recordings import DATASETS, InputError

LABEL = "Name_LAB_task2_1"
EVALUATION, DEVELOPMENT = tuple(DATASETS["evaluation"].archives), tuple(DATASETS["development"].archives)
SCORES, DECISIONS = (f"{kind}_Sander_section_00_test.csv" for kind in ("anomaly_score", "decision_result"))
UNLABELLED = [f"section_00_{i:04d}.wav" for i in range(200)]
LABELLED = [
    f"section_00_{domain}_test_{label}_{i:04d}_noAttribute.wav"
    for domain in ("source", "target")
    for label in ("normal", "anomaly")
    for i in range(5)
]
AUTHOR = dict(firstname="Ada", lastname="Name", email="ada@example.org", affiliation=dict(institution="LAB", location="X"))


def write_result(run, machine, files, seed=0, system="asdkit", **changes):
    scores = np.random.default_rng(len(machine)).normal(size=len(files)).tolist()
    config = Config()
    result = dict(system=system, seed=seed, config_hash=config.hash(), config=config.to_dict(), files=files, scores=scores)
    result |= dict(decisions=[int(s > 1) for s in scores], threshold=1.0) | changes
    path = run / machine / "results" / f"{system}-{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


@pytest.fixture(scope="module")
def original_run(tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "dcase2026"
    for machine in EVALUATION:
        write_result(run, machine, UNLABELLED)
    for machine in DEVELOPMENT:
        write_result(run, machine, LABELLED)
    state = {f"/extractor/learned/encoder/net/{k}": v.contiguous() for k, v in MSM().state_dict().items()}
    (run / sorted(EVALUATION)[0] / "models/asdkit-0").mkdir(parents=True)
    save_file(state, run / sorted(EVALUATION)[0] / "models/asdkit-0/tensors.safetensors")
    (run / "run.json").write_text(json.dumps({"asdkit": "0.1.0", "quick": False}))
    return run


@pytest.fixture
def run(original_run, tmp_path):
    return shutil.copytree(original_run, tmp_path / "run")


@pytest.fixture
def meta(tmp_path):
    path = tmp_path / "meta.yaml"
    path.write_text(yaml.safe_dump({"submission": {"authors": [AUTHOR]}}))
    return path


@pytest.fixture
def folder(original_run, tmp_path, meta):
    return submit(original_run, LABEL, tmp_path / "out", meta=meta)


def read_meta(folder):
    return yaml.safe_load((folder / f"{folder.name}.meta.yaml").read_text())


def refused(tmp_path, message, run, label=LABEL, **more):
    with pytest.raises(InputError, match=message) as error:
        submit(run, label, tmp_path / "out", **more)
    assert "\n" not in str(error.value) and not list(tmp_path.glob("out/*"))


def test_a_whole_run_gives_a_submission_without_a_flaw(original_run, folder):
    assert folder.name == LABEL and check_submission(folder) == []
    tables = [f"{kind}_{m}_section_00_test.csv" for m in EVALUATION for kind in ("anomaly_score", "decision_result")]
    assert {p.name for p in folder.iterdir()} == {*tables, f"{LABEL}.meta.yaml"}
    result = json.loads((original_run / "Sander/results/asdkit-0.json").read_text())
    assert (folder / SCORES).read_text() == "".join(f"{n},{x!r}\n" for n, x in zip(UNLABELLED, result["scores"]))
    assert (folder / DECISIONS).read_text() == "".join(f"{n},{x}\n" for n, x in zip(UNLABELLED, result["decisions"]))


def test_the_form_has_the_official_metric_in_percent_and_the_size_of_the_network(original_run, folder):
    result = json.loads((original_run / "fan/results/asdkit-0.json").read_text())
    labels, domains = [0] * 5 + [1] * 5 + [0] * 5 + [1] * 5, ["source"] * 10 + ["target"] * 10
    expected, form = metrics.evaluate(result["scores"], labels, domains), read_meta(folder)
    results = form["results"]["development_dataset"]
    assert set(results) == set(DEVELOPMENT)
    for name in ("auc_source", "auc_target", "pauc"):
        assert results["fan"][name] == pytest.approx(100 * expected[name], abs=0.006)
    assert form["system"]["complexity"]["total_parameters"] == sum(p.numel() for p in MSM().parameters())


@pytest.mark.parametrize("config", [*systems(Config()).values(), Config.report()])
def test_every_system_can_be_described(config):
    described = describe(config)
    assert described.keys() <= yaml.safe_load(FORM)["system"]["description"].keys() and described["acoustic_features"]
    yaml.safe_dump(described)
    assert f"whiten {config.whiten}, backend {config.backend}" in described["machine_learning_method"]
    near, far = (describe(systems(Config())[name])["front_end"] for name in ("log-mel", "statistics"))
    assert near is None and far == "far cancelled from near, alpha 0.9"
    assert (described["embeddings"] is None) == (not {"msm", "msm-residual"} & {*config.blocks})


def test_the_baseline_can_be_submitted(run, tmp_path, meta):
    for machine in (*EVALUATION, *DEVELOPMENT):
        files = UNLABELLED if machine in EVALUATION else LABELLED
        write_result(run, machine, files, system="autoencoder-mse", config_hash="official", config=None)
    folder = submit(run, LABEL, tmp_path / "out", "autoencoder-mse", meta=meta)
    has_only(folder, "found total_parameters: TODO, machine_learning_method: TODO; expected what only the authors know")


def test_fields_of_meta_replace_those_of_the_form_and_an_unknown_one_and_a_quick_run_are_warnings(run, tmp_path):
    fields = {"submission": {"name": "Ünser System"}, "system": {"description": {"embeddings": ""}, "source_code": {"a": 1}}}
    for i, dump in ((3, yaml.safe_dump), (4, json.dumps)):
        (tmp_path / "meta").write_text(dump(fields))
        form = read_meta(submit(run, LABEL[:-1] + str(i), tmp_path / "out", meta=tmp_path / "meta"))
        assert form["submission"]["name"] == "Ünser System" and form["submission"]["label"] == LABEL[:-1] + str(i)
        assert form["system"]["description"]["embeddings"] == ""
        assert form["system"]["description"]["input_sampling_rate"] == "16 kHz" and form["system"]["source_code"] == {"a": 1}
        assert all("TODO" in flaw for flaw in check_submission(tmp_path / "out" / form["submission"]["label"]))
    (tmp_path / "meta").write_text("submission: {authers: []}")
    with pytest.warns(UserWarning, match="submission.authers is not a field of the form"):
        submit(run, LABEL, tmp_path / "out", meta=tmp_path / "meta")
    (run / "run.json").write_text('{"quick": true}')
    with pytest.warns(UserWarning, match="a quick run; its scores are not a result"):
        submit(run, LABEL[:-1] + "2", tmp_path / "out")


def test_what_is_there_is_never_overwritten_and_an_error_leaves_nothing(original_run, folder, tmp_path, monkeypatch):
    before = {p: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(InputError, match="found a folder or file of that name, expected none"):
        submit(original_run, LABEL, tmp_path / "out")
    assert {p: p.read_bytes() for p in folder.iterdir()} == before
    monkeypatch.setattr(yaml, "safe_dump", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        submit(original_run, LABEL[:-1] + "2", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == [folder]


def test_runs_labels_and_fields_that_cannot_be_submitted(original_run, run, tmp_path):
    for label in ("Name", "Name_LAB_task2_5", "../N_LAB_task2_1"):
        refused(tmp_path, "label: found .*, expected <last name>_<institute>_task2_<1 to 4>", run, label)
    for text in ("- a list", "a: [", "\0"):
        (tmp_path / "meta").write_text(text)
        refused(tmp_path, "meta: found .*, expected YAML or JSON with fields", run, meta=tmp_path / "meta")
    refused(tmp_path, "nowhere: .*expected an output folder of `asdkit run`", tmp_path / "nowhere")
    refused(tmp_path, "run: found 0 configurations of report seed 0, expected one", run, system="report")
    refused(tmp_path, "found 0 configurations of asdkit seed 7", run, seed=7)
    for change, says in (
        ({"config_hash": "another"}, "found 2 configurations of asdkit"),
        ({"decisions": [None] * 200}, "Sander: found 200 decisions such as None, expected 0 or 1"),
        ({"scores": [float("nan")] * 200}, "Sander: found 200 scores such as nan, expected finite numbers"),
    ):
        write_result(run, "Sander", UNLABELLED, **change)
        refused(tmp_path, says, run)
    (run / "Sander/results/asdkit-0.json").write_text("{")
    refused(tmp_path, "not readable as a run", run)
    for machine in EVALUATION:
        shutil.rmtree(run / machine)
    refused(tmp_path, "found no machine with unlabelled test clips, expected ToyDrone, ", run)


def has_only(folder, problem):
    problems = check_submission(folder)
    assert len(problems) == 1 and problem in problems[0], problems
    return problems[0]


@pytest.mark.parametrize(("name", "old", "new", "says"), [
    (SCORES, "section_00_0003.wav", "section_00_0002.wav", "found 200 rows and 199 of the clips, expected each of"),
    (SCORES, "section_00_0003.wav", "section_00_3.wav", "found 200 rows and 199 of the clips"),
    (SCORES, "section_00_0000.wav,", "file,score\nsection_00_0000.wav,", "found 201 rows and 200 of the clips"),
    (SCORES, "section_00_0000.wav,", "section_00_0000.wav,nan\n#,", "found 201 rows"),
    (SCORES, ",", ";", "found 200 rows and 199 of the clips"),
    (DECISIONS, ",0\n", ",0.0\n", "found '0.0', expected 0 or 1"),
    (DECISIONS, ",0\n", ",\n", "found '', expected 0 or 1"),
])  # fmt: skip
def test_flaws_of_a_table(folder, name, old, new, says):
    path = folder / name
    path.write_text(path.read_text().replace(old, new, 1))
    problems = check_submission(folder)
    assert problems and all(p.startswith(f"{name}: ") for p in problems) and says in problems[0]


def test_scores_that_are_not_finite_missing_and_surplus_files_and_a_folder_of_another_name(folder):
    for value in ("nan", "inf", "high", ""):
        (folder / SCORES).write_text("".join(f"{name},{value}\n" for name in UNLABELLED))
        has_only(folder, f"{SCORES}: found {value!r}, expected finite numbers")
    (folder / SCORES).unlink()
    has_only(folder, f"{SCORES}: is missing")
    (folder / DECISIONS).rename(folder / "decision_result_pump_section_00_test.csv")
    problems = check_submission(folder)
    assert [p.partition(": ")[0] for p in problems] == ["decision_result_pump_section_00_test.csv", SCORES, DECISIONS]
    problems = check_submission(folder.rename(folder.with_name("other")))
    assert {"other: expected <last name>_<institute>_task2_<1 to 4>", "other.meta.yaml: is missing"} <= set(problems)
    with pytest.raises(InputError, match="no such folder; expected a submission"):
        check_submission(folder)


@pytest.mark.parametrize(("change", "says"), [
    (lambda f: f.clear(), "found no submission.label, submission.name, "),
    (lambda f: f["submission"].pop("authors"), "found no submission.authors, expected all fields of the form"),
    (lambda f: f.update(system=3), "found no system.complexity.total_parameters, system.external_datasets, "),
    (lambda f: f["submission"].update(label="Other_LAB_task2_1"), "found label Other_LAB_task2_1 and"),
    (lambda f: f["submission"].update(abbreviation="a" * 11), "expected the folder's name and 1 to 10 characters"),
    (lambda f: f["submission"].update(authors=[AUTHOR, {"lastname": "Name"}]), "found the author {'lastname': 'Name'}"),
    (lambda f: f["submission"].update(authors=3), "found the author 3, expected firstname, lastname"),
    (lambda f: f["results"]["development_dataset"].pop("fan"), "found no results.development_dataset.fan.auc_source, "),
    (lambda f: f["system"]["complexity"].update(total_parameters="many"), "found 'many' in system.complexity."),
    (lambda f: f["results"]["development_dataset"]["fan"].update(pauc=101), "fan.pauc, expected 0 to 100"),
    (lambda f: f["results"]["development_dataset"].update(fan={"pauc": 50}), "fan.auc_target, expected all fields"),
])  # fmt: skip
def test_flaws_of_the_form(folder, change, says):
    form = read_meta(folder)
    change(form)
    (folder / f"{LABEL}.meta.yaml").write_text(yaml.safe_dump(form))
    assert says in has_only(folder, f"{LABEL}.meta.yaml: ")


def test_the_command_writes_checks_and_uploads_nothing(original_run, tmp_path, meta, capsys):
    arguments = ["submit", str(original_run), "--label", LABEL, "--out", str(tmp_path / "out")]
    assert main([*arguments, "--meta", str(meta)]) == 0
    out = capsys.readouterr().out
    assert f"submission: {tmp_path / 'out' / LABEL} (5 machines); nothing was uploaded" in out and "no finding(s)" in out
    arguments[3] = "Name_LAB_task2_2"
    assert main(arguments) == 1
    assert "check: 1 finding(s)\n  Name_LAB_task2_2.meta.yaml: found firstname: TODO, " in capsys.readouterr().out
    assert main(arguments) == 2
    assert "expected none" in capsys.readouterr().err


def test_a_real_run_can_be_submitted(tiny_data, tmp_path, capsys):
    data = shutil.copytree(tiny_data / "dev_data" / "raw", tmp_path / "data")
    for i, path in enumerate(sorted((data / "pump" / "test").iterdir())):
        path.rename(path.with_name(f"section_00_{i:04d}.wav"))
    config = Config(blocks=("statistics-near",), test_hop=40, false_alarm=0.25)
    runs.run(data, tmp_path / "run", config, ["asdkit"])
    assert main(["submit", str(tmp_path / "run"), "--label", LABEL, "--out", str(tmp_path / "out")]) == 1
    rows = (tmp_path / "out" / LABEL / "anomaly_score_pump_section_00_test.csv").read_text().splitlines()
    assert len(rows) == 12 and rows[0].startswith("section_00_0000.wav,")
    form = read_meta(tmp_path / "out" / LABEL)
    assert list(form["results"]["development_dataset"]) == ["valve"]
    assert form["system"]["complexity"]["total_parameters"] == 0
