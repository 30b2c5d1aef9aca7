"""``python -m gaprune.status``: where a run stands."""

from __future__ import annotations

from gaprune.commands.lines import status_main as main

__all__ = ["main"]

if __name__ == "__main__":
    raise SystemExit(main())
