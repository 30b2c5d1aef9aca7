"""``python -m gaprune.compare``: other methods beside members of a front."""

from __future__ import annotations

from gaprune.commands.lines import compare_main as main

if __name__ == "__main__":
    raise SystemExit(main())
