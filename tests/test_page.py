"""A page about scores: one file that needs no other, says what the table says, and is not fooled by file names."""

import base64
import csv
import hashlib
import io
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

import asdkit
from asdkit.apps import page as module
from asdkit.apps.cli import main
from asdkit.apps.page import write_page
from asdkit.detector import FileResult

NASTY = ("<script>alert(1).wav", '"><img src=x onerror=alert(1)>.wav', "a&amp;b{{ 7*7 }}.wav", "p\u00fcmp \u20ac.wav")


class Page(HTMLParser):
    """Tags with their attributes, the cells of tables, and all text; of a page that needs no other file."""

    def __init__(self, path):
        super().__init__()
        self.source, self.tags, self.rows, self.text, self.inside = path.read_bytes().decode("ascii"), [], [], "", False
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self.inside:
            self.rows[-1][-1] += data

    @property
    def pictures(self):
        return [a for tag, a in self.tags if tag == "img"]

    def assert_self_contained(self):
        assert {tag for tag, _ in self.tags}.isdisjoint({"link", "iframe", "object", "embed", "base", "form"})
        (script,) = re.findall(r"<script>(.*?)</script>", self.source, re.S)  # the only one that the page allows itself
        assert self.source.count("<script") == 1
        assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in self.source
        for tag, attributes in self.tags:
            assert not [name for name in attributes if name.startswith("on")], tag
            assert attributes.get("src", "data:").startswith("data:") and attributes.get("href", "#")[0] == "#"
        assert "url(" not in self.source and "@import" not in self.source
        for picture in self.pictures:
            kind, _, data = picture["src"].partition(",")
            assert kind == "data:image/png;base64" and base64.b64decode(data).startswith(b"\x89PNG") and picture["alt"]


@pytest.fixture
def quick_figures(monkeypatch):
    monkeypatch.setattr(module, "picture", lambda _: (b"\x89PNG", (0.1, 0.6, 0.1, 0.8)))


@pytest.fixture(scope="module")
def detector(pump, tiny_config):
    return asdkit.fit(pump, replace(tiny_config, blocks=("statistics", "ridge")), progress=False)


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    return detector.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def recordings(pump, tmp_path):
    files = sorted((pump / "test").iterdir())
    for source, name in zip([*files[:2], *files[-2:]], NASTY):
        shutil.copy(source, tmp_path / name)
    return tmp_path


def write(folder, detector, recordings, failed=(), **options):
    limit = detector.decision_threshold()
    results = [*(detector.score_file(p, limit) for p in sorted(recordings.glob("*.wav"))), *failed]
    return Page(write_page(recordings / "out" / "scores.html", folder, detector, results, **options)), results


def test_the_command_writes_one_file(folder, recordings, capsys):
    (recordings / "bad.wav").write_text("no audio")
    out, files = recordings / "new" / "report.html", [str(recordings / name) for name in (*NASTY[:2], "bad.wav")]
    assert main(["score", str(folder), *files, "--report", str(out)]) == 2  # a row short, and reported all the same
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    page = Page(out)
    page.assert_self_contained()
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
    assert len(page.pictures) == len(rows) == 2
    sounds = [base64.b64decode(a["src"].removeprefix("data:audio/mpeg;base64,")) for tag, a in page.tags if tag == "audio"]
    seconds = [sorted(soundfile.info(f).duration for f in group) for group in (map(io.BytesIO, sounds), files[:2])]
    assert seconds[0] == pytest.approx(seconds[1], abs=0.1)
    words = {"1": "anomaly", "0": "normal"}
    for row in rows:
        shown = [row["file"].removeprefix(f"{recordings}/"), f"{float(row['score']):.3f}", words[row["decision"]]]
        assert shown in [cells[:3] for cells in page.rows]
    assert f"{recordings / 'bad.wav'}: not readable" in page.text


def test_highest_first_and_the_rest_is_counted(folder, detector, recordings, quick_figures, monkeypatch):
    page, rows = write(folder, detector, recordings, max_drawn=3)
    ordered = sorted(rows, key=lambda v: -v.score)
    assert [row[0] for row in page.rows if row[0].endswith(".wav")] == [v.file.name for v in ordered]
    headings = re.findall(r"<h3>(.*?)</h3>", page.source)
    assert len(page.pictures) == len(headings) == 3
    assert "1 more recording(s) are in the table above and are not drawn here" in page.text
    assert len([a for tag, a in page.tags if a.get("class") == "alarm"]) == sum(r.decision == 1 for r in rows) > 0
    assert sum(page.text.count(words) for words in ("Most anomalous", "Not an anomaly", "Nothing stands out")) == 3
    assert "more recording(s)" not in write(folder, detector, recordings)[0].text
    monkeypatch.setattr(module, "MAX_BYTES", 80_000)  # sounds are 15 to 25 kB
    small, _ = write(folder, detector, recordings)
    assert 0 < len(small.pictures) < len(rows) and len(small.source) < 80_000 and "are not drawn here" in small.text


def test_names_are_text_and_the_model_is_named_with_what_it_promises(folder, detector, recordings, quick_figures):
    page, _ = write(folder, detector, recordings)
    page.assert_self_contained()
    for name in NASTY:  # are text
        assert page.text.count(name) == 2  # in the table and above its picture
    assert "onerror=alert(1)>" not in page.source.replace("&gt;", "")
    facts = dict(row for row in page.rows if len(row) == 2)
    assert facts["microphones"] == "near and far, two channels of a file"
    assert facts["learned from"] == "16 clips, 16 recordings of the healthy machine"
    assert facts["blocks"] == "statistics, ridge"
    assert detector.config.hash() in facts["configuration"]
    assert f"{detector.threshold():.3f}" in facts["threshold"] and "at most 25 %" in facts["threshold"]
    page, _ = write(folder, replace(detector, held_out=None), recordings)  # without a threshold nothing is decided
    assert "none: too few healthy recordings" in page.text and page.rows[-1][2] == "none"


def test_what_could_not_be_read_is_listed_and_warnings_stand_beside_the_recording(folder, detector, recordings, quick_figures):
    failed = [FileResult(f"{name}.wav", reason=f"{name}.wav: found 1 channel(s)") for name in ("bad<b>", "m\udcfcll")]
    page, _ = write(folder, detector, recordings, failed)
    assert "Not scored" in page.text and "bad<b>.wav: found 1 channel(s)" in page.text
    assert f"{len(NASTY) + 2} recordings" in page.text and "2 could not be scored" in page.text
    only = Page(write_page(recordings / "only.html", folder, detector, failed))
    assert "Not scored" in only.text and not only.pictures
    soundfile.write(recordings / "short.wav", 0.1 * np.random.default_rng(0).normal(size=(16000, 2)), 16000)
    results = [FileResult(recordings / "short.wav", 1.0, 0), FileResult(recordings / "gone.wav", 0.5, 0)]
    page = Page(write_page(recordings / "scores.html", folder, detector, results))
    assert "Note: " in page.text and "short.wav: found 1.00 s, expected at least a window" in page.text
    assert "gone.wav: not readable" in page.text and len(page.pictures) == 1


@pytest.mark.browser
def test_the_table_sorts_and_a_sound_plays_in_a_browser(folder, detector, recordings, quick_figures):
    from playwright.sync_api import sync_playwright
    from test_browser import BROWSERS, FLAGS, PATIENCE

    if not (chromium := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip(f"found no browser; expected {', '.join(BROWSERS)} on the PATH")
    _, results = write(folder, detector, recordings)
    ordered = [r.file.name for r in sorted(results, key=lambda r: r.score)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page, problems = browser.new_page(), []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("console", lambda message: problems.append(message.text))
        page.goto((recordings / "out" / "scores.html").as_uri())
        for head, expected in (("score", ordered), ("score", ordered[::-1]), ("file", [NASTY[3]])):
            page.locator("th button", has_text=head).click()
            assert page.locator("table.scores td:nth-child(1)").all_inner_texts()[-len(expected) :] == expected
        page.locator("td button").first.click()
        page.locator("output", has_text=re.compile(r"0\.[1-9]|[1-9]\.\d")).wait_for()  # one, and its time runs
        assert problems == []
        browser.close()
