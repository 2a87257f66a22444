"""The commands of ``asdkit``, in the order that its help lists them."""

from asdkit.apps.commands.data import add_fetch, add_simulate, add_validate
from asdkit.apps.commands.experiments import add_ablate, add_figures, add_run, add_submit
from asdkit.apps.commands.machine import add_fit, add_score, add_watch

COMMANDS = (
    add_simulate, add_fetch, add_validate, add_run, add_submit, add_ablate, add_figures, add_fit, add_score,
    add_watch,
)  # fmt: skip
