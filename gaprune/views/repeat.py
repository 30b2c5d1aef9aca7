"""How a run is repeated, gone on with and made use of, as one would type it."""

from __future__ import annotations

import shlex

from gaprune.options import TASK, SearchOptions, imports, named_again
from gaprune.options import record as recorded
from gaprune.runs import fact
from gaprune.views.record import RunRecord

SEARCH = "python -m gaprune.search"
NOT_REPEATED = ("output", "pick", "threads_per_worker")


def repeat_command(record: RunRecord) -> str | None:
    """The command, or the call from Python, that gives the same front on a machine of the same kind.

    ``None`` where the manifest does not say what the run was told.
    """
    options = record.options
    if not options:
        return None
    defaults = recorded(SearchOptions())
    named = fact(record.manifest, TASK, "named", "options", kind=dict)
    if named is not None:
        from gaprune.text.options import TextSearchOptions

        options, defaults = named, {**recorded(TextSearchOptions()), "model": None}
    told = {
        name: value
        for name, value in options.items()
        if name in defaults and name not in NOT_REPEATED and value is not None and value != defaults[name]
    }
    objects = fact(record.manifest, "objects", kind=dict) or {}
    if any(objects.values()):
        return _call(told, objects)
    return " ".join([SEARCH, *(word for name, value in told.items() for word in _words(name, value))])


def resume_command(record: RunRecord) -> str:
    """What goes on with a run."""
    objects = fact(record.manifest, "objects", kind=dict) or {}
    if any(objects.values()):
        data = "task=task" if objects.get("task") else "data"
        return f"gaprune.search(model, {data}, resume={str(record.path)!r})"
    return " ".join([f"{SEARCH} --resume {shlex.quote(str(record.path))}", *named_again(record.options)])


def load_code(record: RunRecord) -> str | None:
    """Python that loads the picked member; ``None`` where nothing is picked, or its weights are not there."""
    row = record.picked
    if row is None or row.name in record.weightless:
        return None
    named = record.options.get("model")
    own = f", model={named!r}" if imports(named) else ""
    own = ", model=your_original_network" if fact(record.manifest, "objects", "model", kind=bool) else own
    return f"import gaprune\nnetwork = gaprune.load({str(record.path / row.path)!r}{own})"


def export_command(record: RunRecord) -> str | None:
    """What exports the picked member to ONNX, or the call where the network is the caller's own; ``None`` likewise."""
    row = record.picked
    if row is None or row.name in record.weightless or fact(record.manifest, "objects", "task", kind=bool):
        return None
    own = {"model": "your_original_network", "data": "your_data"}
    given = [f"{name}={words}" for name, words in own.items() if fact(record.manifest, "objects", name, kind=bool)]
    if given:
        return f"gaprune.export({', '.join([repr(str(record.path)), f'pick={row.name!r}', *given])})"
    model = record.options.get("model")
    named = f" --model {shlex.quote(str(model))}" if imports(model) else ""
    return f"gaprune export {shlex.quote(str(record.path))} --pick {shlex.quote(row.name)}{named}"


def _words(name: str, value: object) -> list[str]:
    typed = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{typed}" if value else f"--no-{typed}"]
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return [f"--{typed}", shlex.quote(text)]


def _call(told: dict[str, object], objects: dict[str, object]) -> str:
    model = "model" if objects.get("model") else repr(told.get("model", "vgg16"))
    place = told.get("data_dir") or told.get("data", "auto")
    data = "task=task" if objects.get("task") else "data" if objects.get("data") else repr(place)
    names = () if not objects.get("objectives") else ("objectives=objectives",)
    gone = {"model", "data", "data_dir", *(["objectives"] if names else [])}
    rest = [f"{name}={value!r}" for name, value in told.items() if name not in gone]
    return f"gaprune.search({', '.join([model, data, *names, *rest])})"
