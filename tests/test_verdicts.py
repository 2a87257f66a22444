"""Verdicts on files, and the folder that is watched: each file once, whatever happens in between."""

import csv
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from asdkit.apps.verdicts import HEADER, Model, append, one_line, open_table, row, watch

from asdkit import detector as pipeline
from asdkit.apps import verdicts
from asdkit.blocks import read_spectra
from asdkit.config import Config
from asdkit.recordings import Clip, index_folder
from asdkit.recordings.reading import InputError, Reading

RNG = np.random.default_rng(0)


def sound(seconds=1.0):
    return 0.1 * RNG.normal(size=(round(16000 * seconds), 2))


def write(path, samples=None, **how):
    soundfile.write(path, sound() if samples is None else samples, 16000, **how)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("healthy")
    for i in range(4):
        write(folder / f"{i}.wav")
    config = Config(blocks=("logmel",), width=8, test_hop=8, train_hop=8, false_alarm=0.25)
    return Model(pipeline.fit(index_folder(folder), config), Reading())


@pytest.fixture
def inbox(tmp_path):
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


# single files


def test_a_short_recording_is_scored_as_the_detector_does(model, tmp_path):
    path = write(tmp_path / "a.wav")
    expected = model.detector.score(read_spectra(Clip(path), model.detector.config))
    verdict = model.judge(path)
    assert verdict == verdicts.Verdict(path, expected, model.detector.decide(expected)) and verdict.decision in (0, 1)


def test_a_long_recording_is_scored_as_one_by_its_parts(model, tmp_path):
    long = sound(31.5)
    path = write(tmp_path / "a.wav", long, subtype="FLOAT")
    cut = [write(tmp_path / f"{i}.wav", part, subtype="FLOAT") for i, part in enumerate(np.split(long, 3))]
    blocks = [model.blocks(p)["logmel"] for p in cut]
    np.testing.assert_array_equal(model.blocks(path)["logmel"], np.concatenate(blocks))
    assert min(model.judge(p).score for p in cut) <= model.judge(path).score <= max(model.judge(p).score for p in cut)


def test_more_than_an_hour_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "LONGEST", 20.0)
    assert "expected at most" in model.judge(write(tmp_path / "a.wav", sound(21))).error


def test_a_bad_file_and_a_bug_are_errors_of_that_file(model, tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_text("no sound")
    assert model.judge(path).error.startswith(f"{path}: not readable") and model.judge(path).score is None
    monkeypatch.setattr(verdicts, "segments", lambda _: 1 / 0)
    assert model.judge(path).error == f"{path}: failed (ZeroDivisionError('division by zero'))"


def test_a_score_that_is_no_number_is_no_verdict(model, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.Detector, "score_blocks", lambda *_: float("nan"))
    verdict = model.judge(write(tmp_path / "a.wav"))
    assert verdict.score is verdict.decision is None and "found score nan" in verdict.error


# the table


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


def test_a_table_torn_anywhere_is_continued(tmp_path):
    table, whole, last = tmp_path / "t.csv", row(*HEADER) + row("a.wav", 0.25, 0, ""), row("b,c.wav", None, None, 'a "reason"')
    beginnings = [(whole + last)[:n] for n in range(len(whole + last) + 1)]
    for content in [*beginnings, *(whole + torn for torn in ("b.wav,0.5,1", '"b.wav', "b\0\0\0\n", "\n", "b.wav,1\n"))]:
        table.write_text(content)
        done = open_table(table)
        complete = content if content == whole + last else whole if content.startswith(whole) else row(*HEADER)
        assert table.read_text() == complete
        assert done == {r[0] for r in rows(table)}


@pytest.mark.parametrize("content", ["file,score\na,1\n", "years of work", "a,b,c,d\n1,2,3,4\n", "\n\n"])
def test_another_table_is_left_alone(tmp_path, content):
    table = tmp_path / "t.csv"
    table.write_text(content)
    with pytest.raises(InputError, match="t.csv: found another table, expected one of file,score,decision,error"):
        open_table(table)
    assert table.read_text() == content


def test_a_table_that_cannot_be_written(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "t.csv"):
        with pytest.raises(InputError, match="cannot be written"):
            open_table(path)


# watching


def looks(*steps):
    """In place of sleep: does one step a look, and then stops as Ctrl-C would."""
    steps = iter(steps)

    def sleep(_):
        try:
            next(steps)()
        except StopIteration:
            raise KeyboardInterrupt from None

    return sleep


def watched(model, inbox, table, *steps):
    with pytest.raises(KeyboardInterrupt):
        for _ in watch(model, inbox, table, sleep=looks(*steps)):
            pass
    return [r[0] for r in rows(table)]


def nothing():
    pass


def test_files_are_scored_as_they_appear_and_once(model, inbox, tmp_path):
    write(inbox / "a.wav")
    table = tmp_path / "t.csv"
    assert watched(model, inbox, table, nothing, lambda: write(inbox / "b.wav"), nothing, nothing) == ["a.wav", "b.wav"]
    assert watched(model, inbox, table, nothing, lambda: write(inbox / "c.WAV"), nothing) == ["a.wav", "b.wav", "c.WAV"]
    (name, score, decision, error) = rows(table)[0]
    assert (name, float(score), error) == ("a.wav", model.judge(inbox / "a.wav").score, "") and decision in "01"


def test_a_file_that_still_grows_is_left_for_later(model, inbox, tmp_path):
    content = write(tmp_path / "a.wav").read_bytes()

    def grow(n):
        return lambda: (inbox / "a.wav").write_bytes(content[:n])

    table = tmp_path / "t.csv"
    growing = [grow(n) for n in (100, 3000, 9000)]
    assert watched(model, inbox, table, *growing, lambda: os.utime(inbox / "a.wav", (1, 1))) == []
    assert watched(model, inbox, table, grow(len(content)), nothing) == ["a.wav"]
    assert rows(table)[0][3] == ""


def test_bad_files_get_rows_and_stop_nothing(model, inbox, tmp_path):
    (inbox / "a.wav").write_text("no sound")
    (inbox / "b.wav").mkdir()
    os.mkfifo(inbox / "c.wav")
    (inbox / "d.wav").symlink_to(inbox / "nowhere")
    write(inbox / "e.wav", sound()[:, 0])
    write(inbox / "f.wav").rename(inbox / os.fsdecode(b"f\xff\n.wav"))
    write(inbox / "g.wav")
    (inbox / ".h.wav").write_text("hidden")
    (inbox / "i.csv").write_text("another kind")
    table = tmp_path / "t.csv"
    found = {v.file.name: v for v in watch(model, inbox, table, sleep=lambda _: None, once=True)}
    assert [r[0] for r in rows(table)] == [f"{c}.wav" for c in "abcde"] + ["f\\xff\\n.wav", "g.wav"]
    assert [bool(r[3]) for r in rows(table)] == [True] * 5 + [False] * 2 == [bool(v.error) for v in found.values()]
    assert list(watch(model, inbox, table, sleep=lambda _: None, once=True)) == []


def test_a_crash_between_verdict_and_row_scores_again_and_one_after_does_not(model, inbox, tmp_path, monkeypatch):
    for name in ("a", "b"):
        write(inbox / f"{name}.wav")
    table, judged = tmp_path / "t.csv", []
    monkeypatch.setattr(Model, "judge", lambda _, path: judged.append(path.name) or verdicts.Verdict(path, 1.0, 1))

    def torn(path, line):
        with path.open("a") as f:
            f.write(line[:7] if line.startswith("b") else line)
        if line.startswith("b"):
            raise KeyboardInterrupt

    with monkeypatch.context() as crash, pytest.raises(KeyboardInterrupt):
        crash.setattr(verdicts, "append", torn)
        list(watch(model, inbox, table, sleep=lambda _: None, once=True))
    list(watch(model, inbox, table, sleep=lambda _: None, once=True))
    assert judged == ["a.wav", "b.wav", "b.wav"] and [r[0] for r in rows(table)] == ["a.wav", "b.wav"]


def test_a_file_that_was_moved_away_meanwhile_gets_no_row(model, inbox, tmp_path, monkeypatch):
    write(inbox / "a.wav")
    judge = Model.judge
    monkeypatch.setattr(Model, "judge", lambda self, path: path.unlink() or judge(self, path))
    assert list(watch(model, inbox, tmp_path / "t.csv", sleep=lambda _: None, once=True)) == []


def test_a_folder_that_is_away_for_a_moment(model, inbox, tmp_path):
    write(inbox / "a.wav")
    away = tmp_path / "away"
    steps = (lambda: inbox.rename(away), lambda: away.rename(inbox), nothing)
    with pytest.warns(UserWarning, match="in: cannot be listed .*; tried again"):
        assert watched(model, inbox, tmp_path / "t.csv", *steps) == ["a.wav"]
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list(watch(model, tmp_path / "nowhere", tmp_path / "t.csv"))


def test_pairs_wait_for_each_other(model, inbox, tmp_path):
    pairs = replace(model, reading=Reading(pairs=True))
    samples = sound(2)
    write(inbox / "a_near.wav", samples[:, 0])
    table = tmp_path / "t.csv"
    steps = (nothing, nothing, lambda: write(inbox / "a_far.wav", samples[160:, 0]), nothing)
    assert watched(pairs, inbox, table, *steps) == ["a_near.wav"] and rows(table)[0][3] == ""
    near_only = replace(model, reading=Reading(pairs=True, near_only=True))
    assert [v.file.name for v in watch(near_only, inbox, tmp_path / "n.csv", sleep=lambda _: None, once=True)] == ["a_near.wav"]
    assert pairs.recordings([inbox / "a_near.wav", inbox / "a_far.wav"]) == [inbox / "a_near.wav"]
