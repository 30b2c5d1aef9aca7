"""Load one network of a finished search and use it: python examples/load_member.py RUN [--pick "flops<=0.3"]

Only the form of the original is needed, not its weights. A network given by name needs nothing: ``gaprune.load(path)``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from digits_network import small_network

import gaprune
from gaprune.runs import read_csv


def main() -> None:
    """Pick, load, classify."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run directory of a finished search")
    parser.add_argument("--pick", default="knee", help="knee, flops<=0.3, params<=0.5 or accuracy>=0.9")
    options = parser.parse_args()

    row = gaprune.pick(read_csv(options.run / "front.csv"), options.pick)
    folder = options.run / row.path
    network = gaprune.load(folder, model=small_network())
    fed = json.loads((folder / "config.json").read_text())  # how its input is normalised

    digits = gaprune.load_data("digits").test
    inputs = gaprune.data.normalise(digits.images, tuple(fed["mean"]), tuple(fed["std"]))
    with torch.inference_mode():
        right = (network(inputs).argmax(1) == digits.labels).float().mean()
    print(f"member {row.index}: {row.params:,} parameters, {right:.1%} of all test digits")


if __name__ == "__main__":
    main()
