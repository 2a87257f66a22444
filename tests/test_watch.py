"""A folder that is watched: each recording gets a row once, whatever happens in between."""

import csv
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import asdkit
from asdkit.apps import watch as module
from asdkit.apps.watch import HEADER, append, one_line, open_table, row, watch
from asdkit.config import Config
from asdkit.detector import Detector, FileResult
from asdkit.recordings import InputError, Reading

RNG = np.random.default_rng(0)


def write(path, channels=(0, 1)):
    soundfile.write(path, 0.1 * RNG.normal(size=(16000, 2))[:, channels], 16000)
    return path


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp("healthy")
    for i in range(4):
        write(folder / f"{i}.wav")
    config = Config(blocks=("statistics-near",), width=8, test_hop=8, train_hop=8, false_alarm=0.25)
    return asdkit.fit(folder, config, progress=False)


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def rows(path):
    with path.open(newline="") as f:
        found = list(csv.reader(f))
    assert tuple(found[0]) == HEADER
    return found[1:]


def test_lines_of_a_table_are_lines(tmp_path):
    name = os.fsdecode(b'a\nb\r\xff,"q".wav')
    assert one_line(name) == 'a\\nb\\r\\xff,"q".wav'
    assert row(name, 1.5, None, "").splitlines() == ['"a\\nb\\r\\xff,""q"".wav",1.5,,']
    table = tmp_path / "t.csv"
    open_table(table)
    append(table, row(name, 1.5, None, ""))
    assert open_table(table) == {one_line(name)}


@pytest.mark.parametrize("last", [row("b.wav", 0.5, 1, ""), row("b,c.wav", None, None, 'a "reason"')])
def test_a_table_whose_last_line_a_crash_tore_is_continued(tmp_path, last):
    """The torn line's file is scored again; what is then appended is a line of its own."""
    table, whole = tmp_path / "t.csv", row(*HEADER) + row("a.wav", 0.25, 0, "")
    name = next(csv.reader([last]))[0]
    for n in range(1, len(last) + 1):
        table.write_text(whole + last[:n])
        torn = n < len(last)
        assert open_table(table) == ({"a.wav"} if torn else {"a.wav", name})
        if '"' not in last:
            append(table, row("c.wav", 1, 1, ""))
            assert rows(table)[-1] == ["c.wav", "1", "1", ""]
    for content in ("", row(*HEADER)):
        table.write_text(content)
        assert open_table(table) == set() and table.read_text() == row(*HEADER)


@pytest.mark.parametrize("content", ["file,score\na,1\n", "years of work", "a,b,c,d\n1,2,3,4\n", "\n\n"])
def test_another_table_is_left_alone(tmp_path, content):
    table = tmp_path / "t.csv"
    table.write_text(content)
    with pytest.raises(InputError, match="t.csv: found another table, expected a table of file,score,decision,error"):
        open_table(table)
    assert table.read_text() == content


def test_a_table_that_cannot_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "t.csv"):
        with pytest.raises(InputError, match="cannot be written"):
            open_table(path)


def looks(*steps):
    """In place of sleep: does one step a look, and then stops as Ctrl-C would."""
    steps = iter(steps)

    def sleep(_):
        try:
            next(steps)()
        except StopIteration:
            raise KeyboardInterrupt from None

    return sleep


def watched(detector, inbox, table, *steps):
    with pytest.raises(KeyboardInterrupt):
        for _ in watch(detector, inbox, table, sleep=looks(*steps)):
            pass
    return [r[0] for r in rows(table)]


def once(detector, inbox, table):
    return list(watch(detector, inbox, table, sleep=lambda _: None, once=True))


def nothing():
    pass


def test_files_are_scored_as_they_appear_and_once(detector, inbox, tmp_path):
    write(inbox / "a.wav")
    table = tmp_path / "t.csv"
    assert watched(detector, inbox, table, nothing, lambda: write(inbox / "b.wav"), nothing, nothing) == ["a.wav", "b.wav"]
    assert watched(detector, inbox, table, nothing, lambda: write(inbox / "c.WAV"), nothing) == ["a.wav", "b.wav", "c.WAV"]
    (name, score, decision, error) = rows(table)[0]
    expected = detector.score_file(inbox / "a.wav", detector.threshold())
    assert (name, float(score), error) == ("a.wav", expected.score, "") and decision == str(expected.decision)


def test_a_file_that_still_grows_is_left_for_later(detector, inbox, tmp_path):
    content = write(tmp_path / "a.wav").read_bytes()

    def grow(n):
        return lambda: (inbox / "a.wav").write_bytes(content[:n])

    table = tmp_path / "t.csv"
    growing = [grow(n) for n in (100, 3000, 9000)]
    assert watched(detector, inbox, table, *growing, lambda: os.utime(inbox / "a.wav", (1, 1))) == []
    assert watched(detector, inbox, table, grow(len(content)), nothing) == ["a.wav"]
    assert rows(table)[0][3] == ""


def test_bad_files_get_rows_and_stop_nothing(detector, inbox, tmp_path):
    (inbox / "a.wav").write_text("no sound")
    (inbox / "b.wav").mkdir()
    os.mkfifo(inbox / "c.wav")
    (inbox / "d.wav").symlink_to(inbox / "nowhere")
    write(inbox / "e.wav", [0])
    write(inbox / "f.wav").rename(inbox / os.fsdecode(b"f\xff\n.wav"))
    write(inbox / "g.wav")
    (inbox / ".h.wav").write_text("hidden")
    (inbox / "i.csv").write_text("another kind")
    table = tmp_path / "t.csv"
    found = once(detector, inbox, table)
    assert [r[0] for r in rows(table)] == [f"{c}.wav" for c in "abcde"] + ["f\\xff\\n.wav", "g.wav"]
    assert [bool(r[3]) for r in rows(table)] == [True] * 5 + [False] * 2 == [bool(r.reason) for r in found]
    assert once(detector, inbox, table) == []


def test_a_crash_before_the_row_scores_again_and_one_after_does_not(detector, inbox, tmp_path, monkeypatch):
    for name in ("a", "b"):
        write(inbox / f"{name}.wav")
    table, scored = tmp_path / "t.csv", []
    monkeypatch.setattr(Detector, "score_file", lambda _, path, __: scored.append(path.name) or FileResult(path, 1.0, 1))

    def torn(path, line):
        with path.open("a") as f:
            f.write(line[:7] if line.startswith("b") else line)
        if line.startswith("b"):
            raise KeyboardInterrupt

    with monkeypatch.context() as crash, pytest.raises(KeyboardInterrupt):
        crash.setattr(module, "append", torn)
        once(detector, inbox, table)
    once(detector, inbox, table)
    assert scored == ["a.wav", "b.wav", "b.wav"] and [r for r in rows(table) if len(r) == 4][-1] == ["b.wav", "1.0", "1", ""]
    assert once(detector, inbox, table) == []


def test_a_file_that_was_moved_away_meanwhile_gets_no_row(detector, inbox, tmp_path, monkeypatch):
    write(inbox / "a.wav")
    score_file = Detector.score_file
    monkeypatch.setattr(Detector, "score_file", lambda self, path, limit: path.unlink() or score_file(self, path, limit))
    assert once(detector, inbox, tmp_path / "t.csv") == [] and rows(tmp_path / "t.csv") == []


def test_a_folder_that_is_away_for_a_moment(detector, inbox, tmp_path):
    write(inbox / "a.wav")
    away = tmp_path / "away"
    steps = (lambda: inbox.rename(away), lambda: away.rename(inbox), nothing)
    with pytest.warns(UserWarning, match="in: cannot be listed .*; tried again"):
        assert watched(detector, inbox, tmp_path / "t.csv", *steps) == ["a.wav"]
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list(watch(detector, tmp_path / "nowhere", tmp_path / "t.csv"))


def test_pairs_wait_for_each_other(detector, inbox, tmp_path):
    pairs = replace(detector, reading=Reading(pairs=True))
    samples = 0.1 * RNG.normal(size=32000)
    soundfile.write(inbox / "a_near.wav", samples, 16000)
    table = tmp_path / "t.csv"
    steps = (nothing, nothing, lambda: soundfile.write(inbox / "a_far.wav", samples[160:], 16000), nothing)
    assert watched(pairs, inbox, table, *steps) == ["a_near.wav"] and rows(table)[0][3] == ""
    near_only = replace(detector, reading=Reading(pairs=True, near_only=True))
    assert [r.file.name for r in once(near_only, inbox, tmp_path / "n.csv")] == ["a_near.wav"]
    assert pairs.files([inbox / "a_near.wav", inbox / "a_far.wav"]) == [inbox / "a_near.wav"]
