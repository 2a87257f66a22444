"""The commands. Here is what they share: how one is added to the parser, kinds of numbers, and the configuration."""

import argparse
from math import inf


def command(commands, function, example: str) -> argparse.ArgumentParser:
    """Add the command of a function's name; its docstring is the help, and it is called with the parsed arguments."""
    parser = commands.add_parser(
        function.__name__, help=function.__doc__, description=function.__doc__, epilog=f"example:\n  asdkit {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=function, example=example)
    return parser


def number(kind: type, above: float, most: float, expected: str):
    """What reads, for argparse, a number of a kind above one bound and up to another."""

    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = above
        if not above < value <= most:
            raise argparse.ArgumentTypeError(f"found {text}, expected {expected}")
        return value

    return read


natural = number(int, -1, inf, "a whole number from 0")
positive = number(int, 0, inf, "a whole number from 1")
seconds = number(float, 0, 86400, "seconds above 0, at most a day")
rate = number(float, 0, 1, "a share of the healthy recordings, above 0 and at most 1, such as 0.05 for one in twenty")


def read_config(args):
    """The configuration that ``--config`` names, or the default."""
    from asdkit.config import Config

    return Config.load(args.config) if args.config else Config()
