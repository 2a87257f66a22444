"""asdkit: noise-aware anomalous sound detection with a near and a far microphone.

The data flow, module by module: `reading`, `recordings`, `spectrogram`, `msm`, `training`, `dsp`, `blocks`, `conditioning`,
`fusion`, `knn`, `pipeline`, `metrics`, `runs`, `figures`. Data come from anywhere, or from `simulate`.
"""

import importlib

__version__ = "0.1.0"

_PUBLIC = {
    "Clip": "recordings", "Machine": "recordings", "InputError": "recordings", "index_data": "recordings",
    "index_folder": "recordings", "read_clip": "recordings", "Reading": "recordings", "Scene": "simulate", "render": "simulate",
    "stft": "spectrogram", "log_mel": "spectrogram", "MSM": "msm", "train_msm": "training",
    "cancel_far": "dsp", "modulation": "dsp", "extract": "blocks", "FarConditioner": "conditioning",
    "fit_conditioner": "conditioning", "DomainKNN": "knn", "fit_knn": "knn", "Config": "config",
    "Detector": "detector", "fit": "detector", "evaluate": "metrics", "bootstrap": "metrics", "systems": "experiments",
    "run": "experiments",
}  # fmt: skip
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    """Load a public name when it is first used: `import asdkit` stays fast."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'asdkit' has no attribute {name!r}")
    module = importlib.import_module(f"asdkit.{_PUBLIC[name]}")
    return getattr(module, name)


def __dir__():
    return sorted(__all__)
