"""Store fitted objects: tensors as safetensors, the structure around them as JSON. Loading executes no code.

A fitted object is a tree of frozen dataclasses, dictionaries, tuples, numbers, tensors and networks. Each tensor becomes an
entry of ``tensors.safetensors``, named by its place in the tree; ``model.json`` holds the rest, with the checksums of both.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import torch

from asdkit.recordings.files import InputError, new_folder


def save_tree(folder: str | Path, tree, **head) -> Path:
    """Write a fitted object, and beside it the JSON-able `head`, whole or not at all; one that is there is replaced."""
    from safetensors.torch import save

    tensors = {}
    head = head | {"tree": _pack(tree, "", tensors)}
    content = save(tensors)
    head["checksums"] = checksums(head, content)
    with new_folder(folder) as draft:
        (draft / "tensors.safetensors").write_bytes(content)
        (draft / "model.json").write_text(json.dumps(head, indent=1))
    return Path(folder)


def load_tree(folder: str | Path, classes: Iterable[type], **expected):
    """Read a fitted object of these dataclasses and networks back, and its head.

    InputError when the folder holds no model, one whose head has other entries than `expected`, or a damaged one.
    """
    from safetensors.torch import load

    folder = Path(folder)
    files = folder / "model.json", folder / "tensors.safetensors"
    try:
        if not all(file.is_file() for file in files):  # what is no file, like a pipe, is not opened: that could wait forever
            raise OSError("no such files")
        head, content = json.loads(files[0].read_text()), files[1].read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder}: not readable as a model ({error}); expected a folder written by `asdkit fit`") from None
    for name, value in expected.items():
        if not isinstance(head, dict) or head.get(name) != value:
            stored = str(head.get(name) if isinstance(head, dict) else None)[:40]
            raise InputError(f"{folder}: found a model of {name} {stored}, expected {value}; fit it again")

    def read():
        if head["checksums"] != checksums(head, content):
            raise ValueError("its SHA-256 is another: it was altered after it was written")
        return _unpack(head["tree"], load(content), {c.__name__: c for c in classes}), head

    return damaged_if_it_fails(folder, read)


def damaged_if_it_fails(folder: Path, read):
    """What ``read()`` gives; whatever a file of any content leads to becomes an InputError that names the folder."""
    try:
        return read()
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{folder}: damaged ({reason}); expected a folder written by `asdkit fit`") from None


def checksums(head: dict, tensors: bytes) -> dict[str, str]:
    """SHA-256 of the tensors and of everything else that is stored."""
    text = json.dumps({k: v for k, v in head.items() if k != "checksums"}, sort_keys=True)
    return {"tensors": hashlib.sha256(tensors).hexdigest(), "json": hashlib.sha256(text.encode()).hexdigest()}


def _pack(value, place: str, tensors: dict):
    """JSON-able form of a tree; tensors go to `tensors` under their place."""
    if isinstance(value, torch.Tensor | np.ndarray):
        tensors[place] = torch.as_tensor(value).detach().contiguous().clone()
        return {"tensor": place, "numpy": isinstance(value, np.ndarray)}
    if isinstance(value, torch.nn.Module):
        weights = {k: _pack(v, f"{place}/{k}", tensors) for k, v in value.state_dict().items()}
        return {"network": type(value).__name__, "arguments": value.arguments, "weights": weights}
    if is_dataclass(value):
        packed = {f.name: _pack(getattr(value, f.name), f"{place}/{f.name}", tensors) for f in fields(value)}
        return {"class": type(value).__name__, "fields": packed}
    if isinstance(value, dict):
        return {"dict": {k: _pack(v, f"{place}/{k}", tensors) for k, v in value.items()}}
    if isinstance(value, tuple | list):
        return [_pack(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _unpack(value, tensors: dict, classes: dict[str, type]):
    """The inverse of `_pack`, for `classes` alone."""
    if isinstance(value, list):
        return tuple(_unpack(v, tensors, classes) for v in value)
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        return tensor.numpy() if value["numpy"] else tensor
    inner = next(value[k] for k in ("dict", "fields", "weights") if k in value)
    inner = {k: _unpack(v, tensors, classes) for k, v in inner.items()}
    if "dict" in value:
        return inner
    if "class" in value:
        return classes[value["class"]](**inner)
    with torch.device("meta"):  # no memory is taken for sizes that the tensors do not have
        net = classes[value["network"]](**value["arguments"])
    net.load_state_dict(inner, assign=True)
    return net.eval().to(memory_format=torch.channels_last)  # as it was fitted: convolutions round by memory layout
