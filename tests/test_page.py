"""A page about scores: one file that needs no other, says what the table says, and is not fooled by file names."""

import base64
import csv
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
        self.source, self.tags, self.rows, self.text, self.inside = path.read_bytes().decode("ascii"), [], [], "", ""
        self.feed(self.source)
        self.pictures = [a for tag, a in self.tags if tag == "img"]
        assert {tag for tag, _ in self.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form", "a"})
        for tag, attributes in self.tags:
            assert not [name for name in attributes if name.startswith("on")], tag
            assert attributes.get("src", "data:").startswith("data:") and "href" not in attributes
        assert "url(" not in self.source and "@import" not in self.source
        for picture in self.pictures:
            kind, _, data = picture["src"].partition(",")
            assert kind == "data:image/png;base64" and base64.b64decode(data).startswith(b"\x89PNG") and picture["alt"]

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, data):
        self.text += data
        if self.inside in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture
def quick_figures(monkeypatch):
    monkeypatch.setattr(module.figures, "anomaly_panels", lambda *_: None)
    monkeypatch.setattr(module.figures, "png", lambda _: b"\x89PNG")


@pytest.fixture(scope="module")
def detector(pump, tiny_config):
    return asdkit.fit(pump, replace(tiny_config, blocks=("statistics", "ridge")), progress=False)


@pytest.fixture(scope="module")
def folder(detector, tmp_path_factory):
    return detector.save(tmp_path_factory.mktemp("model") / "model")


@pytest.fixture
def recordings(pump, tmp_path):
    """Test recordings under names that a page must not take at their word."""
    files = sorted((pump / "test").iterdir())
    for source, name in zip([*files[:2], *files[-2:]], NASTY):
        shutil.copy(source, tmp_path / name)
    return tmp_path


def write(folder, detector, recordings, failed=(), **options):
    """A page about the recordings in a folder, scored, and others. Returns (page, results)."""
    limit = detector.decision_threshold()
    results = [*(detector.score_file(p, limit) for p in sorted(recordings.glob("*.wav"))), *failed]
    return Page(write_page(recordings / "out" / "scores.html", folder, detector, results, **options)), results


def test_the_command_writes_one_file(folder, recordings, capsys):
    (recordings / "bad.wav").write_text("no audio")
    out, files = recordings / "new" / "report.html", [str(recordings / name) for name in (*NASTY[:2], "bad.wav")]
    assert main(["score", str(folder), *files, "--report", str(out)]) == 2  # a row short, and reported all the same
    rows, page = list(csv.DictReader(io.StringIO(capsys.readouterr().out))), Page(out)
    assert [p.name for p in out.parent.iterdir()] == ["report.html"] and len(page.pictures) == len(rows) == 2
    words = {"1": "anomaly", "0": "normal"}
    assert all([r["file"], f"{float(r['score']):.3f}", words[r["decision"]]] in page.rows for r in rows)
    assert f"{recordings / 'bad.wav'}: not readable" in page.text


def test_names_are_text_and_the_model_is_named_with_what_it_promises(folder, detector, recordings, quick_figures):
    page, _ = write(folder, detector, recordings)
    assert all(page.text.count(name) == 2 for name in NASTY)  # in the table and above its picture
    assert "<script" not in page.source and "onerror=alert(1)>" not in page.source.replace("&gt;", "")
    facts = dict(row for row in page.rows if len(row) == 2)
    assert facts["microphones"] == "near and far, two channels of a file"
    assert facts["learned from"] == "16 clips, 16 recordings of the healthy machine"
    assert facts["blocks"] == "statistics, ridge" and detector.config.hash() in facts["configuration"]
    assert f"{detector.threshold():.3f}" in facts["threshold"] and "at most 25 %" in facts["threshold"]
    page, _ = write(folder, replace(detector, held_out=None), recordings)
    assert "none: too few healthy recordings" in page.text and page.rows[-1][-1] == "none"


def test_highest_first_and_the_rest_is_counted(folder, detector, recordings, quick_figures):
    page, rows = write(folder, detector, recordings, max_drawn=3)
    ordered = sorted(rows, key=lambda v: -v.score)
    assert [row[0] for row in page.rows if row[0].endswith(".wav")] == [str(v.file) for v in ordered]
    headings = re.findall(r"<h3>(.*?)</h3>", page.source)
    assert len(page.pictures) == len(headings) == 3
    assert "1 more recording(s) are in the table above and are not drawn here" in page.text
    assert len([a for tag, a in page.tags if a.get("class") == "alarm"]) == sum(r.decision == 1 for r in rows) > 0
    assert page.text.count("Most anomalous") + page.text.count("Nothing stands out") == 3
    assert "more recording(s)" not in write(folder, detector, recordings)[0].text


def test_what_could_not_be_read_is_listed(folder, detector, recordings, quick_figures):
    failed = [FileResult(f"{name}.wav", reason=f"{name}.wav: found 1 channel(s)") for name in ("bad<b>", "m\udcfcll")]
    page, _ = write(folder, detector, recordings, failed)
    assert "Not scored" in page.text and "bad<b>.wav: found 1 channel(s)" in page.text
    assert f"{len(NASTY) + 2} recordings" in page.text and "2 could not be scored" in page.text
    only = Page(write_page(recordings / "only.html", folder, detector, failed))
    assert "Not scored" in only.text and not only.pictures


def test_warnings_stand_beside_the_recording(folder, detector, tmp_path, quick_figures):
    samples = 0.1 * np.random.default_rng(0).normal(size=(16000, 2))
    soundfile.write(tmp_path / "short.wav", samples, 16000)
    results = [FileResult(tmp_path / "short.wav", 1.0, 0), FileResult(tmp_path / "gone.wav", 0.5, 0)]
    page = Page(write_page(tmp_path / "scores.html", folder, detector, results))
    assert "Note: " in page.text and "short.wav: found 1.00 s, expected at least a window" in page.text
    assert "gone.wav: not readable" in page.text and len(page.pictures) == 1
