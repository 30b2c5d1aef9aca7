"""The commands as they are typed. Options are read and checked first; only then torch is imported, with what works."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gaprune.errors import GapruneError
from gaprune.options import (
    TEXT_MODEL,
    CompareOptions,
    ExportOptions,
    FinetuneOptions,
    ReportOptions,
    SearchOptions,
    StatusOptions,
    TrainOptions,
    peek,
    run_command,
)
from gaprune.text.options import TextOptions, TextSearchOptions

_NAMES = ("search", "train", "finetune", "report", "status", "compare", "export")
SEARCH, TRAIN, FINETUNE, REPORT, STATUS, COMPARE, EXPORT = (f"python -m gaprune.{name}" for name in _NAMES)

TEXT_EXTRA, TEXT_LIBRARIES = "text", ("accelerate", "tokenizers", "transformers")
"""What the text classifier needs beyond images: the package's extra, and what it installs."""


def search_main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m gaprune.search``, of images or of texts; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if _model_of(words) == TEXT_MODEL:
        return run_command(_search_texts, TextSearchOptions, SEARCH, words)
    return run_command(_search, SearchOptions, SEARCH, words)


def finetune_main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m gaprune.finetune``; the exit status."""
    return run_command(_finetune, FinetuneOptions, FINETUNE, argv)


def train_main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m gaprune.train``; the exit status."""
    return run_command(_train, TrainOptions, TRAIN, argv)


def compare_main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m gaprune.compare``, of images or of texts; the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if _model_of(words) == TEXT_MODEL:
        return run_command(_compare_texts, TextOptions, COMPARE, words)
    return run_command(_compare, CompareOptions, COMPARE, words)


def report_main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m gaprune.report``; the exit status."""
    return run_command(_report, ReportOptions, REPORT, argv)


def status_main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m gaprune.status``; the exit status."""
    return run_command(_status, StatusOptions, STATUS, argv)


def export_main(argv: Sequence[str] | None = None) -> int:
    """Run ``python -m gaprune.export``; the exit status."""
    return run_command(_export, ExportOptions, EXPORT, argv)


def _search(options: SearchOptions) -> None:
    options.check_typed()
    _check_run(options.run.resume)
    _logging()
    _room("gaprune.commands.search").command(options)


def _search_texts(options: TextSearchOptions) -> None:
    options.check_typed()
    _check_run(options.run.resume)
    _logging()
    check_text_libraries()
    _room("gaprune.commands.search_texts").command(options)


def _finetune(options: FinetuneOptions) -> None:
    options = options.settled()
    options.check()
    _check_run(options.run)
    _logging()
    _room("gaprune.commands.finetune").command(options)


def _export(options: ExportOptions) -> None:
    options.check()
    _check_exported(options.run)
    _logging()
    _room("gaprune.commands.export").command(options)


def _train(options: TrainOptions) -> None:
    options.check()
    _room("gaprune.commands.train").train(options)


def _compare(options: CompareOptions) -> None:
    options.check_typed()
    _check_run(options.table.resume)
    _check_run(options.network.run)
    _logging()
    _room("gaprune.commands.compare").compare_as(options)


def _compare_texts(options: TextOptions) -> None:
    options.check_typed()
    _check_run(options.table.resume)
    _check_run(options.network.run)
    _logging()
    check_text_libraries()
    _room("gaprune.text.compare").compare(options)


def check_text_libraries() -> None:
    """Refuse texts without the packages that read them.

    Raises:
        MethodError: one line that says what to install.
    """
    needed = _room("gaprune.runtimes").needed
    for name in TEXT_LIBRARIES:
        needed(name, TEXT_EXTRA)


def _report(options: ReportOptions) -> None:
    options.check()
    _logging()
    _room("gaprune.commands.report").report(options)


def _status(options: StatusOptions) -> None:
    _room("gaprune.commands.status").status(options)


def _check_run(path: Path | None) -> None:
    """Raise ``RunError`` where a directory that is named holds no run."""
    if path is not None:
        from gaprune.runs import read_manifest

        read_manifest(path)


def _check_exported(path: Path) -> None:
    """Raise ``RunError`` where a path is neither a run or a comparison nor in one."""
    from gaprune.runs import member_folder, read_manifest

    if not (member_folder(path) / "config.json").is_file():
        read_manifest(path)


def _room(name: str) -> Any:
    """A module that brings torch, or figures."""
    return importlib.import_module(name)


def _logging() -> None:
    import logging  # a quarter of the time that help takes

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")


def _model_of(words: Sequence[str]) -> str | None:
    """What ``--model`` says, or ``--config``'s file, or a run that ``--resume`` or ``--run`` names: whose options."""
    model, config, resume, run = (_typed(words, name) for name in ("--model", "--config", "--resume", "--run"))
    if config is not None:
        file = Path(config).expanduser()
        model, run = (peek(file, name) if told is None else told for name, told in (("model", model), ("run", run)))
    named = resume or run
    if model is None and named is not None:
        from gaprune.runs import read_manifest

        with suppress(GapruneError, KeyError, TypeError):  # what is wrong with the folder is told when it is opened
            return str(read_manifest(Path(named).expanduser())["options"]["model"])
    return model


def _typed(words: Sequence[str], flag: str) -> str | None:
    """The value of an option among the words of a command."""
    for number, word in enumerate(words):
        if word == flag and number + 1 < len(words):
            return words[number + 1]
        if word.startswith(f"{flag}="):
            return word.removeprefix(f"{flag}=")
    return None
