"""Commands for one machine: ``asdkit fit | score | watch``."""

import shlex
import sys
from pathlib import Path

from asdkit.apps.commands import command, natural, rate, read_config, seconds
from asdkit.recordings import InputError

LONG = 20  # files from which on progress is shown
RATE = "share of healthy recordings that may alarm, above 0 and at most 1, such as 0.05; n of them promise 1/(n + 1) at best"


def add_commands(commands):
    """Names and options of the commands in this module."""
    p = command(commands, fit, "fit healthy/ --out model")
    p.add_argument("folder", type=Path, metavar="FOLDER",
                   help="recordings of the healthy machine, or a machine's folder with train/ in "
                   "it, as DCASE has them; NAME_near.wav and NAME_far.wav are one recording")  # fmt: skip
    p.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder for the model")
    p.add_argument("--target", type=Path, metavar="FOLDER", help="a few normal recordings of a new operating condition")
    p.add_argument("--near", type=int, choices=(0, 1), default=0, help="channel of the microphone at the machine (default 0)")
    p.add_argument("--near-only", action="store_true", help="there is no far microphone, or it is to be ignored")
    p.add_argument("--resample", action="store_true", help="take recordings of more than 16 kHz too")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config")
    p.add_argument("--false-alarm", type=rate, metavar="RATE", help=f"{RATE} (default 0.1)")
    p.add_argument("--seed", type=natural, default=0, help="of the network's weights and training (default 0)")
    p = command(commands, score, "score model new/ --false-alarm 0.05 --report new.html")
    p.add_argument("model", type=Path, metavar="MODEL", help="folder written by `asdkit fit`")
    p.add_argument("files", type=Path, nargs="+", metavar="FILES", help="recordings of up to an hour, or folders of them")
    p.add_argument("--false-alarm", type=rate, metavar="RATE", help=f"{RATE} (default: that of the fit)")
    p.add_argument("--out", type=Path, metavar="CSV", help="write here instead of to the screen")
    p.add_argument("--report", type=Path, metavar="HTML",
                   help="one file for a browser: all scores, and of the highest the sound, and when "
                   "and in which bands it departs from healthy recordings")  # fmt: skip
    p = command(commands, watch, "watch model inbox/ --out scores.csv")
    p.add_argument("model", type=Path, metavar="MODEL", help="folder written by `asdkit fit`")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="where recordings arrive; each name is scored once")
    p.add_argument("--out", type=Path, required=True, metavar="CSV", help="file,score,decision,error; continued if it is there")
    p.add_argument("--interval", type=seconds, default=5.0, metavar="S",
                   help="seconds between looks; a file is taken when it has not changed for one (default 5)")  # fmt: skip
    p.add_argument("--once", action="store_true", help="score what is there, and end")


def fit(args) -> None:
    """Learn how one healthy machine sounds, from a folder of its recordings in any names."""
    from dataclasses import replace

    from asdkit import detector
    from asdkit.blocks import without_far
    from asdkit.calibration import check_rate
    from asdkit.recordings import Reading, TrainingSet, is_far, read_folder, wav_files

    config = read_config(args)
    if args.false_alarm is not None:
        config = replace(config, false_alarm=args.false_alarm)
    if args.out.exists() and not (args.out / "model.json").is_file():
        raise InputError(f"{args.out}: found something that is not a model, expected a new folder or a model to replace")
    files = [*wav_files(args.folder), *(args.folder / "train").glob("*.wav")]
    reading = Reading(args.near, args.near_only, args.resample, any(map(is_far, files)))
    clips = read_folder(args.folder, reading)
    clips += read_folder(args.target, reading, "target") if args.target else ()
    if args.false_alarm is not None:
        check_rate(TrainingSet.of(clips), config.false_alarm)
    fitted = detector.fit(clips, without_far(config) if args.near_only else config, seed=args.seed)
    fitted.save(args.out)
    print(f"model: {args.out} ({len(clips)} clips, {len({c.recording for c in clips})} recordings)")
    print(f"threshold: {promise(fitted)}")
    new = args.folder / "test" if (args.folder / "test").is_dir() else "NEW_RECORDINGS"
    print(f"next: asdkit score {shlex.quote(str(args.out))} {shlex.quote(str(new))} --report report.html")


def promise(detector) -> str:
    """The threshold, and which rates of false alarms can be had from its recordings without fitting again."""
    if detector.held_out is None:
        return "none: too few recordings, expected at least 3"
    threshold, wanted = detector.decision_threshold(), f"{100 * detector.config.false_alarm:g} % false alarms"
    first = f"none: too few recordings for {wanted}" if threshold is None else f"{threshold:.4f}, for {wanted}"
    return f"{first}; `asdkit score --false-alarm RATE` takes any rate from {detector.held_out.lowest_rate:g} to 1"


def score(args) -> int:
    """Score new recordings of that machine, and decide: file,score,decision."""
    from tqdm.auto import tqdm

    from asdkit.apps.watch import row
    from asdkit.detector import load
    from asdkit.recordings.files import write

    detector = load(args.model)
    threshold = detector.decision_threshold() if args.false_alarm is None else detector.threshold(args.false_alarm)
    files, results = detector.files(args.files), []
    if not files:
        raise InputError(f"{args.files[0]}: found no .wav files, expected recordings, or folders that hold them")
    for path in tqdm(files, desc="score", unit="file", disable=len(files) < LONG):
        results.append(result := detector.score_file(path, threshold))
        if result.reason:
            tqdm.write(f"asdkit: error: {result.reason}", file=sys.stderr)
    scored = [row(r.file, r.score, r.decision) for r in results if not r.reason]
    text = row("file", "score", "decision") + "".join(scored)
    if scored and args.out:
        write(args.out, text)
    elif scored:
        print(text, end="")
    if args.report:
        from asdkit.apps.page import write_page

        print(f"report: {write_page(args.report, args.model, detector, results, args.false_alarm)}", file=sys.stderr)
    return 2 if len(scored) < len(results) else 0


def watch(args) -> None:
    """Score recordings as they appear in a folder, a row each; goes on after a restart."""
    from asdkit.apps.watch import watch
    from asdkit.detector import load

    try:
        for result in watch(load(args.model), args.folder, args.out, args.interval, args.once):
            decision = {0: "normal", 1: "ANOMALY", None: "no threshold"}[result.decision]
            print(result.reason or f"{result.file}: {result.score:.4f} {decision}", file=sys.stderr)
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
