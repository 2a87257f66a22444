"""Append a row to the leaderboard: what one configuration reached on one set of machines.

    python benchmarks/leaderboard.py RUN --tried N [--system asdkit] [--out figures/leaderboard.csv]

RUN is a folder that `asdkit run` wrote. N says how many options had been tried on these machines by then: the more, the more
optimistic the row. Omega (x100) is the official one over machines, mean over seeds, with the mean of their intervals.
"""

import argparse
import json
import subprocess
from datetime import date
from pathlib import Path

import pandas as pd

from asdkit.recordings.files import write


def row(folder: Path, system: str, tried: int) -> dict:
    """Date, commit, configuration, Omega of every machine and of all, seconds, options tried."""
    results = pd.read_csv(folder / "results.csv").query("system == @system")
    omega = 100 * results.groupby("machine")[["omega", "omega_lo", "omega_hi"]].mean()
    whole, machines = omega.loc["all"], omega.drop(index="all")["omega"]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=True)
    return dict(
        date=date.today().isoformat(), commit=commit.stdout.strip(), system=system, seeds=results["seed"].nunique(),
        config=json.loads((folder / "configs.json").read_text())[system]["hash"],
        omega=f"{whole['omega']:.1f}", lo=f"{whole['omega_lo']:.1f}", hi=f"{whole['omega_hi']:.1f}",
        machines=", ".join(f"{name} {value:.1f}" for name, value in machines.items()),
        seconds=round(results.loc[results["machine"] == "all", "seconds"].sum()), tried=tried,
    )  # fmt: skip


def main() -> None:
    """Append, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--tried", type=int, required=True, help="options tried on these machines so far")
    parser.add_argument("--system", default="asdkit")
    parser.add_argument("--out", type=Path, default=Path("figures/leaderboard.csv"))
    args = parser.parse_args()
    known = pd.read_csv(args.out, dtype=str) if args.out.exists() else pd.DataFrame()
    table = pd.concat([known, pd.DataFrame([row(args.run, args.system, args.tried)])], ignore_index=True)
    write(args.out, table.to_csv(index=False))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
