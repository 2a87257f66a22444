"""Store fitted objects: tensors as safetensors, the structure around them as JSON. Loading executes no code.

A fitted object is a tree of frozen dataclasses, dictionaries, tuples, numbers, tensors and networks. Each tensor becomes an
entry of ``tensors.safetensors``, named by its place in the tree; ``model.json`` holds the rest.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch

from asdkit import __version__
from asdkit.baseline import Autoencoder
from asdkit.blocks import BandScaler, FrontEnd
from asdkit.conditioning import FarConditioner
from asdkit.config import Config
from asdkit.dsp import Ridge
from asdkit.fusion import Balancer, Scaler
from asdkit.knn import DomainKNN
from asdkit.msm import MSM
from asdkit.pipeline import Detector
from asdkit.recordings import InputError

CLASSES = {
    c.__name__: c
    for c in (BandScaler, FrontEnd, FarConditioner, Config, Ridge, Balancer, Scaler, DomainKNN, Detector)
}  # fmt: skip


def save(detector: Detector | Autoencoder, folder: str | Path, **notes) -> Path:
    """Write a fitted object to a folder, whole or not at all; one that is there is replaced.

    Parameters
    ----------
    detector : Detector or Autoencoder
    folder : path
    **notes
        JSON-able; kept beside the object.
    """
    from safetensors.torch import save_file

    folder, tensors = Path(folder), {}
    state = detector.state() if isinstance(detector, Autoencoder) else detector
    tree = _pack(state, "", tensors)
    head = {"asdkit": __version__, **notes, "model": tree}
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        save_file(tensors, part / "tensors.safetensors")
        (part / "model.json").write_text(json.dumps(head, indent=1))
        part.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def load(folder: str | Path) -> Detector:
    """Read a detector back.

    Raises
    ------
    InputError
        When the folder holds none, one of another version, or one without its bank.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        head = json.loads((folder / "model.json").read_text())
        tensors = load_file(folder / "tensors.safetensors")
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{folder}: not readable as a model ({error}); expected a folder written by `asdkit fit`") from None
    except Exception as error:  # safetensors raises its own class for a damaged file
        raise InputError(f"{folder}: damaged ({error}); expected a folder written by `asdkit fit`") from None
    if not isinstance(head, dict) or head.get("asdkit") != __version__:
        found = head.get("asdkit") if isinstance(head, dict) else None
        raise InputError(f"{folder}: found a model of asdkit {found}, expected {__version__}; fit it again")
    try:
        detector = _unpack(head["model"], tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder}: damaged ({error!r}); expected a folder written by `asdkit fit`") from None
    if not isinstance(detector, Detector) or any(len(knn.bank) == 0 for knn in detector.spaces.values()):
        raise InputError(f"{folder}: found a model without its bank, expected one written by `asdkit fit`")
    torch.set_num_threads(detector.config.threads)
    return detector


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
        net = MSM(value["width"], value["bottleneck"])
        net.load_state_dict({k: _unpack(v, tensors) for k, v in value["weights"].items()})
        return net.eval()
    return CLASSES[value["class"]](**{k: _unpack(v, tensors) for k, v in value["fields"].items()})


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        part.write_text(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
