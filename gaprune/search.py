"""``gaprune.search(...)`` and ``python -m gaprune.search``: the search of a trained network."""

from __future__ import annotations

from gaprune.callables import callable_module
from gaprune.commands.search import main, search

callable_module(__name__, search)

if __name__ == "__main__":
    raise SystemExit(main())
