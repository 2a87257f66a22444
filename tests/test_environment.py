"""What is declared agrees: packages, versions, links. Importing is cheap. Nothing of a developer's machine is left."""

import os
import re
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
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: the project's own files cannot be told from others")
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()]


def bounds(requirements) -> dict[str, str]:
    split = [re.fullmatch(r"([A-Za-z0-9_.-]+?)([<>=!~].*)?", r) for r in requirements]
    return {m[1].lower().replace("_", "-"): m[2] or "" for m in split}


DECLARED = bounds(PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), []))  # core and extras
PINNED = bounds(line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#"))


def test_conda_and_pip_name_the_same_packages():
    lines = (ROOT / "environment.yml").read_text().split("dependencies:\n")[1].splitlines()
    items = [m for line in lines if (m := re.fullmatch(r"( +)- ([^\s#:]+)(?: *#.*)?", line))]
    conda, pip = bounds(m[2] for m in items if len(m[1]) == 2), bounds(m[2] for m in items if len(m[1]) > 2)
    assert conda.pop("python") == PROJECT["requires-python"]
    del conda["pip"]
    assert pip.keys() == PIP_ONLY
    assert conda | pip == {CONDA_NAMES.get(name, name): bound for name, bound in DECLARED.items()}
    assert DECLARED.keys() <= PINNED.keys() and all(re.fullmatch(r"==[0-9.]+", version) for version in PINNED.values())
    for name, bound in DECLARED.items():  # constraints cover every one
        least, tested = ([int(n) for n in re.findall(r"\d+", v)] for v in (bound, PINNED[name]))
        assert bound.startswith(">=") and least <= tested, name


def test_import_is_light():
    code = "import sys, time; t = time.process_time(); import asdkit; print(time.process_time() - t, *sys.modules)"
    command, environment = [sys.executable, "-W", "error", "-c", code], os.environ | {"PYTHONPATH": str(ROOT)}
    seconds, *modules = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout.split()
    assert not HEAVY & set(modules) and float(seconds) < 0.5


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


def test_version_commands_and_links_agree_everywhere():
    assert VERSION, 'found no line __version__ = "..." in asdkit/__init__.py'
    assert f"\nversion: {VERSION[1]}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{VERSION[1]}]" in (ROOT / "CHANGELOG.md").read_text()
    targets = set(re.findall(r"`?make ([a-z-]+)`?$", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for file in [file for file in project_files() if file.suffix == ".md"]:
        links = re.findall(r"\]\(([^)#\s]+)", re.sub(r"<!--.*?-->", "", file.read_text(), flags=re.DOTALL))
        assert [link for link in links if "://" not in link and not (file.parent / link).exists()] == [], file
