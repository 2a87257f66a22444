"""``python -m asdkit`` is the ``asdkit`` command."""

from asdkit.apps.cli import main

raise SystemExit(main())
