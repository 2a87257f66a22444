"""The commands of ``asdkit``, in the order that its help lists them."""

from asdkit.commands.data import add_fetch, add_simulate, add_validate
from asdkit.commands.experiments import add_report, add_run, add_submit
from asdkit.commands.machine import add_fit, add_score

COMMANDS = (add_simulate, add_fetch, add_validate, add_run, add_report, add_submit, add_fit, add_score)
