"""Search smaller forms of a network of your own: python examples/own_network.py [--output DIR]

The network and the images stand for yours: any convolutional network that ``torch.export`` can trace, any uint8 images.
"""

from __future__ import annotations

import argparse

import torch
from digits_network import small_network, trained_network
from safetensors.torch import save_file

import gaprune


def main() -> None:
    """Train, search, load one member."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="runs/example", help="the run directory, a new one")
    parser.add_argument("--population", type=int, default=16)
    parser.add_argument("--generations", type=int, default=8)
    options = parser.parse_args()

    data = gaprune.load_data("digits")  # or gaprune.from_arrays(...), or the path of an image folder
    network = trained_network(data)
    result = gaprune.search(
        network,
        data,
        search_from="test",  # the network has seen all training images
        population=options.population,
        generations=options.generations,
        output=options.output,
    )
    for row in result.rows:
        print(f"{row.index:3}: {row.test_accuracy:.1%} with {row.flops_share:.0%} of the FLOPs, {row.params:,} weights")

    save_file(network.state_dict(), f"{options.output}-original.safetensors")  # for examples/finetune_member.py

    smaller = result.load()  # the picked member; result.load(3) is member 3
    left = sum(parameter.numel() for parameter in smaller.parameters())
    print(f"picked: {left:,} of {sum(p.numel() for p in small_network().parameters()):,} parameters")
    with torch.inference_mode():
        print(smaller(gaprune.data.normalise(data.test.images[:1], data.mean, data.std)).argmax(1))


if __name__ == "__main__":
    main()
