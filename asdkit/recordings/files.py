"""Writing files and folders whole or not at all, and the error for what a user gave."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


class InputError(ValueError):
    """Something given by the user cannot be used; the message names it, what was found and what was expected."""


def write(path: str | Path, content: str | bytes) -> Path:
    """Write a file whole or not at all: under a temporary name, then moved. Text is UTF-8. Returns the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}-{uuid4().hex}")
    try:
        draft.write_bytes(content.encode() if isinstance(content, str) else content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path


@contextmanager
def new_folder(folder: str | Path, replace: bool = True) -> Iterator[Path]:
    """A temporary folder that becomes `folder` (with `replace` in place of another) when the block ends, or leaves no trace."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        yield draft
        draft.chmod(0o755)
        if replace and folder.exists():
            shutil.rmtree(folder)
        draft.replace(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
