"""Train members of a finished search, with the original as teacher: python examples/finetune_member.py RUN

RUN is what ``examples/own_network.py`` wrote. For networks given by name the command does the same:
``python -m gaprune.finetune RUN --pick knee --epochs 10``.
"""

from __future__ import annotations

import argparse

from digits_network import small_network
from safetensors.torch import load_file

import gaprune


def main() -> None:
    """Train the members that a rule names, and say what it gained."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", help="the run directory of a finished search")
    parser.add_argument("--pick", default="knee", help="all, indices and rules, such as 3,7,flops<=0.3")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()

    data = gaprune.load_data("digits")
    network = small_network()
    network.load_state_dict(load_file(f"{options.run}-original.safetensors"))  # the weights that the search had
    result = gaprune.finetune(options.run, model=network, data=data, pick=options.pick, epochs=options.epochs)
    for row in result.rows:
        if row.trained_epochs:
            print(f"member {row.index}: {row.test_accuracy_before:.1%} before training, {row.test_accuracy:.1%} after")


if __name__ == "__main__":
    main()
