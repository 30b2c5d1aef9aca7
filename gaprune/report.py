"""``python -m gaprune.report``: what a search has found, as one HTML page."""

from __future__ import annotations

from gaprune.commands.lines import report_main as main

__all__ = ["main"]

if __name__ == "__main__":
    raise SystemExit(main())
