"""``python -m asdkit`` is the ``asdkit`` command."""

from asdkit.cli import main

raise SystemExit(main())
