"""Public names of a package that are loaded when they are first used (PEP 562): `import asdkit` stays fast."""

import importlib


def on_first_use(package, names, rooms=()):
    """`__getattr__` and `__dir__` of a package: `names`, {public name: module that holds it}, and packages in it, `rooms`."""

    def load(name):
        if name in rooms:
            return importlib.import_module(f"{package}.{name}")
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{names[name]}"), name)

    return load, lambda: sorted([*names, *rooms])
