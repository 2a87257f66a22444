"""Commands that make, fetch and check recordings: ``asdkit simulate | fetch | validate``."""

from __future__ import annotations

import argparse
from pathlib import Path

from asdkit.apps.commands.shared import command, natural, positive
from asdkit.recordings import InputError


def add_commands(commands):
    """Names and options of the commands in this module."""
    p = command(commands, simulate)
    p.add_argument("out", type=Path, metavar="OUT", help="folder for <machine>/{train,test}")
    p.add_argument("--machines", nargs="+", metavar="NAME", help="only these of the simulated machines")
    p.add_argument("--train", type=int, default=990, help="source training clips (default 990)")
    p.add_argument("--target", type=int, default=10, help="target training clips (default 10)")
    p.add_argument("--test", type=int, default=50, help="test clips per domain and label (default 50)")
    p.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default 10)")
    p.add_argument("--seed", type=natural, default=0)
    p.add_argument("--jobs", type=positive, default=1, help="processes")
    p.add_argument("--snr", type=float, metavar="DB", help="machine over noise at near (by default a range of each machine)")
    p.add_argument("--loudspeakers", type=int, metavar="N", help="places that noise comes from, 1 to 4 (1 or 2, by machine)")
    p.add_argument("--far-distance", type=float, metavar="M", help="from the machine to far (0.6 to 3 m, by machine)")
    p.add_argument("--sources", type=Path, metavar="FOLDER", help="render these mono machine recordings instead")
    p.add_argument("--noise", type=Path, metavar="FOLDER", help="in this mono noise")
    p = command(commands, fetch)
    p.add_argument("set", metavar="SET", help="development, additional (training) or evaluation (test)")
    p.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder for archives, dev_data and eval_data")
    p.add_argument("--machines", nargs="+", metavar="NAME", help="only these of the set")
    p.add_argument("--base-url", help=argparse.SUPPRESS)  # for tests
    p = command(commands, validate)
    p.add_argument("folder", type=Path, metavar="DIR", help="folder with <machine>/{train,test} somewhere below")


def simulate(args) -> None:
    """Write simulated near/far recordings, or render mono ones."""
    from asdkit import simulate as simulation

    if (args.sources is None) != (args.noise is None):
        raise InputError("simulate: found one of --sources and --noise, expected both or neither")
    surroundings = {name: getattr(args, name) for name in ("snr", "loudspeakers", "far_distance")}
    if args.sources:
        if named := [name for name, value in surroundings.items() if value is not None]:
            raise InputError(f"simulate: found {', '.join(named)} with --sources, expected it for simulated machines only")
        simulation.render_recordings(args.sources, args.noise, args.out, seed=args.seed)
    else:
        machines = args.machines or simulation.MACHINES
        sizes = dict(n_source=args.train, n_target=args.target, n_test=args.test, seconds=args.seconds)
        simulation.simulate(args.out, machines, **sizes, **surroundings, seed=args.seed, jobs=args.jobs)
    print(f"recordings: {args.out}")


def fetch(args) -> None:
    """Download and unpack DCASE 2026 Task 2 data; continues where it stopped."""
    from asdkit import recordings

    for folder in recordings.fetch(args.set, args.to, args.machines, args.base_url or recordings.ZENODO):
        print(f"{folder.name}: {folder}")
    print(recordings.DATASETS[args.set].terms())


def validate(args) -> int:
    """List what is missing, surplus or damaged; exit code 1 when there is anything."""
    from asdkit import recordings

    checks = recordings.validate(args.folder)
    for check in checks:
        kinds = f" ({', '.join(check.sets)})" if check.sets else ""
        print(f"{check.folder.name}{kinds}: {check.clips} clips, {len(check.findings) or 'no'} finding(s)")
        for kind, text in check.findings:
            print(f"  {kind:8}{text}")
    return int(any(check.findings for check in checks))
