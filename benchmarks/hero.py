"""Write figures/hero.png: the explanation of one simulated fault, when it sounds and in which bands.

    python benchmarks/hero.py [--data data/hero]

Simulates 100 healthy recordings of a slider and some faulty ones, fits the default configuration, and explains the recording
with the strongest squeal. Takes a minute.
"""

import argparse
import io
from pathlib import Path

import pandas as pd
from PIL import Image

import asdkit
from asdkit import figures
from asdkit.recordings.files import write
from asdkit.simulate import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data/hero"))
    args = parser.parse_args()

    simulate(args.data, ["slider"], n_source=100, n_target=0, n_test=12, seed=5, jobs=2)
    truth = pd.read_csv(args.data / "slider" / "simulation.csv")
    faulty = truth[truth["fault"] == "squeal"].sort_values(["severity", "file_name"]).iloc[-1]
    explanation = asdkit.fit(args.data / "slider" / "train").explain(args.data / faulty["file_name"])
    print(explanation)
    drawn = Image.open(io.BytesIO(figures.png(explanation.plot("simulated slider: squeal")))).convert("RGB")
    drawn.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(small := io.BytesIO(), "PNG", optimize=True)
    write("figures/hero.png", small.getvalue())  # a palette makes the file a third


if __name__ == "__main__":
    main()
