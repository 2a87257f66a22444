"""The README and the guides of docs/: what they tell a reader to type runs as written, and the reference has every name."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

import asdkit
from asdkit import Config
from asdkit.apps.cli import build_parser, main

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
RUN = ("fit", "score", "watch")  # of other commands the arguments are read, and nothing is run
QUICK = {"steps": 2, "batch_size": 8, "blocks": ("msm", "statistics")}


def blocks(page: Path) -> list[tuple[str, str]]:
    return re.findall(r"^```(sh|python)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for line in text.splitlines()]
    return [words[1:] for words in lines if words and Path(words[0]).name == "asdkit"]


@pytest.fixture
def workplace(tiny_data, tmp_path, monkeypatch):
    raw = tiny_data / "dev_data" / "raw"
    healthy = [*raw.glob("pump/train/*source*"), *raw.glob("valve/train/*")]
    target, new = raw.glob("pump/train/*target*"), raw.glob("pump/test/*source*0000*")
    folders = {"healthy": healthy, "night_shift": target, "new": new, "inbox": ()}
    for name, files in folders.items():
        (tmp_path / name).mkdir()
        for i, file in enumerate(sorted(files)):
            shutil.copy(file, tmp_path / name / f"recording_{i}.wav")
    shutil.copy(tmp_path / "new" / "recording_0.wav", tmp_path / "new" / "rattle.wav")
    shutil.copytree(raw / "valve", tmp_path / "data" / "demo" / "valve")
    names, defaults = list(Config.__dataclass_fields__), Config.__init__.__defaults__
    monkeypatch.setattr(Config.__init__, "__defaults__", tuple(QUICK.get(n, d) for n, d in zip(names, defaults)))
    monkeypatch.chdir(tmp_path)


@pytest.mark.filterwarnings("ignore:.*found the far channel to hear first")  # the noise of `tiny_data` is loud
@pytest.mark.parametrize("page", [pytest.param(PAGES[0], marks=pytest.mark.slow), *PAGES[1:]], ids=lambda page: page.stem)
def test_what_a_page_says_to_type_runs(page, workplace):
    given = {"network": lambda windows: windows.mean(2)}
    for language, text in blocks(page):
        if language == "python":
            exec(compile(text, str(page), "exec"), given)
            continue
        for line in re.findall("^echo .+", text, re.MULTILINE):
            subprocess.run(line, shell=True, check=True)
        for arguments in commands(text):
            if arguments[0] in RUN:
                assert main(arguments + ["--once"] * (arguments[0] == "watch")) == 0, arguments
            else:
                build_parser().parse_args(arguments)


def test_the_reference_has_every_name_of_the_front_door_and_pages_have_what_is_to_be_typed():
    found = [language for page in PAGES for language, text in blocks(page) if language == "python" or commands(text)]
    assert found.count("python") >= 5 and found.count("sh") >= 5
    listed = set(re.findall(r"^\.\. auto\w+:: (\w+)$", (ROOT / "docs" / "api" / "index.md").read_text(), re.MULTILINE))
    rooms = {path.stem for path in (ROOT / "docs" / "api").glob("*.md")}
    assert listed | rooms - {"index", "apps"} == set(asdkit.__all__) - {"__version__"} | {"asdkit"}
