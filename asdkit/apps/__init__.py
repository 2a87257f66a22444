"""Applications: the command line, the tuning panel, the HTML pages and the folder that is watched. Nothing imports them."""

from asdkit.public import on_first_use

_PUBLIC = {"Panel": "panel", "write_page": "page"}
__all__ = [*_PUBLIC]
__getattr__, __dir__ = on_first_use(__name__, _PUBLIC)
