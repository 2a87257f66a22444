"""What is declared agrees: packages, versions, links. Importing is cheap. Nothing of a developer's machine is left."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONDA_NAMES = {"torch": "pytorch", "soundfile": "pysoundfile", "soxr": "soxr-python", "playwright": "playwright-python"}
PIP_ONLY = {"nbmake"}
HEAVY = {"torch", "pandas", "sklearn", "matplotlib", "scipy", "pyroomacoustics", "soundfile", "plotly"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION = re.search(r'^__version__ = "(.+)"$', (ROOT / "asdkit/__init__.py").read_text(), re.MULTILINE)


def project_files() -> list[Path]:
    """Text files that are, or would be, committed."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the project's own files cannot be told from others")
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()]


def bounds(requirements) -> dict[str, str]:
    """["numpy>=1.26"] -> {"numpy": ">=1.26"}, names in lower case with - for _."""
    split = [re.fullmatch(r"([A-Za-z0-9_.-]+?)([<>=!~].*)?", r) for r in requirements]
    return {m[1].lower().replace("_", "-"): m[2] or "" for m in split}


def declared() -> dict[str, str]:
    """Every direct dependency: core and extras."""
    return bounds(PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), []))


def conda_environment() -> tuple[dict[str, str], dict[str, str]]:
    """The packages of environment.yml: conda's, and those under ``pip:``."""
    lines = (ROOT / "environment.yml").read_text().split("dependencies:\n")[1].splitlines()
    items = [m for line in lines if (m := re.fullmatch(r"( +)- ([^\s#:]+)(?: *#.*)?", line))]
    return bounds(m[2] for m in items if len(m[1]) == 2), bounds(m[2] for m in items if len(m[1]) > 2)


def test_conda_and_pip_name_the_same_packages():
    conda, pip = conda_environment()
    assert conda.pop("python") == PROJECT["requires-python"]
    del conda["pip"]
    assert pip.keys() == PIP_ONLY
    assert conda | pip == {CONDA_NAMES.get(name, name): bound for name, bound in declared().items()}


def test_constraints_cover_every_dependency_exactly():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = bounds(line for line in lines if not line.startswith("#"))
    assert all(re.fullmatch(r"==[0-9.]+", version) for version in pinned.values())  # no local label such as +cpu
    assert declared().keys() <= pinned.keys()
    assert pinned["torch"] == "==2.13.0"
    for name, bound in declared().items():
        least, tested = ([int(n) for n in re.findall(r"\d+", v)] for v in (bound, pinned[name]))
        assert bound.startswith(">=") and least <= tested, name


def test_constraints_are_what_is_installed():
    """A warning sign only where the tests run in .venv, which is made from constraints.txt."""
    from importlib.metadata import version

    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("not run in .venv")
    pinned = bounds(r for r in (ROOT / "constraints.txt").read_text().splitlines() if not r.startswith("#"))
    core = bounds(PROJECT["dependencies"])
    assert {name: "==" + version(name).split("+")[0] for name in core} == {name: pinned[name] for name in core}


def test_import_is_light():
    code = "import sys, time; t = time.perf_counter(); import asdkit; print(time.perf_counter() - t, *sys.modules)"
    command, environment = [sys.executable, "-W", "error", "-c", code], os.environ | {"PYTHONPATH": str(ROOT)}
    runs = [subprocess.run(command, env=environment, check=True, capture_output=True, text=True) for _ in range(2)]
    seconds, modules = zip(*((float(first), set(more)) for first, *more in (run.stdout.split() for run in runs)))
    assert not HEAVY & modules[0] and min(seconds) < 0.7


def test_nothing_of_a_developers_machine():
    path = re.compile(r"(?<![\w.)}])/(?:work|opt|root|home|Users)/\w")
    host = re.compile(r"(pypi|pythonhosted|npmjs)[.]org|deb[.]debian|conda[.]anaconda|index-url", re.IGNORECASE)
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for file in project_files()
        if file != Path(__file__).resolve()
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if path.search(line) or host.search(line)
    ]
    assert not found, "\n".join(found)


def test_links_in_documents_lead_somewhere():
    broken = [
        f"{file.relative_to(ROOT)}: {link}"
        for file in project_files()
        if file.suffix == ".md"
        for link in re.findall(r"\]\(([^)#\s]+)", re.sub(r"<!--.*?-->", "", file.read_text(), flags=re.DOTALL))
        if "://" not in link and not (file.parent / link).exists()
    ]
    assert not broken, "\n".join(broken)


def test_version_is_the_same_everywhere():
    assert VERSION, 'found no line __version__ = "..." in asdkit/__init__.py'
    assert f"\nversion: {VERSION[1]}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{VERSION[1]}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_help_lists_the_commands_of_the_readme():
    listed = subprocess.run(["make", "-C", str(ROOT)], check=True, capture_output=True, text=True).stdout
    for target in set(re.findall(r"`?make ([a-z-]+)`?$", (ROOT / "README.md").read_text(), re.MULTILINE)):
        assert f"make {target} " in listed
