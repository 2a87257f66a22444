"""Applications: the command line, the tuning panel, sound and sliders of notebooks, HTML pages, the folder that is watched.

Nothing imports them.
"""

from asdkit.public import on_first_use

_PUBLIC = {
    "Panel": "panel", "write_page": "page", "sounds": "listening", "fault_sliders": "listening",
    "threshold_slider": "listening", "ClipMap": "listening", "sliders": "listening",
}  # fmt: skip
__all__ = [*_PUBLIC]
__getattr__, __dir__ = on_first_use(__name__, _PUBLIC)
