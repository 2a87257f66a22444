"""The configuration: what it accepts, what it refuses, what identifies it, and the literal values of the report."""

import json
from dataclasses import fields, replace

import pytest

from asdkit.config import Config
from asdkit.recordings import InputError

OTHER = dict(
    width=88, train_hop=20, test_hop=4, blocks=("texture",), conditioning="subspace", alpha=0.25, rank=3, control="random",
    cancel_penalty=0.5, objective="autoencoder", mask_ratio=0.5, steps=7, batch_size=8, learning_rate=1e-3, ridge_penalty=0.5,
    context=1, ridge_folds=3, whiten=False, balance=False, msm_weight=0.3, backend="pooled", k=2, n_0=3.0, aggregate="max",
    top=0.2, false_alarm=0.05, holdout=0.25, threads=2,
)  # fmt: skip


def test_report_is_the_literal_reading():
    """Whatever the defaults become: a change here changes what every `report` row of every table means."""
    assert Config.report().to_dict() == {
        "width": 80, "train_hop": 40, "test_hop": 8, "blocks": ["msm", "ridge", "modulation"],
        "conditioning": "subspace", "alpha": 0.5, "rank": 8, "control": "none", "cancel_penalty": 1e-2,
        "objective": "msm", "mask_ratio": 0.6, "steps": 300, "batch_size": 32, "learning_rate": 2e-3,
        "ridge_penalty": 1e-2, "context": 2, "ridge_folds": 5,
        "whiten": False, "balance": True, "msm_weight": 1.0, "backend": "domain", "k": 3, "n_0": 10.0,
        "aggregate": "top", "top": 0.1, "false_alarm": 0.1, "holdout": 0.2, "threads": 1,
    }  # fmt: skip


def test_every_option_is_tried_here_and_means_something():
    assert OTHER.keys() == {f.name for f in fields(Config)}
    assert all(f.metadata["meaning"] for f in fields(Config))


@pytest.mark.parametrize("name", OTHER)
def test_every_option_changes_the_hash(name):
    varied = replace(Config(), **{name: OTHER[name]})
    assert varied.hash() != Config().hash() and varied.hash(name) != Config().hash(name)
    assert varied.hash(*(OTHER.keys() - {name})) == Config().hash(*(OTHER.keys() - {name}))
    assert varied.hash() == Config.from_dict(varied.to_dict()).hash()


def test_the_hash_is_stable():
    assert Config().hash() == Config.from_dict({}).hash()
    assert len(Config().hash()) == 12 and int(Config().hash(), 16)
    assert Config(alpha=1).hash() == Config(alpha=1.0).hash()  # equal configurations have equal hashes
    assert Config.from_dict({"n_0": 10, "blocks": ["msm"]}).hash() == Config(n_0=10.0, blocks=("msm",)).hash()


def test_quick_cuts_training_short_and_nothing_else():
    assert Config().quick() == replace(Config(), steps=10) and replace(Config(), steps=3).quick().steps == 3


@pytest.mark.parametrize("config", [Config(), Config.report(), Config(**OTHER)])
def test_json_round_trip(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert Config.load(path) == config


def test_a_file_names_some_options_and_leaves_the_rest(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"blocks": ["msm", "statistics"], "alpha": 1}')
    assert Config.load(path) == replace(Config(), blocks=("msm", "statistics"), alpha=1.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[1]", "found list, expected an object"),
        ('{"alfa": 1}', "found option alfa"),
        ('{"bottleneck": 128, "fusion": "mean"}', "found option bottleneck, fusion"),  # of version 0.1
        ('{"alpha": 1.5}', "found alpha = 1.5, expected a value from 0 to 1"),
        ('{"alpha": NaN}', "found alpha = nan, expected a value from 0 to 1"),
        ('{"alpha": "1"}', "found alpha = '1', expected float"),
        ('{"alpha": true}', "found alpha = True, expected float"),
        ('{"alpha": null}', "found alpha = None, expected float"),
        ('{"k": 1.5}', "found k = 1.5, expected int"),
        ('{"k": 0}', "found k = 0, expected a value from 1"),
        ('{"width": 81}', "found width = 81, expected a multiple of 8"),
        ('{"balance": 1}', "found balance = 1, expected bool"),
        ('{"whiten": ["msm"]}', r"found whiten = \('msm',\), expected bool"),
        ('{"blocks": []}', r"found blocks = \(\), expected names, each once"),
        ('{"blocks": "msm"}', "found blocks = 'msm', expected names, each once"),
        ('{"blocks": 3}', "found blocks = 3, expected"),
        ('{"blocks": [["msm"]]}', "found blocks = .*expected"),
        ('{"blocks": ["msm", "msm"]}', "found blocks = .*expected"),
        ('{"conditioning": "output"}', "found conditioning = 'output', expected input, subspace"),
        ('{"control": "none "}', "found control = 'none ', expected none, other-recording, scrambled-phase, random, near-pca"),
        ('{"backend": ["domain"]}', "found backend = .*'domain'.*, expected str"),
        ('{"holdout": 0.9}', "found holdout = 0.9, expected a value from 0.01 to 0.5"),
    ],
)
def test_bad_options_are_named_with_what_was_expected(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as error:
        Config.load(path)
    assert "\n" not in str(error.value)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere.json: not readable"):
        Config.load(tmp_path / "nowhere.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="binary.json: not readable"):
        Config.load(tmp_path / "binary.json")
