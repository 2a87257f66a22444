"""The notebooks as files: stripped, listed, of one form, their quick profiles and links in order. `make test` runs them."""

import ast
import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(path):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]


def test_the_index_names_every_notebook():
    index = (FOLDER / "README.md").read_text()
    assert NOTEBOOKS and all(f"({path.name})" in index for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stripped_and_code_is_short(path):
    cells = code_cells(path)
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells)
    assert sum(line.strip() != "" for c in cells for line in c["source"]) < 150


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_the_quick_profile_replaces_literals_that_exist(path):
    """A mock of a name that no longer exists would pass silently."""
    (cell,) = [c for c in code_cells(path) if "parameters" in c["metadata"].get("tags", [])]
    assigned = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse("".join(cell["source"])).body}
    mock = cell["metadata"]["nbmake"]["mock"]
    assert mock and mock.keys() <= assigned.keys()
    assert all(type(value) is type(assigned[name]) for name, value in mock.items())


def prose(path):
    return ["".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "markdown"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_opens_with_its_number_and_asks_one_question(path):
    first = prose(path)[0]
    assert first.startswith(f"# {path.stem[:2]} ")
    (question,) = re.findall(r"\*\*Question\.\*\* ([^?]*\?)", first)
    assert first.count("?") == 1 and "**In.**" in first and "**Out.**" in first
    assert " ".join(question.split()) in (FOLDER / "README.md").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_ends_with_what_was_seen_assertions_and_the_next(path):
    cells = json.loads(path.read_text())["cells"]
    *_, seen, last = code_cells(path)
    assert "## What we saw" in "\n".join(prose(path)) and "print(f" in "".join(seen["source"])
    statements = ast.parse("".join(last["source"])).body
    assert all(isinstance(s, ast.Assert | ast.For) for s in statements) and any(isinstance(s, ast.Assert) for s in statements)
    assert cells[-1]["cell_type"] == "markdown" and "".join(cells[-1]["source"]).startswith("**Next:**")
    links = re.findall(r"\]\(([^)]+)\)", "".join(cells[-1]["source"]))
    assert links and all((FOLDER / link).is_file() for link in links)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_cells_are_short_and_hold_no_method(path):
    sources = ["".join(c["source"]) for c in code_cells(path)]
    assert max(len(source.splitlines()) for source in sources) < 22
    assert sum(len(re.findall(r"^\s*(?:def|class) ", source, re.MULTILINE)) for source in sources) <= 1
