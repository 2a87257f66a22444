"""What the commands share: how one is added to the parser, kinds of numbers, and the configuration."""

import argparse


def command(commands, function, example: str) -> argparse.ArgumentParser:
    """Add the command of a function's name; its docstring is the help, and it is called with the parsed arguments."""
    parser = commands.add_parser(
        function.__name__, help=function.__doc__, description=function.__doc__, epilog=f"example:\n  asdkit {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=function, example=example)
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
    return _number(text, 86400, "seconds above 0")


def rate(text: str) -> float:
    """A share above 0 and at most 1, for argparse."""
    return _number(text, 1, "a share of the healthy recordings, above 0 and at most 1, such as 0.05 for one in twenty")


def _number(text: str, highest: float, expected: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= highest:
        raise argparse.ArgumentTypeError(f"found {text}, expected {expected}")
    return number


def read_config(args):
    """The configuration that ``--config`` names, or the default."""
    from asdkit.config import Config

    return Config.load(args.config) if args.config else Config()
