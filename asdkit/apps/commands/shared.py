"""What the commands share: how one is added to the parser, kinds of numbers, and the configuration."""

from __future__ import annotations

import argparse


def command(commands, function) -> argparse.ArgumentParser:
    """Add the command of a function's name; its docstring is the help, and it is called with the parsed arguments."""
    parser = commands.add_parser(function.__name__, help=function.__doc__, description=function.__doc__)
    parser.set_defaults(command=function)
    return parser


def natural(text: str) -> int:
    """A whole number from 0, for argparse."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number from 0")
    return int(text)


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if natural(text) == 0:
        raise argparse.ArgumentTypeError("found 0, expected a whole number from 1")
    return int(text)


def positive_seconds(text: str) -> float:
    """A number above 0 and of at most a day, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"found {text}, expected seconds above 0")
    return seconds


def read_config(args):
    """The configuration that ``--config`` names, or the default."""
    from asdkit.config import Config

    return Config.load(args.config) if args.config else Config()
