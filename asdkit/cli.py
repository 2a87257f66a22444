"""The command line: ``asdkit simulate | run | fit | score``. Exit code 2 and one line on bad input."""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import warnings
from pathlib import Path

from asdkit import __version__
from asdkit.recordings import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 on bad input."""
    args = build_parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    warnings.showwarning = lambda message, *_, **__: print(f"asdkit: warning: {message}", file=sys.stderr)
    warnings.simplefilter("once", UserWarning)
    try:
        args.command(args)
    except InputError as error:
        print(f"asdkit: error: {error}", file=sys.stderr)
        return 2
    return 0


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="asdkit", description="Noise-aware anomalous sound detection.")
    parser.add_argument("--version", action="version", version=f"asdkit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_simulate, _add_run, _add_fit, _add_score):
        add(commands)
    return parser


def _command(commands, name, function, help):
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(command=function)
    return parser


def _natural(text: str) -> int:
    """A whole number from 0, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 0")
    return int(text)


def _positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if _natural(text) == 0:
        raise argparse.ArgumentTypeError("found 0, expected a whole number from 1")
    return int(text)


def _add_simulate(commands):
    p = _command(commands, "simulate", simulate, "Write simulated near/far recordings, or render mono ones.")
    p.add_argument("out", type=Path, metavar="OUT", help="folder for <machine>/{train,test}")
    p.add_argument("--machines", nargs="+", metavar="NAME", help="only these of the simulated machines")
    p.add_argument("--train", type=int, default=990, help="source training clips (default 990)")
    p.add_argument("--target", type=int, default=10, help="target training clips (default 10)")
    p.add_argument("--test", type=int, default=50, help="test clips per domain and label (default 50)")
    p.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default 10)")
    p.add_argument("--seed", type=_natural, default=0)
    p.add_argument("--jobs", type=_positive, default=1, help="processes")
    p.add_argument("--sources", type=Path, metavar="FOLDER", help="render these mono machine recordings instead")
    p.add_argument("--noise", type=Path, metavar="FOLDER", help="in this mono noise")


def simulate(args) -> None:
    """``asdkit simulate``."""
    from asdkit import simulate as simulation

    if (args.sources is None) != (args.noise is None):
        raise InputError("simulate: found one of --sources and --noise, expected both or neither")
    if args.sources:
        simulation.render_recordings(args.sources, args.noise, args.out, seed=args.seed)
    else:
        machines = args.machines or simulation.MACHINES
        sizes = dict(n_source=args.train, n_target=args.target, n_test=args.test, seconds=args.seconds)
        simulation.simulate(args.out, machines, **sizes, seed=args.seed, jobs=args.jobs)
    print(f"recordings: {args.out}")


def _add_run(commands):
    p = _command(commands, "run", run, "Fit and score systems on every machine below a folder; continues where it stopped.")
    p.add_argument("data", type=Path, metavar="DATA", help="folder with <machine>/{train,test} somewhere below")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; continued when it is there")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config for the `asdkit` system")
    p.add_argument("--machines", nargs="+", metavar="NAME")
    p.add_argument("--systems", nargs="+", metavar="NAME", help="rows of the table; `autoencoder` is off unless named")
    p.add_argument("--seeds", nargs="+", type=_natural, default=[0], metavar="N")
    p.add_argument("--jobs", type=_positive, default=1, help="machines at a time")
    p.add_argument("--quick", action="store_true", help="token training, to see whether it works; not a result")


def run(args) -> None:
    """``asdkit run``."""
    from asdkit import results, runs
    from asdkit.recordings import index_data

    config = _config(args)
    runs.run(args.data, args.out, config, args.systems, args.seeds, args.machines, args.jobs, args.quick)
    machines = index_data(args.data, args.machines)
    table, differences = results.write_tables(args.out, machines)
    figures = results.write_figures(args.out, machines, table)
    print(results.summary(table, differences))
    print(f"\ntables: {args.out / 'results.csv'}, differences.csv, <machine>/scores.csv")
    print(f"figures: {figures[0].parent}" if figures else "figures: none")
    if args.quick:
        print("QUICK: token training. This is not a result.")


def _add_fit(commands):
    p = _command(commands, "fit", fit, "Fit one machine on a folder of normal recordings in any names.")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="normal recordings (two channels, near first)")
    p.add_argument("--out", type=Path, required=True, metavar="MODEL", help="folder for the model")
    p.add_argument("--target", type=Path, metavar="FOLDER", help="a few normal recordings of a new operating condition")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config")
    p.add_argument("--false-alarm", type=float, metavar="RATE", help="of normal recordings, between 0 and 1 (default 0.1)")
    p.add_argument("--seed", type=_natural, default=0)


def fit(args) -> None:
    """``asdkit fit``."""
    from dataclasses import replace

    from asdkit import pipeline
    from asdkit.artefacts import save
    from asdkit.calibration import check_rate
    from asdkit.recordings import index_folder

    config = _config(args)
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


def _add_score(commands):
    p = _command(commands, "score", score, "Score recordings of any length with a fitted model: file,score,decision.")
    p.add_argument("model", type=Path, metavar="MODEL")
    p.add_argument("files", type=Path, nargs="+", metavar="FILES", help="recordings, or folders of them")
    p.add_argument("--out", type=Path, metavar="CSV", help="write here instead of to the screen")


def score(args) -> None:
    """``asdkit score``."""
    import io

    from asdkit.artefacts import load, write_text
    from asdkit.blocks import read_spectra
    from asdkit.recordings import Clip, wav_files

    detector, lines = load(args.model), io.StringIO()
    files = [f for path in args.files for f in (wav_files(path) if path.is_dir() else [path])]
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("file", "score", "decision"))
    for path in files:
        value = detector.score(read_spectra(Clip(path), detector.config))
        writer.writerow((path, value, detector.decide(value)))
    if args.out:
        write_text(args.out, lines.getvalue())
    else:
        print(lines.getvalue(), end="")


def _config(args):
    from asdkit.config import Config

    return Config.load(args.config) if args.config else Config()
