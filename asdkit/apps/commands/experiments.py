"""Commands over many machines, systems and seeds: ``asdkit simulate | run | ablate | figures``."""

from pathlib import Path

from asdkit.apps.commands import command, natural, positive, read_config
from asdkit.recordings import InputError

SCHEDULER = (
    "of a Dask cluster, e.g. tcp://10.0.0.1:8786: its workers are used in place of processes. DATA and DIR must be on a file "
    "system that all of them share, under the same paths"
)
TRUTH = (
    "labels and domains of test clips whose names hide them, as the challenge publishes them: ground_truth_data and "
    "ground_truth_domain with ground_truth_<machine>_section_00_test.csv. They are read when all scores are written"
)
QUICK = "token training, to see whether it works; not a result"


def add_commands(commands):
    """Names and options of the commands in this module."""
    _add_simulate(commands)
    p = command(commands, run, "run data/demo --out runs/demo --systems asdkit log-mel --jobs 2")
    p.add_argument("data", type=Path, metavar="DATA", help="folder with <machine>/{train,test} somewhere below")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="results; continued when it is there")
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config for the `asdkit` system")
    p.add_argument("--machines", nargs="+", metavar="NAME", help="only these (default all)")
    p.add_argument("--systems", nargs="+", metavar="NAME", help="rows of the table; `autoencoder` is off unless named")
    p.add_argument("--seeds", nargs="+", type=natural, default=[0], metavar="N", help="one fit for each (default 0)")
    where = p.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes, each on a machine and seed at a time")
    where.add_argument("--scheduler", metavar="ADDRESS", help=SCHEDULER)
    p.add_argument("--truth", type=Path, metavar="FOLDER", help=TRUTH)
    p.add_argument("--quick", action="store_true", help=QUICK)
    p = command(commands, ablate, "ablate data/demo --out runs/ablate --families alpha knn --seeds 0")
    p.add_argument("data", type=Path, nargs="+", metavar="DATA", help="folders with <machine>/{train,test} somewhere below")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="scores, and tables in DIR/tables")
    p.add_argument("--families", nargs="+", metavar="NAME", help="only these, such as alpha or knn (default all)")
    p.add_argument("--bases", nargs="+", choices=("asdkit", "report"), default=["asdkit", "report"], metavar="BASE",
                   help="systems that are varied: asdkit, report (default both)")  # fmt: skip
    p.add_argument("--config", type=Path, metavar="FILE", help="JSON with options of asdkit.Config for the base `asdkit`")
    p.add_argument("--seeds", nargs="+", type=natural, default=[0, 1, 2], metavar="N", help="one fit for each (default 0 1 2)")
    p.add_argument("--scenes", type=positive, default=12, metavar="N", help="scenes with counterfactual twins (default 12)")
    p.add_argument("--jobs", type=positive, default=1, metavar="N", help="machines at a time (default 1)")
    p.add_argument("--quick", action="store_true", help=QUICK)
    p = command(commands, figures, "figures runs/ablate/tables --out runs/ablate/figures")
    p.add_argument("tables", type=Path, metavar="TABLES", help="folder that `asdkit ablate` wrote its tables to")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="PNG, SVG, claims.csv, claims.md, manifest.json")


def _add_simulate(commands):
    p = command(commands, simulate, "simulate data/demo --machines fan valve --train 100 --test 25")
    p.add_argument("out", type=Path, metavar="OUT", help="folder for <machine>/{train,test}")
    p.add_argument("--machines", nargs="+", metavar="NAME", help="only these of the simulated machines (default all)")
    p.add_argument("--train", type=int, default=990, metavar="N", help="source training clips (default 990)")
    p.add_argument("--target", type=int, default=10, metavar="N", help="target training clips (default 10)")
    p.add_argument("--test", type=int, default=50, metavar="N", help="test clips per domain and label (default 50)")
    p.add_argument("--seconds", type=float, default=10.0, metavar="S", help="length of a clip (default 10)")
    p.add_argument("--seed", type=natural, default=0, metavar="N", help="which machines, rooms and clips (default 0)")
    p.add_argument("--jobs", type=positive, default=1, metavar="N", help="processes (default 1)")
    p.add_argument("--snr", type=float, metavar="DB", help="machine over noise at near (by default a range of each machine)")
    p.add_argument("--loudspeakers", type=int, metavar="N", help="places that noise comes from, 1 to 4 (1 or 2, by machine)")
    p.add_argument("--far-distance", type=float, metavar="M", help="from the machine to far (0.6 to 3 m, by machine)")
    p.add_argument("--sources", type=Path, metavar="FOLDER", help="render these mono machine recordings instead")
    p.add_argument("--noise", type=Path, metavar="FOLDER", help="in this mono noise, with --sources")


def simulate(args) -> None:
    """Write simulated near/far recordings with known faults, or render mono recordings."""
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


def run(args) -> None:
    """Fit and score systems on every machine below a folder; continues where it stopped."""
    from asdkit.experiments import find_truth, results, runs, with_truth
    from asdkit.recordings import index_data

    config = read_config(args)
    machines = index_data(args.data, args.machines)
    if args.truth:
        find_truth(args.truth, machines)
    runs.run(args.data, args.out, config, args.systems, args.seeds, args.machines, args.jobs, args.quick, args.scheduler)
    machines = with_truth(machines, args.truth) if args.truth else machines
    table, differences = results.write_tables(args.out, machines)
    figures = results.write_figures(args.out, machines, table)
    print(results.summary(table, differences))
    print(f"\ntables: {args.out / 'results.csv'}, differences.csv, <machine>/scores.csv")
    print(f"figures: {figures[0].parent}" if figures else "figures: none")
    if args.quick:
        print("QUICK: token training. This is not a result.")


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
    drawn = draw_all(tables, args.out)
    print(claims.claims_markdown(claims.write_claims(tables, args.out)))
    if not (goals := study.write_goals(tables, args.out)).empty:
        print(f"\n{claims.goals_markdown(goals)}")
    print(f"figures: {len(drawn)} in {args.out}, each as PNG and SVG")
