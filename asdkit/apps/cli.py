"""The command line ``asdkit``: its commands are in `asdkit.apps.commands`. Exit code 2 and one line on bad input."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings

from asdkit import __version__
from asdkit.apps.commands import data, experiments, machine
from asdkit.recordings import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 when a check found something, or 2 on bad input, be it one of many files."""
    args = build_parser().parse_args(arguments)
    logger = logging.getLogger("asdkit")
    logger.setLevel(logging.INFO)
    logger.handlers = [logging.StreamHandler(sys.stderr)]  # one, however often this is called in a process
    warnings.showwarning = lambda message, *_, **__: print(f"asdkit: warning: {message}", file=sys.stderr)
    warnings.simplefilter("once", UserWarning)
    try:
        return args.command(args) or 0
    except InputError as error:
        print(f"asdkit: error: {error}", file=sys.stderr)
        return 2


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(prog="asdkit", description="Noise-aware anomalous sound detection.")
    parser.add_argument("--version", action="version", version=f"asdkit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (data, experiments, machine):
        module.add_commands(commands)
    return parser
