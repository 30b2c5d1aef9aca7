"""``gaprune.search(...)`` and ``python -m gaprune.search``: the search of a trained network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaprune.callables import callable_module, lazy_names
from gaprune.commands.lines import search_main as main

if TYPE_CHECKING:
    from gaprune.commands.search import SearchResult as SearchResult
    from gaprune.commands.search import search as search

HOME = "gaprune.commands.search"

callable_module(__name__, HOME, "search")


def __getattr__(name: str) -> Any:
    """What brings torch is imported when it is used."""
    return lazy_names(__name__, HOME, ("SearchResult", "search"), name)


if __name__ == "__main__":
    raise SystemExit(main())
