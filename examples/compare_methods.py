"""Several compression methods on one network, in one table: python examples/compare_methods.py [--output DIR]

Needs ``pip install -e ".[compare]"``. This is ``python -m gaprune.compare`` on the built-in digits. With ``--run RUN``
of a search by name, members of its front stand in the table too, also in chains: ``ours:knee+quantize``.
"""

from __future__ import annotations

import argparse

from gaprune.compare import main as compare

METHODS = "none,quantize,tucker:size=0.2:raw,prune:l1:keep=0.5:raw"


def main() -> int:
    """Run the comparison; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="digits_network:small_network", help="the network")
    parser.add_argument("--methods", default=METHODS, help="chains, separated by commas")
    parser.add_argument("--output", default="comparisons/example", help="a new directory")
    options, others = parser.parse_known_args()
    chosen = ("--model", options.model, "--methods", options.methods, "--output", options.output)
    return compare(("--data", "digits", *chosen, *others))


if __name__ == "__main__":
    raise SystemExit(main())
