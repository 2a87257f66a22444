"""A stored object is the object, bit for bit; damaged ones are refused in a line; writing is whole or not at all."""

import json
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import asdkit
from asdkit.recordings import InputError, Reading, index_data
from asdkit.recordings.files import write
from asdkit.storage import checksums


@pytest.fixture(scope="module")
def fitted(tiny_data, tiny_config):
    """Everything in use: a network, whitened blocks, and directions that far shares."""
    train = index_data(tiny_data)[1].train
    with pytest.warns(UserWarning, match="hear first what both hear"):
        detector = asdkit.fit(train, replace(tiny_config, conditioning="subspace", steps=1), progress=False)
    return replace(detector, reading=Reading(near=1, resample=True))


@pytest.fixture
def model(fitted, tmp_path):
    return fitted.save(tmp_path / "model")


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
    loaded = asdkit.load(model)
    before, after = leaves(fitted), leaves(loaded)
    assert before.keys() == after.keys() and len(before) > 100
    assert [place for place in before if not same(before[place], after[place])] == []
    assert not loaded.extractor.learned["encoder"].net.training and loaded.reading == Reading(near=1, resample=True)


def test_saving_again_replaces_and_leaves_nothing_else_and_a_failed_save_keeps_the_old(fitted, model, monkeypatch):
    (model / "stale.txt").write_text("from before")
    replace(fitted, seed=7).save(model)
    assert asdkit.load(model).seed == 7
    assert sorted(p.name for p in model.iterdir()) == ["model.json", "tensors.safetensors"]
    assert [p.name for p in model.parent.iterdir()] == ["model"]
    head = json.loads((model / "model.json").read_text())  # readable without the package
    assert head["asdkit"] == asdkit.__version__ and head["config"] == fitted.config.hash() and head["about"]["clips"] == 8
    assert load_file(model / "tensors.safetensors")
    path = write(model.parent / "new" / "a.txt", "one")

    def fails(*_):
        raise OSError("disk full")

    for name, again in (("write_text", lambda: fitted.save(model)), ("replace", lambda: write(path, "two"))):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
            patch.setattr(f"pathlib.Path.{name}", fails)
            again()
    assert asdkit.load(model).seed == 7 and path.read_text() == "one"
    assert sorted(p.name for p in model.parent.rglob("*")) == ["a.txt", "model", "model.json", "new", "tensors.safetensors"]


def text(change):
    return lambda m: (m / "model.json").write_text(change((m / "model.json").read_text()))


def tensors(change):
    path = "tensors.safetensors"
    return lambda m: (m / path).write_bytes(change((m / path).read_bytes()))


def edit(change):
    def damage(model):
        head = json.loads((model / "model.json").read_text())
        change(head)
        head["checksums"] = checksums(head, (model / "tensors.safetensors").read_bytes())
        (model / "model.json").write_text(json.dumps(head))

    return damage


NET = ("extractor", "learned", "encoder", "net")


def stored(head, *place):
    entry = head["tree"]
    for name in place:
        entry = next(entry[kind] for kind in ("dict", "fields", "weights") if kind in entry)[name]
    return entry


@pytest.mark.parametrize(("damage", "message"), [
    (lambda m: (m / "model.json").unlink(), "not readable as a model"),
    (lambda m: (m / "tensors.safetensors").unlink(), "not readable as a model"),
    (text(lambda _: "{"), "not readable as a model"),
    (text(lambda _: "[]"), "found a model of asdkit None, expected"),
    (edit(lambda h: h.update(asdkit="0.0.1")), "found a model of asdkit 0.0.1, expected"),
    (edit(lambda h: stored(h, "extractor").update({"class": "Popen"})), "damaged"),
    (edit(lambda h: h["tree"]["dict"].pop("extractor")), "found another kind of model, expected"),
    (edit(lambda h: h.update(tree=[])), "found another kind of model"),
    (edit(lambda h: h.update(config="0" * 12)), "damaged .found config .*, expected 000000000000"),
    (edit(lambda h: stored(h, "reading")["fields"].update(near=2)), "damaged .reading: found .*, expected near 0 or 1"),
    (edit(lambda h: stored(h, "scorer", "config")["fields"].update(k=4)), "damaged .found config"),
    (edit(lambda h: stored(h, *NET)["arguments"].update(width=10**9)), "damaged"),  # MSM takes none
    (text(lambda head: head.replace('"seed": 0', '"seed": 1')), "damaged .its SHA-256 is another: it was altered"),
    (tensors(lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]), "its SHA-256 is another"),
])  # fmt: skip
def test_damaged_models_are_refused(model, damage, message):
    damage(model)
    with pytest.raises(InputError, match=message) as error:
        asdkit.load(model)
    assert str(model) in str(error.value) and "\n" not in str(error.value)
