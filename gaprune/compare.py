"""``gaprune.compare(...)`` and ``python -m gaprune.compare``: other methods beside members of a front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaprune.callables import callable_module, lazy_names
from gaprune.commands.lines import compare_main as main

if TYPE_CHECKING:
    from gaprune.commands.compare import compare as compare

HOME = "gaprune.commands.compare"

callable_module(__name__, HOME, "compare")


def __getattr__(name: str) -> Any:
    """What brings torch is imported when it is used."""
    return lazy_names(__name__, HOME, ("compare",), name)


if __name__ == "__main__":
    raise SystemExit(main())
