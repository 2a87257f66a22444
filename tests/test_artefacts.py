"""A stored object is the object, bit for bit; damaged ones are refused in a line; writing is whole or not at all."""

import json
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch

from asdkit import detector as pipeline
from asdkit import storage as artefacts
from asdkit.recordings import InputError, Reading, index_data
from asdkit.recordings.files import write
from asdkit.storage import load, load_model, save, seal


@pytest.fixture(scope="module")
def fitted(tiny_data, tiny_config):
    """Score fusion: more than one space, everything in use."""
    train = index_data(tiny_data)[1].train
    return pipeline.fit(train, replace(tiny_config, fusion="max", backend="minimum"))


@pytest.fixture
def model(fitted, tmp_path):
    return save(fitted, tmp_path / "model", note="for a test")


def leaves(value, place=""):
    """{place: tensor, array or number} of a tree, walked without the help of the package."""
    if isinstance(value, torch.nn.Module):
        value = dict(value.state_dict())
    if is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in fields(value)}
    if isinstance(value, dict | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, child in items for k, v in leaves(child, f"{place}/{key}").items()}
    return {place: value}


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)  # the layout too: products round by it
    return type(a) is type(b) and np.array_equal(a, b)


def test_round_trip_is_exact(fitted, model):
    before, after = leaves(fitted), leaves(load(model))
    assert before.keys() == after.keys() and len(before) > 100
    assert [place for place in before if not same(before[place], after[place])] == []
    assert not load(model).front.net.training


def test_saving_again_replaces_and_leaves_nothing_else(fitted, model):
    (model / "stale.txt").write_text("from before")
    save(replace(fitted, threshold=1.5), model)
    assert load(model).threshold == 1.5
    assert sorted(p.name for p in model.iterdir()) == ["model.json", "tensors.safetensors"]
    assert [p.name for p in model.parent.iterdir()] == ["model"]


def test_what_is_stored_is_readable_without_the_package(model):
    from safetensors.numpy import load_file

    head = json.loads((model / "model.json").read_text())
    assert head["note"] == "for a test" and head["model"]["class"] == "Detector"
    assert load_file(model / "tensors.safetensors")


def test_a_failed_save_keeps_the_old_model(fitted, model, monkeypatch):
    monkeypatch.setattr(artefacts, "_pack", lambda *_: (_ for _ in ()).throw(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        save(fitted, model)
    assert load(model).config == fitted.config
    assert [p.name for p in model.parent.iterdir()] == ["model"]


def edit(model, change):
    """Change what is stored, and seal it again."""
    head = json.loads((model / "model.json").read_text())
    change(head)
    head["sha256"] = seal(head, (model / "tensors.safetensors").read_bytes())
    (model / "model.json").write_text(json.dumps(head))


def wide(head, width):
    """A network of another width than its weights."""
    net = head["model"]["fields"]["front"]["fields"]["net"]
    assert net["class"] == "MSM"
    net["width"] = width


def flip_a_weight(model):
    path = model / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def test_how_recordings_are_read_is_stored(fitted, tmp_path):
    reading = Reading(near=1, resample=True)
    assert load_model(save(fitted, tmp_path / "model", reading))[1] == reading


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: (m / "model.json").unlink(), "not readable as a model"),
        (lambda m: (m / "tensors.safetensors").unlink(), "not readable as a model"),
        (lambda m: (m / "model.json").write_text("{"), "not readable as a model"),
        (lambda m: (m / "model.json").write_text("[]"), "found a model of asdkit None, expected"),
        (lambda m: (m / "tensors.safetensors").write_bytes(b"\x00" * 40), "damaged"),
        (lambda m: (m / "tensors.safetensors").write_bytes((m / "tensors.safetensors").read_bytes()[:-9]), "damaged"),
        (lambda m: edit(m, lambda h: h.update(asdkit="0.0.1")), "found a model of asdkit 0.0.1, expected"),
        (lambda m: edit(m, lambda h: h["model"].update({"class": "Popen"})), "damaged"),
        (lambda m: edit(m, lambda h: h["model"]["fields"].pop("front")), "damaged"),
        (lambda m: edit(m, lambda h: h.pop("model")), "damaged"),
        (lambda m: edit(m, lambda h: h.pop("reading")), "damaged"),
        (lambda m: edit(m, lambda h: h.update(config_hash="0" * 12)), "damaged .found config .*, expected 000000000000"),
        (
            lambda m: edit(m, lambda h: h["reading"]["fields"].update(near=2)),
            "damaged .reading: found .*, expected near 0 or 1",
        ),
        (lambda m: edit(m, lambda h: h["model"]["fields"].update(seed="0")), "damaged .found str for seed of Detector"),
        (lambda m: edit(m, lambda h: wide(h, 10**9)), "damaged"),
        (lambda m: (m / "model.json").write_text((m / "model.json").read_text().replace('"seed": 0', '"seed": 1')), "altered"),
        (flip_a_weight, "damaged .its SHA-256 is another: it was altered"),
    ],
)
def test_damaged_models_are_refused(model, damage, message):
    damage(model)
    with pytest.raises(InputError, match=message) as error:
        load(model)
    assert str(model) in str(error.value) and "\n" not in str(error.value)


def test_write_text_is_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "a.txt"
    write(path, "one")
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        write(path, "two")
    assert path.read_text() == "one"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]
