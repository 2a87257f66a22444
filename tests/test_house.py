"""The rooms of the package: who may import whom."""

import ast
import json
import re
from graphlib import TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ""  # the flat files of asdkit/
MAY_IMPORT = {
    "recordings": set(),
    "simulate": {"recordings"},
    CORE: {"recordings"},
    "figures": {"asdkit.spectrogram"},
    "experiments": {CORE, "recordings", "simulate", "figures"},
    "apps": {CORE, "recordings", "simulate", "figures", "experiments"},
}
ROOMS = sorted(set(MAY_IMPORT) - {CORE})
FRONT_DOORS = {"asdkit", "asdkit.__main__"}  # names and the command come from any room
FILES = sorted((ROOT / "asdkit").rglob("*.py"))
MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}


def room_of(module: str) -> str:
    room = f"{module}.".split(".")[1]
    return room if room in ROOMS else CORE


def imported(name: str, nodes) -> set[str]:
    """Modules of ours that import statements among `nodes` name; `from room import module` names the module."""
    found, package = set(), name if MODULES[name].stem == "__init__" else name.rpartition(".")[0]
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in MODULES else base for a in node.names}
    return found & MODULES.keys()


TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room):
    assert room == CORE or ast.get_docstring(TREES[f"asdkit.{room}"])  # says what lives there
    allowed = MAY_IMPORT[room] | {room}
    names = [name for name in TREES.keys() - FRONT_DOORS if room_of(name) == room]
    others = [(name, other) for name in names for other in imported(name, ast.walk(TREES[name]))]
    forbidden = [f"{name} imports {other}" for name, other in others if not {other, room_of(other)} & allowed]
    assert not forbidden, "\n".join(sorted(forbidden))


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted(ROOT.glob("notebooks/*.ipynb"))], ids=lambda path: path.name)
def test_notebooks_and_the_readme_import_from_a_room(path):
    text = path.read_text()
    if path.suffix == ".ipynb":
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code")
    modules = re.findall(r"^\s*(?:from|import) (asdkit[\w.]*)", text, re.MULTILINE)
    assert not [m for m in modules if re.match(rf"asdkit\.({'|'.join(ROOMS)})\.", m)]


def test_no_import_goes_in_a_circle():
    list(TopologicalSorter({name: imported(name, tree.body) - {name} for name, tree in TREES.items()}).static_order())
