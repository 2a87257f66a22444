"""Commands over many machines, systems and seeds: ``asdkit run | report``."""

from __future__ import annotations

from pathlib import Path

from asdkit.commands.shared import command, natural, positive, read_config


def add_run(commands):
    p = command(commands, "run", run, "Fit and score systems on every machine below a folder; continues where it stopped.")
    p.add_argument("data", type=Path, metavar="DATA", help="folder with <machine>/{train,test} somewhere below")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; continued when it is there")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config for the `asdkit` system")
    p.add_argument("--machines", nargs="+", metavar="NAME")
    p.add_argument("--systems", nargs="+", metavar="NAME", help="rows of the table; `autoencoder` is off unless named")
    p.add_argument("--seeds", nargs="+", type=natural, default=[0], metavar="N")
    p.add_argument("--jobs", type=positive, default=1, help="machines at a time")
    p.add_argument("--quick", action="store_true", help="token training, to see whether it works; not a result")


def run(args) -> None:
    """``asdkit run``."""
    from asdkit import results, runs
    from asdkit.recordings import index_data

    config = read_config(args)
    runs.run(args.data, args.out, config, args.systems, args.seeds, args.machines, args.jobs, args.quick)
    machines = index_data(args.data, args.machines)
    table, differences = results.write_tables(args.out, machines)
    figures = results.write_figures(args.out, machines, table)
    print(results.summary(table, differences))
    print(f"\ntables: {args.out / 'results.csv'}, differences.csv, <machine>/scores.csv")
    print(f"figures: {figures[0].parent}" if figures else "figures: none")
    if args.quick:
        print("QUICK: token training. This is not a result.")


def add_report(commands):
    p = command(commands, "report", report, "Write one HTML file with a run's tables, figures, configuration and limits.")
    p.add_argument("run", type=Path, metavar="RUN", help="folder written by `asdkit run`")
    p.add_argument("data", type=Path, metavar="DATA", help="the recordings it was run on")
    p.add_argument("--out", type=Path, required=True, metavar="HTML")


def report(args) -> None:
    """``asdkit report``."""
    from asdkit.report import write_run

    print(f"report: {write_run(args.out, args.run, args.data)}")
