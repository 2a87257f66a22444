"""``python -m asdkit`` is the ``asdkit`` command."""

from importlib import import_module

raise SystemExit(import_module("asdkit.apps.cli").main())
