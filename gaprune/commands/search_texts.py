"""``python -m gaprune.search --model bert``: a text classifier, fine-tuned and searched by F1 and FLOPs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from gaprune.commands.search import interruptible, shown
from gaprune.data import default_cache_dir
from gaprune.device import choose_device, pinned
from gaprune.errors import RunError
from gaprune.options import TASK, check_fields, options_from_record, options_record
from gaprune.progress import Reporter, make_reporter
from gaprune.runs import fact, read_manifest
from gaprune.session import NAMED, Own, check_task
from gaprune.text.data import load_texts
from gaprune.text.encoder import check_encoder
from gaprune.text.networks import bert_base
from gaprune.text.options import OF_EVERY_SEARCH, TextSearchOptions
from gaprune.text.searching import ORIGINAL, Searched, held_out, original_of, searched

MAY_CHANGE = ("encoder", "data_dir")
"""Options of texts that a resumed search may be given anew; weights and texts are compared by content."""


def command(options: TextSearchOptions) -> None:
    """Do what the command line says, and show the front.

    Raises:
        GapruneError: anything that the user can mend, in one line.
        Interrupted: after Ctrl-C, with the command that goes on.
    """
    reporter = make_reporter()
    with interruptible(options):
        if options.run.resume is not None:
            options = _resumed(options)
        told = options.of_the_search()
        check_task(told, Own())
        check_encoder(options.network.encoder)
        path = options.run.resume
        theirs = None if path is None else fact(read_manifest(path), TASK, NAMED, ORIGINAL, kind=dict)
        found, named = _prepared(options, reporter, theirs)
        own = Own(model=found.network, task=found.task, named=named)
        result = shown(told, own, reporter)
    if options.screen.quiet:
        reporter.say(str(result.path))


def _resumed(options: TextSearchOptions) -> TextSearchOptions:
    """The texts and the network of the run, with the options of the search that are given anew.

    Raises:
        RunError: the run's own options cannot be read.
    """
    path = options.run.resume
    assert path is not None
    saved = fact(read_manifest(path), TASK, NAMED, "options", kind=dict)
    if saved is None:
        raise RunError(f"{path} is no search of a text classifier: go on with it as it was begun")
    anew = {*OF_EVERY_SEARCH, *MAY_CHANGE}
    typed = {name: value for name, value in options_record(options).items() if name in options.given & anew}
    made = options_from_record(TextSearchOptions, {**saved, **typed}).but(resume=path, given=options.given & anew)
    check_fields(made)
    return made


def reopened_texts(
    path: Path, anew: Mapping[str, Any], reporter: Reporter, recipe: Mapping[str, Any] | None = None
) -> Own:
    """The network and the task of a finished search of texts, for work on its members.

    Args:
        path: of the run.
        anew: options of the search that are others by now: where texts and the original lie, the device, threads.
        reporter: told how it goes.
        recipe: of the members' training, what is another than of the original's; ``None`` trains nothing.

    Raises:
        GapruneError: anything that the user can mend, in one line.
    """
    saved = fact(read_manifest(path), TASK, NAMED, "options", kind=dict)
    if saved is None:
        raise RunError(f"{path} is no search of a text classifier")
    options = options_from_record(TextSearchOptions, saved)
    places = {name: value for name, value in anew.items() if value is not None}
    found, named = _prepared(
        options.but(**places), reporter, fact(read_manifest(path), TASK, NAMED, ORIGINAL, kind=dict)
    )
    task = found.task if recipe is None else found.trained_by(recipe, reporter)
    return Own(model=found.network, task=task, named=named)


def _prepared(
    options: TextSearchOptions, reporter: Reporter, theirs: dict[str, Any] | None = None
) -> tuple[Searched, dict[str, Any]]:
    """The original, fine-tuned now or before, its task, and what both are made from."""
    device, asked, seed = choose_device(options.machine.device), options.tuning, options.evolution.seed
    texts, cache = options.texts, options.run.cache_dir or default_cache_dir()
    data = load_texts(
        texts.data,
        data_dir=texts.data_dir,
        text_column=texts.text_column,
        label_column=texts.label_column,
        seed=seed,
        cache_dir=cache,
        reporter=reporter,
    )
    learnt, judged = held_out(data, asked.search_texts, seed)
    original = original_of(options, learnt, device, theirs)
    for line in original.described():
        reporter.say(line)
    with pinned(options.machine.threads or torch.get_num_threads()):
        found = searched(
            original,
            judged,
            cache,
            calibration=asked.calibration_texts,
            length=asked.flops_length,
            reporter=reporter,
        )
    told = {name: value for name, value in options_record(options).items() if name not in ("resume", "output")}
    named = {
        "model": options.network.model,
        "data": data.name,
        "base": bert_base(found.network.bert.config),
        "options": told,
        ORIGINAL: original.identity,
    }
    return found, named
