"""``gaprune.finetune(...)`` and ``python -m gaprune.finetune``: members of a front trained on."""

from __future__ import annotations

from gaprune.callables import callable_module
from gaprune.commands.finetune import finetune, main

callable_module(__name__, finetune)

if __name__ == "__main__":
    raise SystemExit(main())
