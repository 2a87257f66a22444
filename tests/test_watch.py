"""A folder that is watched: each recording gets a row once, whatever happens in between."""

import csv
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from asdkit.apps import watch as module
from asdkit.apps.watch import HEADER, append, one_line, open_table, row, watch
from asdkit.detector import Detector, FileResult
from asdkit.recordings import InputError, Reading

RNG = np.random.default_rng(0)


def write(path, channels=(0, 1)):
    soundfile.write(path, 0.1 * RNG.normal(size=(16000, 2))[:, channels], 16000)
    return path


def nothing():
    pass


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def table(tmp_path):
    return tmp_path / "t.csv"


def rows(path):
    with path.open(newline="") as f:
        found = list(csv.reader(f))
    assert tuple(found[0]) == HEADER
    return found[1:]


@pytest.mark.parametrize("last", [row("b.wav", 0.5, 1, ""), row("b,c.wav", None, None, 'a "reason"')])
def test_a_table_whose_last_line_a_crash_tore_is_continued(table, last):
    whole, name = row(*HEADER) + row("a.wav", 0.25, 0, ""), next(csv.reader([last]))[0]
    for n in range(1, len(last) + 1):
        table.write_text(whole + last[:n])
        assert open_table(table) == ({"a.wav"} if n < len(last) else {"a.wav", name})
        if '"' not in last:
            append(table, row("c.wav", 1, 1, ""))
            assert rows(table)[-1] == ["c.wav", "1", "1", ""]
    name = os.fsdecode(b'a\nb\r\xff,"q".wav')  # lines of a table are lines
    assert one_line(name) == 'a\\nb\\r\\xff,"q".wav'
    assert row(name, 1.5, None, "").splitlines() == ['"a\\nb\\r\\xff,""q"".wav",1.5,,']
    table.write_text(row(*HEADER) + row(name, 1.5, None, ""))
    assert open_table(table) == {one_line(name)}
    for content in ("", row(*HEADER)):
        table.write_text(content)
        assert open_table(table) == set() and table.read_text() == row(*HEADER)


@pytest.mark.parametrize("content", ["file,score\na,1\n", "years of work", "a,b,c,d\n1,2,3,4\n", "\n\n"])
def test_another_table_is_left_alone_and_one_that_cannot_be_written_refused(table, content):
    table.write_text(content)
    with pytest.raises(InputError, match="t.csv: found another table, expected a table of file,score,decision,error"):
        open_table(table)
    assert table.read_text() == content
    for path in (table.parent, table.parent / "nowhere" / "t.csv"):
        with pytest.raises(InputError, match="cannot be written"):
            open_table(path)


def watched(detector, inbox, table, *steps):
    steps = iter(steps)

    def sleep(_):
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        step()

    with pytest.raises(KeyboardInterrupt):
        for _ in watch(detector, inbox, table, sleep=sleep):
            pass
    return [r[0] for r in rows(table)]


def once(detector, inbox, table):
    return list(watch(detector, inbox, table, sleep=lambda _: None, once=True))


def test_files_are_scored_as_they_appear_and_once_and_one_that_still_grows_later(brief_detector, inbox, table, tmp_path):
    write(inbox / "a.wav")
    assert watched(brief_detector, inbox, table, nothing, lambda: write(inbox / "b.wav"), nothing) == ["a.wav", "b.wav"]
    assert watched(brief_detector, inbox, table, nothing, lambda: write(inbox / "c.WAV"), nothing)[1:] == ["b.wav", "c.WAV"]
    expected = brief_detector.score_file(inbox / "a.wav", brief_detector.threshold())
    assert rows(table)[0] == ["a.wav", str(expected.score), str(expected.decision), ""]
    content = write(tmp_path / "d.wav").read_bytes()

    def grow(n):
        return lambda: (inbox / "d.wav").write_bytes(content[:n])

    growing = [grow(n) for n in (100, 3000, 9000)]
    assert watched(brief_detector, inbox, table, *growing, lambda: os.utime(inbox / "d.wav", (1, 1)))[3:] == []
    assert watched(brief_detector, inbox, table, grow(len(content)), nothing)[3:] == ["d.wav"] and rows(table)[3][3] == ""


def test_bad_files_get_rows_and_stop_nothing(brief_detector, inbox, table):
    (inbox / "a.wav").write_text("no sound")
    (inbox / "b.wav").mkdir()
    os.mkfifo(inbox / "c.wav")
    (inbox / "d.wav").symlink_to(inbox / "nowhere")
    write(inbox / "e.wav", [0])
    write(inbox / "f.wav").rename(inbox / os.fsdecode(b"f\xff\n.wav"))
    write(inbox / "g.wav")
    (inbox / ".h.wav").write_text("hidden")
    (inbox / "i.csv").write_text("another kind")
    found = once(brief_detector, inbox, table)
    assert [r[0] for r in rows(table)] == [f"{c}.wav" for c in "abcde"] + ["f\\xff\\n.wav", "g.wav"]
    assert [bool(r[3]) for r in rows(table)] == [True] * 5 + [False] * 2 == [bool(r.reason) for r in found]
    assert once(brief_detector, inbox, table) == []


def test_a_crash_before_the_row_scores_again_and_one_after_does_not(brief_detector, inbox, table, monkeypatch):
    for name in ("a", "b"):
        write(inbox / f"{name}.wav")
    scored = []
    monkeypatch.setattr(Detector, "score_file", lambda _, path, __: scored.append(path.name) or FileResult(path, 1.0, 1))

    def torn(path, line):
        with path.open("a") as f:
            f.write(line[:7] if line.startswith("b") else line)
        if line.startswith("b"):
            raise KeyboardInterrupt

    with monkeypatch.context() as crash, pytest.raises(KeyboardInterrupt):
        crash.setattr(module, "append", torn)
        once(brief_detector, inbox, table)
    once(brief_detector, inbox, table)
    assert scored == ["a.wav", "b.wav", "b.wav"] and [r for r in rows(table) if len(r) == 4][-1] == ["b.wav", "1.0", "1", ""]
    assert once(brief_detector, inbox, table) == []


def test_a_folder_that_is_away_for_a_moment_and_a_file_that_was_moved_away(brief_detector, inbox, table, tmp_path, monkeypatch):
    write(inbox / "a.wav")
    away = tmp_path / "away"
    steps = (lambda: inbox.rename(away), lambda: away.rename(inbox), nothing)
    with pytest.warns(UserWarning, match="in: cannot be listed .*; tried again"):
        assert watched(brief_detector, inbox, table, *steps) == ["a.wav"]
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list(watch(brief_detector, tmp_path / "nowhere", table))
    score = Detector.score_file
    monkeypatch.setattr(Detector, "score_file", lambda self, path, limit: path.unlink() or score(self, path, limit))
    assert once(brief_detector, inbox, tmp_path / "t2.csv") == [] == rows(tmp_path / "t2.csv")


def test_pairs_wait_for_each_other(brief_detector, inbox, table, tmp_path):
    pairs, samples = replace(brief_detector, reading=Reading(pairs=True)), 0.1 * RNG.normal(size=32000)
    soundfile.write(inbox / "a_near.wav", samples, 16000)
    steps = (nothing, nothing, lambda: soundfile.write(inbox / "a_far.wav", samples[160:], 16000), nothing)
    assert watched(pairs, inbox, table, *steps) == ["a_near.wav"] and rows(table)[0][3] == ""
    near_only = replace(brief_detector, reading=Reading(pairs=True, near_only=True))
    assert [r.file.name for r in once(near_only, inbox, tmp_path / "n.csv")] == ["a_near.wav"]
    assert pairs.files([inbox / "a_near.wav", inbox / "a_far.wav"]) == [inbox / "a_near.wav"]
