"""The command line ``asdkit``: its commands are in `asdkit.apps.commands`. Exit code 2 and one line on bad input."""

import argparse
import logging
import sys
import warnings

from asdkit import __version__
from asdkit.apps.commands import challenge, experiments, machine
from asdkit.recordings import InputError


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, 1 when a check found something, or 2 on bad input, be it one of many files."""
    parser = build_parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
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
    parser = argparse.ArgumentParser(
        prog="asdkit", description="Hear that a machine is failing, from recordings of its healthy sound.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"asdkit {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for module in (machine, experiments, challenge):
        module.add_commands(commands)
    examples = "".join(f"  asdkit {p.get_default('example')}\n" for p in commands.choices.values())
    parser.epilog = f"an example of each:\n{examples}\n`asdkit COMMAND --help` explains the options of one."
    return parser
