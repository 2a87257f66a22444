"""The commands of ``asdkit``, in the order that its help lists them."""

from asdkit.commands.data import add_simulate
from asdkit.commands.experiments import add_report, add_run
from asdkit.commands.machine import add_fit, add_score

COMMANDS = (add_simulate, add_run, add_report, add_fit, add_score)
