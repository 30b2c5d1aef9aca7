"""Options on disk: what a manifest records, and what a resumed search may be given anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gaprune.errors import OptionError, RunError
from gaprune.options.choices import Data, names
from gaprune.options.cli import differences
from gaprune.options.fields import Options, check_fields, names_of, options_from_record, options_record
from gaprune.options.groups import ClusterOptions, RecordOptions, ScreenOptions
from gaprune.options.search import AUTO, ROUNDS, SearchOptions
from gaprune.options.trust import check_run_trusted

PLACES = names_of(ClusterOptions)
"""Options that say where candidates are evaluated, on which results do not depend."""

ALWAYS = ("pick", "yes", "cache_dir", "data_dir", "checkpoint", *PLACES)
"""Options that a resumed search may be given anew; images and weights are compared by content."""

MAY_CHANGE = ("generations", "polish", "recover", "tested", *ALWAYS)
"""The same for a single search."""

MAY_CHANGE_WITH_ROUNDS = ("rounds", *ALWAYS)
"""The same for the paper's rounds: each builds on the one before."""

MAY_CHANGE_WITH_ITERATIONS = ("iterations", *ALWAYS)
"""The same for iterations."""

SETTLED = ("threads", "device", "round_to", "precision")
"""Options that a run has settled by itself where nobody said; a resumed one keeps what was settled."""

OF_OLD = {
    "recalibration": "plain",
    "racing": 1.0,
    "tested": "all",
    "layers": "conv",
    "polish_below": 0.0,
    "fitness": "accuracy",
    "fitness_temperature": 1.0,
}
"""What options were that a run's manifest does not name, because it was begun before they were there."""

UNRECORDED = ("resume", "trust", *names_of(RecordOptions), *names_of(ScreenOptions))
"""Options of which a run knows nothing."""


def record(options: Options) -> dict[str, Any]:
    """The options as JSON values for a manifest, of a search or a comparison."""
    return {name: value for name, value in options_record(options).items() if name not in UNRECORDED}


def resumed_options(given: SearchOptions, manifest: dict[str, Any]) -> SearchOptions:
    """The options of a run, with those given anew on resume that may change.

    Args:
        given: what was typed; ``given.given`` names the options that count.
        manifest: the run's.

    Raises:
        OptionError: an option differs that may not change; the message shows the difference.
        RunError: the manifest's options are not understood.
    """
    saved, settled, typed = manifest.get("options"), manifest.get("identity"), options_record(given)
    if not isinstance(saved, dict) or not isinstance(settled, dict) or not set(SETTLED) <= set(settled):
        raise RunError(f"the manifest of {given.run.resume} has no options: it is no run of this version")
    check_run_trusted(saved, given.run.resume, given.given, trust=given.run.trust)
    saved = with_known_data({**OF_OLD, **saved, **{name: settled[name] for name in SETTLED}}, manifest)
    check_fields(options_from_record(SearchOptions, saved))
    changed = {name: typed[name] for name in typed if name in given.given and name not in UNRECORDED}
    may_change = _may_change(saved)
    refused = {name: value for name, value in changed.items() if name not in may_change}
    before = {**saved, "threads_per_worker": settled["threads"]}
    if "algorithm" in refused:  # by its own name is the same as auto
        count = len(manifest.get("objectives", saved["objectives"]))
        from gaprune.evolve import settled_name  # which brings numpy and scipy

        if settled_name(refused["algorithm"], count) == settled_name(before["algorithm"], count):
            del refused["algorithm"]
    for name in ("data", "algorithm", "fitness"):
        if refused.get(name) == AUTO:  # which is what the run has made of it
            del refused[name]
    if refused.get("polish_below", 0) is None:  # auto, too
        del refused["polish_below"]
    apart = differences({name: before.get(name) for name in refused}, refused)
    if apart:
        raise OptionError(f"cannot change on resume: {'; '.join(apart)} (leave it out, or start a new run)")
    if saved.get("iterations", 1) > 1 and changed.get("iterations") == 1:
        raise OptionError(f"iterations must be at least 2 on resume: {given.run.resume} is a run of several")
    merged = {**saved, **{name: value for name, value in changed.items() if name in may_change}}
    merged["resume"] = str(given.run.resume)
    return options_from_record(SearchOptions, merged).but(given=given.given & set(PLACES))


def with_known_data(saved: dict[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded options with the data set that ``auto`` was, which may be another at another time or place.

    Args:
        saved: options as JSON values.
        manifest: of the run or comparison that they are of.
    """
    name = manifest.get("data", {}).get("name")
    if saved.get("data") != AUTO or saved.get("data_dir") is not None or name not in names(Data):
        return saved
    return saved if manifest.get("objects", {}).get("data") else {**saved, "data": name}


def _may_change(saved: dict[str, Any]) -> tuple[str, ...]:
    if saved.get("algorithm") == ROUNDS:
        return MAY_CHANGE_WITH_ROUNDS
    return MAY_CHANGE if saved.get("iterations", 1) == 1 else MAY_CHANGE_WITH_ITERATIONS
