"""Commands over many machines, systems and seeds: ``asdkit run``."""

from __future__ import annotations

from pathlib import Path

from asdkit.commands.shared import command, natural, positive, read_config

SCHEDULER = (
    "of a Dask cluster, e.g. tcp://10.0.0.1:8786: its workers are used in place of processes. DATA and DIR must be on a file "
    "system that all of them share, under the same paths"
)


def add_run(commands):
    p = command(commands, "run", run, "Fit and score systems on every machine below a folder; continues where it stopped.")
    p.add_argument("data", type=Path, metavar="DATA", help="folder with <machine>/{train,test} somewhere below")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; continued when it is there")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config for the `asdkit` system")
    p.add_argument("--machines", nargs="+", metavar="NAME")
    p.add_argument("--systems", nargs="+", metavar="NAME", help="rows of the table; `autoencoder` is off unless named")
    p.add_argument("--seeds", nargs="+", type=natural, default=[0], metavar="N")
    where = p.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes, each on a machine and seed at a time")
    where.add_argument("--scheduler", metavar="ADDRESS", help=SCHEDULER)
    p.add_argument("--quick", action="store_true", help="token training, to see whether it works; not a result")


def run(args) -> None:
    """``asdkit run``."""
    from asdkit import results, runs
    from asdkit.recordings import index_data

    config = read_config(args)
    runs.run(args.data, args.out, config, args.systems, args.seeds, args.machines, args.jobs, args.quick, args.scheduler)
    machines = index_data(args.data, args.machines)
    table, differences = results.write_tables(args.out, machines)
    figures = results.write_figures(args.out, machines, table)
    print(results.summary(table, differences))
    print(f"\ntables: {args.out / 'results.csv'}, differences.csv, <machine>/scores.csv")
    print(f"figures: {figures[0].parent}" if figures else "figures: none")
    if args.quick:
        print("QUICK: token training. This is not a result.")
