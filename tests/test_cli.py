"""The command line: every bad input ends in exit code 2 and one line, and leaves nothing half-written."""

import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from helpers import stamps

import asdkit
from asdkit import __version__
from asdkit.apps.cli import build_parser, main

SOUND = 0.1 * np.random.default_rng(0).normal(size=(48000, 2))
BAD_CLIPS = {  # of the kinds that test_reading has
    "mono": (lambda p: soundfile.write(p, SOUND[:, 0], 16000), "found 1 channel(s), expected 2"),
    "nan": (lambda p: soundfile.write(p, SOUND * np.nan, 16000, subtype="FLOAT"), "not finite, expected numbers"),
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-999]), "truncated; found"),
}


@pytest.fixture(scope="module")
def fast_config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "fast.json"
    path.write_text('{"blocks": ["statistics-near"], "test_hop": 40, "false_alarm": 0.25}')
    return str(path)


@pytest.fixture(scope="module")
def model(tiny_data, fast_config, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "valve"
    succeeds("fit", tiny_data / "dev_data/raw/valve/train", "--out", out, "--config", fast_config)
    return out


def refused(capsys, *arguments, says):
    """The command ends in 2 with one line of error, and nothing on the screen that could be taken for a result."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("asdkit: error: ")]
    assert out == "" and len(errors) == 1 and err.rstrip().endswith(errors[0])
    for text in [says] if isinstance(says, str) else says:
        assert text in errors[0]


def succeeds(*arguments):
    assert main([str(a) for a in arguments]) == 0


def run_fast(data, out, *more):
    return ["run", data, "--out", out, "--systems", "log-mel", *more]


def whole_files(out):
    files = [p for p in out.rglob("*") if p.is_file()]
    assert not [p for p in out.rglob("*") if p.name.startswith(".")]
    for p in files:
        if p.suffix == ".json":
            json.loads(p.read_text())
    return {p.name for p in files}


def test_without_a_command_there_is_help_and_everything_in_every_command_is_explained(capsys):
    succeeds()
    overview, parser = capsys.readouterr().out, build_parser()
    (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
    assert list(commands)[:5] == ["fit", "score", "watch", "simulate", "run"]
    for name, command in commands.items():
        example = command.get_default("example")
        assert f"asdkit {example}\n" in overview and parser.parse_args(example.split()).command.__name__ == name
        assert all(action.help for action in command._actions)
        with pytest.raises(SystemExit, match="0"):
            main([name, "--help"])
        assert f"usage: asdkit {name}" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"asdkit {__version__}\n"


def test_an_error_is_one_line_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, "-m", "asdkit", "score", str(tmp_path / "model"), str(tmp_path / "a.wav")]
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (2, "")
    assert len(found.stderr.splitlines()) == 1 and str(tmp_path / "model") in found.stderr


def test_wrong_usage_ends_in_2(capsys):
    for line in (
        "dance", "score m f --false-alarm 0", "run d --out o --seeds -1", "run d --out o --jobs 0",
        "watch m f --out o --interval 0", "run data --out o --jobs 2 --scheduler tcp://127.0.0.1:9",
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="2"):
            main(line.split())
        assert "Traceback" not in capsys.readouterr().err


def test_a_run_prints_its_table_and_says_where_things_are(data, tmp_path, capsys):
    out = tmp_path / "out"
    succeeds(*run_fast(data, out), "log-mel-far", "--quick", "--machines", "valve")
    printed = capsys.readouterr().out
    assert "log-mel" in printed and "valve" in printed and str(out / "results.csv") in printed
    assert printed.rstrip().endswith("This is not a result.") and "last column" not in printed  # without asdkit there is none
    assert {"omega.png", "results.csv", "scores.csv", "differences.csv", "run.json"} <= whole_files(out)


@pytest.mark.parametrize("kind", BAD_CLIPS)
def test_a_bad_clip_is_refused_and_the_others_are_scored_in_the_order_given(kind, data, model, tmp_path, capsys):
    spoil, says = BAD_CLIPS[kind]
    *good, bad = sorted((data / "valve" / "test").iterdir(), reverse=True)
    spoil(bad)
    refused(capsys, "score", model, *good, bad, "--out", tmp_path / "scores.csv", says=[str(bad), says])
    head, *rows = [line.split(",") for line in (tmp_path / "scores.csv").read_text().splitlines()]
    assert head == ["file", "score", "decision"] and [file for file, *_ in rows] == list(map(str, good))
    assert all(np.isfinite(float(score)) and decision in ("0", "1") for _, score, decision in rows)
    refused(capsys, "score", model, bad, "--out", tmp_path / "none.csv", says=[str(bad), says])
    assert not (tmp_path / "none.csv").exists()


@pytest.mark.parametrize("kind", ["nan", "truncated"])
def test_a_bad_clip_leaves_no_model_and_no_table_and_a_run_goes_on_when_it_is_mended(kind, data, fast_config, tmp_path, capsys):
    spoil, says = BAD_CLIPS[kind]
    train, test = (sorted((data / "valve" / split).iterdir())[-1] for split in ("train", "test"))
    good = test.read_bytes()
    spoil(test)
    refused(capsys, *run_fast(data, tmp_path / "run"), says=[str(test), says])
    assert "results.csv" not in whole_files(tmp_path / "run")
    test.write_bytes(good)
    written = stamps(tmp_path / "run/pump")
    succeeds(*run_fast(data, tmp_path / "run"))
    assert written and written.items() <= stamps(tmp_path / "run").items()
    spoil(train)
    refused(capsys, "fit", train.parent, "--out", tmp_path / "m", "--config", fast_config, says=[str(train), says])
    assert not (tmp_path / "m").exists()


def test_unusable_folders_of_run_fit_and_simulate(data, fast_config, tmp_path, capsys):
    out, train = tmp_path / "out", data / "valve" / "train"
    for arguments, says in (
        ([tmp_path / "nowhere"], "nowhere: no such folder"), ([tmp_path], "found no .wav files"),
        ([train, "--target", tmp_path], "found no .wav files"),
        ([train, "--false-alarm", "0.05"], "recordings, expected at least 19 for a false-alarm rate of 0.05"),
    ):  # fmt: skip
        refused(capsys, "fit", *arguments, "--out", out, says=says)
    refused(capsys, "simulate", out, "--sources", train, says="found one of --sources and --noise, expected both")
    refused(capsys, *run_fast(tmp_path / "nowhere", out), says=["nowhere: no such folder", "expected one that holds"])
    refused(capsys, *run_fast(data, out, "--machines", "fan"), says="found pump, valve; expected also fan")
    refused(capsys, *run_fast(data, out)[:-1], "beats", says=["found beats; expected asdkit, report", "autoencoder"])
    (data / "valve" / "test" / "tuesday.wav").write_text("")
    refused(capsys, *run_fast(data, out), says=["tuesday.wav: the name is outside the grammar; expected section_"])
    shutil.rmtree(data / "pump" / "train")
    (data / "pump" / "train").mkdir()
    refused(capsys, *run_fast(data, out), says="pump: found no training clips; expected .wav files in")
    for path in sorted(train.iterdir())[1:]:
        path.unlink()
    refused(capsys, "fit", train, "--out", out, "--config", fast_config, says="found 1 clip(s), expected at least 2")
    assert not out.exists()


def test_output_that_is_something_else_is_left_alone(data, fast_config, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    theses = [tmp_path / "mine" / "thesis.txt", tmp_path / "file"]
    for path in theses:
        path.write_text("years of work")
    for out in (tmp_path / "mine", tmp_path / "file"):
        refused(capsys, *run_fast(data, out), says=[f"{out}: found", "expected"])
        fit = ["fit", data / "valve" / "train", "--out", out, "--config", fast_config]
        refused(capsys, *fit, says=[f"{out}: found something that is not a model", "expected"])
    assert all(path.read_text() == "years of work" for path in theses) and len(list(theses[0].parent.iterdir())) == 1


def test_an_output_folder_of_another_run_is_refused_and_kept(data, fast_config, tmp_path, capsys):
    out = tmp_path / "out"
    run = ["run", data, "--out", out, "--systems", "asdkit", "--machines", "valve"]
    succeeds(*run, "--config", fast_config)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    refused(capsys, *run, says=["found a run with config", "expected", "choose another folder"])
    refused(capsys, *run, "--quick", says=["found a run with quick = False, expected True", "choose another folder"])
    next((data / "valve" / "test").iterdir()).unlink()
    refused(capsys, *run, "--config", fast_config, says=["found scores of other recordings than", "choose another folder"])
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_unusable_models_and_configurations(data, model, tmp_path, capsys):
    clip, bad = next((data / "valve" / "test").iterdir()), tmp_path / "bad.json"
    refused(capsys, "score", tmp_path, clip, says=[str(tmp_path), "expected a folder written by `asdkit fit`"])
    refused(capsys, "score", model, tmp_path / "nowhere.wav", says="nowhere.wav: not readable as audio")
    bad.write_text('{"alpha": 1.5}')
    for command in (["run", data], ["fit", data / "valve" / "train"]):
        refused(capsys, *command, "--out", tmp_path / "out", "--config", bad, says="found alpha = 1.5, expected a value from 0")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def valve(tiny_data):
    return [sorted((tiny_data / "dev_data/raw/valve" / split).iterdir()) for split in ("train", "test")]


def copies(folder, clips, **channels):
    folder.mkdir()
    for path in clips:
        samples, rate = soundfile.read(path)
        for ending, of in channels.items():
            soundfile.write(folder / f"{path.stem}{ending}.wav", samples[:, of], rate, subtype="FLOAT")
    return folder


MONO, SWAPPED = dict(_near=0, _far=1), {"": [1, 0]}


def scores_of(capsys, *arguments):
    capsys.readouterr()
    succeeds(*arguments)
    return [line.split(",")[1:] for line in capsys.readouterr().out.splitlines()[1:]]


def test_a_model_reads_what_it_scores_as_it_read_what_it_learned(valve, model, fast_config, tmp_path, capsys):
    train, test = valve
    expected = scores_of(capsys, "score", model, *test)
    other = copies(tmp_path / "swapped", train, **SWAPPED)
    succeeds("fit", other, "--out", tmp_path / "m", "--near", "1", "--config", fast_config)
    assert scores_of(capsys, "score", tmp_path / "m", copies(tmp_path / "new", test, **SWAPPED)) == expected
    assert scores_of(capsys, "score", tmp_path / "m", *test) != expected


def test_pairs_of_mono_files_and_near_alone(valve, model, fast_config, tmp_path, capsys):
    """A pair scores about as its stereo file does (it is trimmed); near alone the same wherever it stands, without warnings."""
    train, test = valve
    pairs, new = copies(tmp_path / "pairs", train, **MONO), copies(tmp_path / "new", test, **MONO)
    near, missing = sorted(new.glob("*_near.wav")), f"{test[0].stem}_far.wav"

    def fit(name, folder, *options):
        succeeds("fit", folder, "--out", tmp_path / name, "--config", fast_config, *options)
        return tmp_path / name

    both = fit("both", pairs)
    found, expected = (scores_of(capsys, "score", *f) for f in ((both, *sorted(new.iterdir())), (model, *test)))
    np.testing.assert_allclose([float(s) for s, _ in found], [float(s) for s, _ in expected], rtol=0.2)  # one row a pair
    alone = [(fit("stereo", train[0].parent, "--near-only"), test), (fit("paired", pairs, "--near-only"), near)]
    assert "silence" not in capsys.readouterr().err
    scores = [scores_of(capsys, "score", of, *files) for of, files in alone]
    assert scores[0] == scores[1] and len(scores[0]) == len(test)
    (new / missing).unlink()
    refused(capsys, "score", both, near[0], says=f"{missing}: not readable")
    refused(capsys, "score", both, test[0], says="found 2 channel(s), expected 1, in each of a pair")
    refused(capsys, "fit", new, "--out", tmp_path / "n", says=f"found no {missing} beside it")


def test_fit_finds_train_and_says_what_can_be_typed_next(data, fast_config, tmp_path, capsys):
    out = tmp_path / "my model"
    succeeds("fit", data / "valve", "--out", out, "--config", fast_config)
    said, err = capsys.readouterr()
    assert f"{data / 'valve'}: holds no recordings but the folder train, which is read" in err
    lines = dict(line.split(": ", 1) for line in said.splitlines())
    assert "takes any rate from 0.143 to 1" in lines["threshold"]  # 6 recordings of the source
    command = shlex.split(lines["next"])
    assert command[:4] == ["asdkit", "score", str(out), str(data / "valve" / "test")]
    succeeds(*command[1:4], "--report", tmp_path / "report.html", "--false-alarm", "0.143")
    printed = [line.split(",")[1:] for line in capsys.readouterr().out.splitlines()[1:]]
    limit, page = asdkit.load(out).threshold(0.143), (tmp_path / "report.html").read_text()
    assert f"{limit:.3f}; of healthy recordings like those it learned from, at most 14.3 %" in page
    assert len(printed) == 8 and all(decision == str(int(float(score) > limit)) for score, decision in printed)
    refused(capsys, *command[1:4], "--false-alarm", "0.1", says=["found 6 recordings held out", "ask for 0.143 or more"])
    refused(capsys, "score", out, data, says="found no .wav files")


def test_watch_once_and_again_and_silence_is_a_warning(data, model, tmp_path, capsys):
    folder, out = data / "valve" / "test", tmp_path / "scores.csv"
    soundfile.write(folder / "silent.wav", SOUND * [1, 0], 16000)
    (folder / "broken.wav").write_text("no sound")
    command = ["watch", model, folder, "--out", out, "--once", "--interval", "0.01"]
    succeeds(*command)
    err, lines = capsys.readouterr().err, out.read_text().splitlines()
    assert len(lines) == 11 and lines[1].startswith("broken.wav,,,") and "broken.wav: not readable as audio" in err
    assert f"asdkit: warning: {folder / 'silent.wav'}: the far channel is digital silence" in err
    succeeds(*command)
    assert out.read_text().splitlines() == lines
    refused(capsys, "watch", model, tmp_path / "nowhere", "--out", out, says="nowhere: no such folder")
    refused(capsys, "watch", tmp_path, folder, "--out", out, says="not readable as a model")
