"""``python -m gaprune.train``: the network that a search begins with."""

from __future__ import annotations

from gaprune.commands.lines import train_main as main

if __name__ == "__main__":
    raise SystemExit(main())
