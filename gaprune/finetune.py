"""``gaprune.finetune(...)`` and ``python -m gaprune.finetune``: members of a front trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gaprune.callables import callable_module, lazy_names
from gaprune.commands.lines import finetune_main as main

if TYPE_CHECKING:
    from gaprune.commands.finetune import finetune as finetune

HOME = "gaprune.commands.finetune"

callable_module(__name__, HOME, "finetune")


def __getattr__(name: str) -> Any:
    """What brings torch is imported when it is used."""
    return lazy_names(__name__, HOME, ("finetune",), name)


if __name__ == "__main__":
    raise SystemExit(main())
