"""Store fitted objects: tensors as safetensors, the structure around them as JSON. Loading executes no code.

A fitted object is a tree of frozen dataclasses, dictionaries, tuples, numbers, tensors and networks. Each tensor becomes an
entry of ``tensors.safetensors``, named by its place in the tree; ``model.json`` holds the rest: the version, the hash of the
configuration, how recordings are read, what it was fitted on, and the SHA-256 of tensors and tree. A model that does not fit
together is refused when it is loaded, and tried on a second of noise before it is believed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import types
from dataclasses import fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch

from asdkit import __version__
from asdkit.blocks import HOP, BandScaler, FrontEnd, extract, fast_channels
from asdkit.conditioning import FarConditioner
from asdkit.config import Config
from asdkit.detector import Detector
from asdkit.dsp import Ridge
from asdkit.experiments.baseline import Autoencoder
from asdkit.knn import DomainKNN
from asdkit.msm import MSM
from asdkit.recordings.reading import TWO_CHANNELS, InputError, Reading
from asdkit.space import Balancer, Scaler

CLASSES = {
    c.__name__: c
    for c in (BandScaler, FrontEnd, FarConditioner, Config, Ridge, Balancer, Scaler, DomainKNN, Detector, Reading)
}  # fmt: skip
WIDEST = 10_000  # frames in a window, over five minutes; a model of more is no model


def save(detector: Detector | Autoencoder, folder: str | Path, reading: Reading = TWO_CHANNELS, **notes) -> Path:
    """Write a fitted object to a folder, whole or not at all; one that is there is replaced.

    Parameters
    ----------
    detector : Detector or Autoencoder
    folder : path
    reading : Reading
        How its recordings are read.
    **notes
        JSON-able; kept beside the object.
    """
    from safetensors.torch import save as to_bytes

    folder, tensors = Path(folder), {}
    is_detector = isinstance(detector, Detector)
    tree = _pack(detector if is_detector else detector.state(), "", tensors)
    content = to_bytes(tensors)
    head = {"asdkit": __version__, "config_hash": detector.config.hash() if is_detector else None, **notes}
    head |= {"reading": _pack(reading, "", {}), "model": tree}
    head["sha256"] = seal(head, content)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        (part / "tensors.safetensors").write_bytes(content)
        (part / "model.json").write_text(json.dumps(head, indent=1))
        part.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def seal(head: dict, tensors: bytes) -> dict[str, str]:
    """SHA-256 of the tensors and of everything else that is stored."""
    text = json.dumps({k: v for k, v in head.items() if k != "sha256"}, sort_keys=True)
    return {"tensors": hashlib.sha256(tensors).hexdigest(), "json": hashlib.sha256(text.encode()).hexdigest()}


def load(folder: str | Path) -> Detector:
    """Read a detector back; see `load_model`."""
    return load_model(folder)[0]


def load_model(folder: str | Path) -> tuple[Detector, Reading]:
    """Read back a detector, and how its recordings are read.

    Raises
    ------
    InputError
        When the folder holds none, one of another version, a damaged or altered one, or one without its bank.
    """
    folder, expected = Path(folder), "expected a folder written by `asdkit fit`"
    head, content = _read_files(folder, expected)
    if not isinstance(head, dict) or head.get("asdkit") != __version__:
        found = head.get("asdkit") if isinstance(head, dict) else None
        raise InputError(f"{folder}: found a model of asdkit {str(found)[:40]}, expected {__version__}; fit it again")
    try:
        if head["sha256"] != seal(head, content):
            raise ValueError("its SHA-256 is another: it was altered after it was written")
        tensors = _read_tensors(content)
        detector, reading = _unpack(head["model"], tensors), _unpack(head["reading"], tensors)
        if not isinstance(detector, Detector) or any(len(knn.bank) == 0 for knn in detector.spaces.values()):
            raise InputError(f"{folder}: found a model without its bank, expected one written by `asdkit fit`")
        _check(detector, reading, head["config_hash"])
    except InputError as error:
        if str(folder) in str(error):
            raise
        raise _damaged(folder, error) from None
    except Exception as error:  # whatever a file of any content leads to
        raise _damaged(folder, error) from None
    torch.set_num_threads(detector.config.threads)
    return detector, reading


def _damaged(folder, error) -> InputError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return InputError(f"{folder}: damaged ({reason}); expected a folder written by `asdkit fit`")


def _read_files(folder: Path, expected: str) -> tuple[object, bytes]:
    try:
        paths = [folder / "model.json", folder / "tensors.safetensors"]
        if missing := [p.name for p in paths if not p.is_file()]:
            raise ValueError(f"no {missing[0]}")
        return json.loads(paths[0].read_text()), paths[1].read_bytes()
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder}: not readable as a model ({error}); {expected}") from None


def _read_tensors(content: bytes) -> dict[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    try:
        return from_bytes(content)
    except SafetensorError as error:
        raise ValueError(error) from None


def _check(detector: Detector, reading: Reading, config_hash: str) -> None:
    """Refuse parts that do not fit together, the last of them by trying: a second of noise has to get a score."""
    if not isinstance(reading, Reading):
        raise ValueError("how recordings are read is missing")
    config = detector.config
    if config != detector.front.config or config.hash() != config_hash:
        raise ValueError(f"found config {config.hash()}, expected {config_hash}")
    if config.width > WIDEST or config.threads > 1024:
        raise ValueError(f"found windows of {config.width} frames and {config.threads} threads")
    noise = np.random.default_rng(0).normal(size=(2, (config.width - 1) * HOP)).astype(np.float32)
    score = detector.score(extract(0.1 * noise, config.ridge_penalty, sorted(fast_channels(config))))
    if not np.isfinite([score, 0.0 if detector.threshold is None else detector.threshold]).all():
        raise ValueError(f"found score {score} for noise and threshold {detector.threshold}")


def _pack(value, place: str, tensors: dict):
    """JSON-able form of a tree; tensors go to `tensors` under their place."""
    if isinstance(value, torch.Tensor | np.ndarray):
        tensors[place] = torch.as_tensor(value).detach().contiguous().clone()
        return {"tensor": place, "numpy": isinstance(value, np.ndarray)}
    if isinstance(value, MSM):
        weights = {k: _pack(v, f"{place}/{k}", tensors) for k, v in value.state_dict().items()}
        return {"class": "MSM", "width": value.grid[1] * 8, "bottleneck": value.to_bottleneck.out_features, "weights": weights}
    if is_dataclass(value):
        packed = {f.name: _pack(getattr(value, f.name), f"{place}/{f.name}", tensors) for f in fields(value)}
        return {"class": type(value).__name__, "fields": packed}
    if isinstance(value, dict):
        return {"dict": {k: _pack(v, f"{place}/{k}", tensors) for k, v in value.items()}}
    if isinstance(value, tuple | list):
        return [_pack(v, f"{place}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _unpack(value, tensors: dict):
    """The inverse of `_pack`, for the classes named in `CLASSES` alone."""
    if isinstance(value, list):
        return tuple(_unpack(v, tensors) for v in value)
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        tensor = tensors[value["tensor"]]
        return tensor.numpy() if value["numpy"] else tensor
    if "dict" in value:
        return {k: _unpack(v, tensors) for k, v in value["dict"].items()}
    if value["class"] == "MSM":
        weights = {k: _unpack(v, tensors) for k, v in value["weights"].items()}
        with torch.device("meta"):  # no memory is taken for sizes that the tensors do not have
            net = MSM(value["width"], value["bottleneck"])
        net.load_state_dict(weights, assign=True)
        return net.eval()
    cls, values = CLASSES[value["class"]], {k: _unpack(v, tensors) for k, v in value["fields"].items()}
    for name, hint in _hints(cls).items():
        if not _fits(values[name], hint):
            raise ValueError(f"found {type(values[name]).__name__} for {name} of {value['class']}")
    return cls(**values)


@lru_cache
def _hints(cls) -> dict:
    return get_type_hints(cls)


def _fits(value, hint) -> bool:
    """Whether a value is what a dataclass says of its field."""
    kind, inner = get_origin(hint), get_args(hint)
    if kind is Literal:
        return value in inner
    if kind in (Union, types.UnionType):
        return any(_fits(value, h) for h in inner)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if kind is tuple and inner[-1] is Ellipsis:
        return isinstance(value, tuple) and all(_fits(v, inner[0]) for v in value)
    if kind is tuple:
        return isinstance(value, tuple) and len(value) == len(inner) and all(_fits(v, h) for v, h in zip(value, inner))
    if hint in (int, float, bool, str):
        return type(value) in ((int, float) if hint is float else (hint,))
    return isinstance(value, hint)
