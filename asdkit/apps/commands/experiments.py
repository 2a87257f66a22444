"""Commands over many machines, systems and seeds: ``asdkit run | submit | ablate | figures``."""

from __future__ import annotations

from pathlib import Path

from asdkit.apps.commands.shared import command, natural, positive, read_config

SCHEDULER = (
    "of a Dask cluster, e.g. tcp://10.0.0.1:8786: its workers are used in place of processes. DATA and DIR must be on a file "
    "system that all of them share, under the same paths"
)


def add_commands(commands):
    """Names and options of the commands in this module."""
    p = command(commands, run)
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
    p = command(commands, submit)
    p.add_argument("run", type=Path, metavar="RUN", help="output folder of `asdkit run`, with the evaluation machines")
    p.add_argument("--label", required=True, help="Name_LAB_task2_1: of the corresponding author, the institute, 1 to 4")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder in which the folder LABEL is made")
    p.add_argument("--system", default="asdkit", metavar="NAME", help="row of the run's table (default asdkit)")
    p.add_argument("--seed", type=natural, default=0)
    p.add_argument("--meta", type=Path, metavar="FILE", help="YAML or JSON with fields of the meta file, such as the authors")
    p = command(commands, ablate)
    p.add_argument("data", type=Path, nargs="+", metavar="DATA", help="folders with <machine>/{train,test} somewhere below")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="scores, and tables in DIR/tables")
    p.add_argument("--families", nargs="+", metavar="NAME", help="only these, such as alpha or knn")
    p.add_argument("--bases", nargs="+", choices=("asdkit", "report"), default=["asdkit", "report"], metavar="BASE")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config for the base `asdkit`")
    p.add_argument("--seeds", nargs="+", type=natural, default=[0, 1, 2], metavar="N")
    p.add_argument("--scenes", type=positive, default=12, metavar="N", help="scenes with counterfactual twins (default 12)")
    p.add_argument("--jobs", type=positive, default=1, help="machines at a time")
    p.add_argument("--quick", action="store_true", help="token training, to see whether it works; not a result")
    p = command(commands, figures)
    p.add_argument("tables", type=Path, metavar="TABLES", help="folder that `asdkit ablate` wrote its tables to")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="PNG, SVG, claims.csv, claims.md, manifest.json")
    p.add_argument("--all", action="store_true", help="every figure that the tables suffice for, not the gallery alone")


def run(args) -> None:
    """Fit and score systems on every machine below a folder; continues where it stopped."""
    from asdkit.experiments import results, runs
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


def submit(args) -> int:
    """Write a run as a submission to DCASE 2026 Task 2 and check it; uploads nothing."""
    from asdkit import experiments

    folder = experiments.submit(args.run, args.label, args.out, args.system, args.seed, args.meta)
    problems = experiments.check_submission(folder)
    print(f"submission: {folder} ({len(list(folder.glob('anomaly_score_*')))} machines); nothing was uploaded")
    print(f"check: {len(problems) or 'no'} finding(s)")
    for problem in problems:
        print(f"  {problem}")
    return int(bool(problems))


def ablate(args) -> None:
    """Score named variants and measure the trap; continues where it stopped."""
    from asdkit.config import Config
    from asdkit.experiments import ablation

    known = {"asdkit": read_config(args), "report": Config.report()}
    bases = {name: known[name] for name in known if name in args.bases}
    folder = ablation.ablate(args.data, args.out, bases, args.families, args.seeds, args.jobs, args.scenes, args.quick)
    print(f"tables: {folder}")
    if args.quick:
        print("QUICK: token training. This is not a result.")


def figures(args) -> None:
    """Draw the figures of an ablation and tell its claims, from stored tables."""
    from asdkit.experiments import claims, study
    from asdkit.experiments.tables import draw_all, read_tables

    tables = read_tables(args.tables)
    drawn = draw_all(tables, args.out, args.all)
    print(claims.claims_markdown(claims.write_claims(tables, args.out)))
    if not (goals := study.write_goals(tables, args.out)).empty:
        print(f"\n{claims.goals_markdown(goals)}")
    print(f"figures: {len(drawn)} in {args.out}, each as PNG and SVG")
