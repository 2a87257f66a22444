"""Commands for the data and the form of the DCASE challenge: ``asdkit fetch | validate | submit``."""

import argparse
from pathlib import Path

from asdkit.apps.commands import command, natural


def add_commands(commands):
    """Names and options of the commands in this module."""
    p = command(commands, fetch, "fetch development --to data/dcase2026")
    p.add_argument("set", metavar="SET", help="development, additional (training) or evaluation (test)")
    p.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder for archives, dev_data and eval_data")
    p.add_argument("--machines", nargs="+", metavar="NAME", help="only these of the set (default all)")
    p.add_argument("--base-url", help=argparse.SUPPRESS)  # for tests
    p = command(commands, validate, "validate data/dcase2026")
    p.add_argument("folder", type=Path, metavar="DIR", help="folder with <machine>/{train,test} somewhere below")
    p = command(commands, submit, "submit runs/dcase2026 --label Name_LAB_task2_1 --out submissions --meta authors.yaml")
    p.add_argument("run", type=Path, metavar="RUN", help="output folder of `asdkit run`, with the evaluation machines")
    p.add_argument("--label", required=True, help="Name_LAB_task2_1: of the corresponding author, the institute, 1 to 4")
    p.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder in which the folder LABEL is made")
    p.add_argument("--system", default="asdkit", metavar="NAME", help="row of the run's table (default asdkit)")
    p.add_argument("--seed", type=natural, default=0, metavar="N", help="seed of the run that is submitted (default 0)")
    p.add_argument("--meta", type=Path, metavar="FILE", help="YAML or JSON with fields of the meta file, such as the authors")


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
