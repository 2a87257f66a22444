"""Write figures/hero.png: the explanation of one simulated fault, when it sounds and in which bands.

    python figures/hero.py [--machine slider] [--fault squeal] [--data data/hero] [--steps 600] [--out figures/hero.png]

Simulates 100 healthy recordings of the machine and some faulty ones, fits the default configuration, and explains the
recording with the strongest such fault. The same bytes on the same machine; minutes on one core.
"""

import argparse
import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
from PIL import Image

import asdkit
from asdkit import Config, figures
from asdkit.recordings.files import write
from asdkit.simulate import simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--machine", default="slider")
    parser.add_argument("--fault", default="squeal")
    parser.add_argument("--data", type=Path, default=Path("data/hero"))
    parser.add_argument("--steps", type=int, default=Config().steps, help="training of the masked model")
    parser.add_argument("--out", type=Path, default=Path("figures/hero.png"))
    args = parser.parse_args()

    simulate(args.data, [args.machine], n_source=100, n_target=0, n_test=12, seed=5, jobs=1)
    folder = args.data / args.machine
    truth = pd.read_csv(folder / "simulation.csv")
    faulty = truth[truth["fault"] == args.fault].sort_values(["severity", "file_name"]).iloc[-1]
    detector = asdkit.fit(folder / "train", replace(Config(), steps=args.steps))
    explanation = detector.explain(args.data / faulty["file_name"])
    print(explanation)
    drawn = figures.png(explanation.plot(f"simulated {args.machine}: {args.fault.replace('_', ' ')}"))
    small = io.BytesIO()  # a palette makes the file a third
    image = Image.open(io.BytesIO(drawn)).convert("RGB")
    image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    write(args.out, small.getvalue())


if __name__ == "__main__":
    main()
