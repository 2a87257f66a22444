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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_is_stripped_and_short_and_names_what_exists(path):
    """Its quick profile literals of its own: a mock of any other name would pass silently; its last cell files."""
    cells, last = code_cells(path), "".join(json.loads(path.read_text())["cells"][-1]["source"])
    assert f"({path.name})" in (FOLDER / "README.md").read_text()
    assert all(not c["outputs"] and c["execution_count"] is None for c in cells)
    assert sum(line.strip() != "" for c in cells for line in c["source"]) < 150
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assigned = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse("".join(cell["source"])).body}
    mock = cell["metadata"]["nbmake"]["mock"]
    assert mock and mock.keys() <= assigned.keys()
    assert all(type(value) is type(assigned[name]) for name, value in mock.items())
    links = re.findall(r"\]\(([^)]+)\)", last)
    assert last.startswith("**Next:**") and links and all((FOLDER / link).is_file() for link in links)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_it_defines_nothing_explains_its_parameters_and_folds_its_checks(path):
    cells = code_cells(path)
    assert not any(line.startswith(("def ", "class ")) for c in cells for line in c["source"])
    (parameters,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert all("  # " in line for line in parameters["source"])
    assert cells[-1]["metadata"]["jupyter"]["source_hidden"] and {"checks", "hide-input"} <= set(cells[-1]["metadata"]["tags"])
