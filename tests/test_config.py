"""The configuration: what it accepts, what it refuses, what identifies it, and the literal values of the report."""

import json
from dataclasses import fields, replace

import pytest

from asdkit.config import Config
from asdkit.recordings import InputError

OTHER = dict(
    width=88, train_hop=20, test_hop=4, blocks=("texture",), conditioning="subspace", alpha=0.25, rank=3, control="random",
    cancel_penalty=0.5, objective="autoencoder", mask_ratio=0.5, steps=7, batch_size=8, learning_rate=1e-3, ridge_penalty=0.5,
    context=1, ridge_folds=3, whiten=False, balance="none", msm_weight=0.3, backend="pooled", k=2, n_0=3.0, aggregate="max",
    top=0.2, false_alarm=0.05, threads=2,
)  # fmt: skip


def test_report_is_the_literal_reading():
    assert Config.report().to_dict() == {
        "width": 80, "train_hop": 40, "test_hop": 8, "blocks": ["msm", "ridge", "modulation"],
        "conditioning": "subspace", "alpha": 0.5, "rank": 8, "control": "none", "cancel_penalty": 1e-2,
        "objective": "msm", "mask_ratio": 0.6, "steps": 300, "batch_size": 32, "learning_rate": 2e-3,
        "ridge_penalty": 1e-2, "context": 2, "ridge_folds": 5,
        "whiten": False, "balance": "blocks", "msm_weight": 1.0, "backend": "domain", "k": 3, "n_0": 10.0,
        "aggregate": "top", "top": 0.1, "false_alarm": 0.1, "threads": 1,
    }  # fmt: skip


@pytest.mark.parametrize("option", fields(Config), ids=lambda option: option.name)
def test_every_option_means_something_and_changes_the_hash(option):
    name = option.name
    varied = replace(Config(), **{name: OTHER[name]})
    assert option.metadata["meaning"] and varied.hash() != Config().hash() and varied.hash(name) != Config().hash(name)
    assert varied.hash(*(OTHER.keys() - {name})) == Config().hash(*(OTHER.keys() - {name}))
    assert varied.hash() == Config.from_dict(varied.to_dict()).hash() and len(varied.hash()) == 12
    equal = Config.from_dict({"n_0": 10, "alpha": 1, "blocks": ["msm"]})
    assert equal.hash() == Config(n_0=10.0, alpha=1.0, blocks=("msm",)).hash()  # equal configurations have equal hashes


@pytest.mark.parametrize("config", [Config(), Config.report(), Config(**OTHER)])
def test_json_round_trip(config, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.to_dict()))
    assert Config.load(path) == config
    path.write_text('{"blocks": ["msm", "statistics"], "alpha": 1, "steps": 3}')  # some options; the rest is the default's
    some = replace(Config(), blocks=("msm", "statistics"), alpha=1.0, steps=3)
    assert Config.load(path) == some == some.quick() and Config().quick() == replace(Config(), steps=10)


@pytest.mark.parametrize(("text", "message"), [
    (None, "not readable"), (b"\xff\xfe\x00\x81", "not readable"), ("{", "not readable as JSON"),
    ("[1]", "found list, expected an object"),
    ('{"alfa": 1}', "found option alfa"),
    ('{"alpha": 1.5}', "found alpha = 1.5, expected a value from 0 to 1"),
    ('{"alpha": NaN}', "found alpha = nan, expected a value from 0 to 1"),
    ('{"alpha": "1"}', "found alpha = '1', expected float"),
    ('{"k": 1.5}', "found k = 1.5, expected int"),
    ('{"width": 81}', "found width = 81, expected a multiple of 8"),
    ('{"whiten": 1}', "found whiten = 1, expected bool"),
    ('{"blocks": []}', r"found blocks = \(\), expected names, each once"),
    ('{"blocks": "msm"}', "found blocks = 'msm', expected names, each once"),
    ('{"blocks": ["msm", "msm"]}', "found blocks = .*expected"),
    ('{"conditioning": "output"}', "found conditioning = 'output', expected input, subspace"),
    ('{"control": "none "}', "found control = 'none ', expected none, other-recording, scrambled-phase, random, near-pca"),
    ('{"backend": ["domain"]}', "found backend = .*'domain'.*, expected str"),
])  # fmt: skip
def test_bad_options_are_named_with_what_was_expected(tmp_path, text, message):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=message) as error:
        Config.load(path)
    assert "\n" not in str(error.value)
