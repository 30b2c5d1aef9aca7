"""``gaprune.export(...)`` and ``python -m gaprune.export``: a network of a run as the file that ships."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaprune.callables import callable_module, lazy_names
from gaprune.commands.lines import export_main as main

if TYPE_CHECKING:
    from gaprune.commands.export import export as export

HOME = "gaprune.commands.export"

callable_module(__name__, HOME, "export")


def __getattr__(name: str) -> Any:
    """What brings torch is imported when it is used."""
    return lazy_names(__name__, HOME, ("export",), name)


if __name__ == "__main__":
    raise SystemExit(main())
