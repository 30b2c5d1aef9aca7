"""``python -m gaprune.train``: the network that a search begins with."""

from __future__ import annotations

from gaprune.commands.train import main

if __name__ == "__main__":
    raise SystemExit(main())
