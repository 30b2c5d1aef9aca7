"""gaprune: structural pruning of convolutional networks by genetic search.

``gaprune.search`` finds the front, ``gaprune.load`` loads a compact network of it. Importing this package
imports neither torch nor anything else that is heavy until a name is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gaprune.commands.compare import compare as compare
    from gaprune.commands.export import export as export
    from gaprune.commands.finetune import finetune as finetune
    from gaprune.commands.result import SearchResult as SearchResult
    from gaprune.commands.search import search as search
    from gaprune.data import ImageData as ImageData
    from gaprune.data import from_arrays as from_arrays
    from gaprune.data import image_data as image_data
    from gaprune.data import load_data as load_data
    from gaprune.errors import GapruneError as GapruneError
    from gaprune.evaluate import Objective as Objective
    from gaprune.progress import Reporter as Reporter
    from gaprune.runs import pick as pick
    from gaprune.saved import load as load
    from gaprune.session import Generation as Generation
    from gaprune.tasks import Task as Task
    from gaprune.views import Run as Run

__version__ = "0.1.0"

__all__ = [
    "GapruneError",
    "ImageData",
    "Objective",
    "Run",
    "SearchResult",
    "Task",
    "compare",
    "export",
    "finetune",
    "from_arrays",
    "image_data",
    "load",
    "load_data",
    "pick",
    "search",
]

_HOMES = {
    "GapruneError": "gaprune.errors",
    "Generation": "gaprune.session.callbacks",
    "ImageData": "gaprune.data",
    "Objective": "gaprune.evaluate",
    "Reporter": "gaprune.progress",
    "Run": "gaprune.views",
    "SearchResult": "gaprune.commands.result",
    "Task": "gaprune.tasks",
    "export": "gaprune.export",
    "compare": "gaprune.compare",
    "finetune": "gaprune.finetune",
    "from_arrays": "gaprune.data",
    "image_data": "gaprune.data",
    "load": "gaprune.saved",
    "load_data": "gaprune.data",
    "pick": "gaprune.runs",
    "search": "gaprune.search",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'gaprune' has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = found
    return found
