"""Applications: the command line, the tuning panel, the HTML pages and the folder that is watched. Nothing imports them."""

import importlib

_PUBLIC = {"Panel": "panel", "write_page": "page"}
__all__ = [*_PUBLIC]


def __getattr__(name):
    """Load a public name when it is first used."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'asdkit.apps' has no attribute {name!r}")
    return getattr(importlib.import_module(f"asdkit.apps.{_PUBLIC[name]}"), name)


def __dir__():
    return sorted(__all__)
