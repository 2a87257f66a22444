"""Commands for one machine: ``asdkit fit | score``."""

from __future__ import annotations

import csv
from pathlib import Path

from asdkit.commands.shared import command, natural, read_config
from asdkit.recordings import InputError


def add_fit(commands):
    p = command(commands, "fit", fit, "Fit one machine on a folder of normal recordings in any names.")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="normal recordings (two channels, near first)")
    p.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder for the model")
    p.add_argument("--target", type=Path, metavar="FOLDER", help="a few normal recordings of a new operating condition")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config")
    p.add_argument("--false-alarm", type=float, metavar="RATE", help="of normal recordings, between 0 and 1 (default 0.1)")
    p.add_argument("--seed", type=natural, default=0)


def fit(args) -> None:
    """``asdkit fit``."""
    from dataclasses import replace

    from asdkit import pipeline
    from asdkit.artefacts import save
    from asdkit.calibration import check_rate
    from asdkit.recordings import index_folder

    config = read_config(args)
    if args.false_alarm is not None:
        config = replace(config, false_alarm=args.false_alarm)
    clips = index_folder(args.folder) + (index_folder(args.target, "target") if args.target else ())
    if args.out.exists() and not (args.out / "model.json").is_file():
        raise InputError(f"{args.out}: found something that is not a model, expected a new folder or a model to replace")
    if args.false_alarm is not None:
        check_rate(clips, config.false_alarm)
    detector = pipeline.fit(clips, config, args.seed, description="masked spectrogram model")
    save(detector, args.out, clips=len(clips), seed=args.seed)
    print(f"model: {args.out} ({len(clips)} clips, {len({c.recording for c in clips})} recordings)")
    print(f"threshold: {'none: too few recordings' if detector.threshold is None else f'{detector.threshold:.4f}'}")


def add_score(commands):
    p = command(commands, "score", score, "Score recordings of any length with a fitted model: file,score,decision.")
    p.add_argument("model", type=Path, metavar="MODEL")
    p.add_argument("files", type=Path, nargs="+", metavar="FILES", help="recordings, or folders of them")
    p.add_argument("--out", type=Path, metavar="CSV", help="write here instead of to the screen")
    p.add_argument("--report", type=Path, metavar="HTML", help="one file: all scores, and when and in which bands they depart")


def score(args) -> None:
    """``asdkit score``."""
    import io

    from asdkit.artefacts import load, write_text
    from asdkit.blocks import read_spectra
    from asdkit.recordings import Clip, wav_files

    detector, lines, rows = load(args.model), io.StringIO(), []
    files = [f for path in args.files for f in (wav_files(path) if path.is_dir() else [path])]
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("file", "score", "decision"))
    for path in files:
        value = detector.score(read_spectra(Clip(path), detector.config))
        rows.append((path, value, detector.decide(value)))
        writer.writerow(rows[-1])
    if args.out:
        write_text(args.out, lines.getvalue())
    else:
        print(lines.getvalue(), end="")
    if args.report:
        from asdkit import report

        report.write_scores(args.report, args.model, detector, [report.Row(str(f), *scored) for f, *scored in rows])
