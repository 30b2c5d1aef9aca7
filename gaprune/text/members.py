"""A finished search of texts in a comparison: the same original, the same texts held out, members of its front."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from gaprune.compress import Front, Work
from gaprune.data import default_cache_dir
from gaprune.errors import OptionError, RunError
from gaprune.options import TASK, differences, options_from_record
from gaprune.progress import Reporter
from gaprune.runs import fact, read_manifest
from gaprune.session import NAMED
from gaprune.text.data import TextData
from gaprune.text.options import TextOptions, TextSearchOptions
from gaprune.text.original import Original, fine_tuned
from gaprune.text.searching import ORIGINAL, held_out, kept_in, original_of
from gaprune.text.task import Settings, TextTask
from gaprune.training import digest_tensors

_OF_THE_RUN = (
    "encoder",
    "data",
    "data_dir",
    "text_column",
    "label_column",
    "epochs",
    "lr",
    "max_length",
    "seed",
    "cache_dir",
)
_FIXED = ("max_length", "seed")
"""Options that decide the original and the texts held out, and that nothing else tells from the run's."""


@dataclass(frozen=True)
class TextRun:
    """A finished search of a text classifier.

    Attributes:
        front: its members.
        options: that it was made with.
    """

    front: Front
    options: TextSearchOptions

    @classmethod
    def open(cls, run: Path) -> TextRun:
        """The run in a directory.

        Raises:
            RunError: it is no such run, or not finished.
        """
        saved = fact(read_manifest(run), TASK, NAMED, "options", kind=dict)
        if saved is None:
            raise RunError(f"{run} is no search of a text classifier: compare its members without --model bert")
        return cls(Front(run), options_from_record(TextSearchOptions, saved))

    def brought(self, options: TextOptions) -> TextOptions:
        """A comparison's options, with the run's where nothing was typed.

        Raises:
            OptionError: one was typed that would make another original.
        """
        theirs = {name: getattr(self.options, name) for name in _OF_THE_RUN}
        for name in _FIXED:
            if name in options.given and getattr(options, name) != theirs[name]:
                raise OptionError(
                    f"--{name.replace('_', '-')} is {theirs[name]} in {self.front.run}, got {getattr(options, name)}: "
                    "leave it out"
                )
        return options.but(**{name: value for name, value in theirs.items() if name not in options.given})

    def begun(self, options: TextOptions, data: TextData, device: torch.device) -> Begun:
        """The run's original, made of the encoder and the data that the comparison has.

        Raises:
            RunError: these are not what the run began with.
        """
        asked = self.options.tuning
        learnt, _ = held_out(data, asked.search_texts, self.options.evolution.seed)
        original = original_of(self.options.but(encoder=options.network.encoder), learnt, device)
        theirs = fact(self.front.manifest, TASK, NAMED, ORIGINAL, kind=dict)
        apart = [] if theirs is None else differences(theirs, original.identity)
        if apart:
            raise RunError(
                f"{self.front.run} searched another original ({'; '.join(apart)}): compare with its encoder, texts "
                "and device"
            )
        cache = options.table.cache_dir or default_cache_dir()
        return Begun(self.front, original, kept_in(original, cache))


@dataclass(frozen=True)
class Begun:
    """What a run and its comparison both begin with.

    Attributes:
        front: of the run.
        original: before it is fine-tuned, trained as the run had it.
        kept: where the search has kept it, fine-tuned.
    """

    front: Front
    original: Original
    kept: Path

    def compared(self, settings: Settings) -> Original:
        """The original with the settings that rows are trained by; texts are cut where the run cut them."""
        task = self.original.task
        settings = dataclasses.replace(settings, limit=task.settings.limit)
        identity = self.original.identity | {"settings": dataclasses.asdict(settings)}
        return dataclasses.replace(
            self.original, task=TextTask(task.data, task.tokens, settings, task.device), identity=identity
        )

    def check(self, reporter: Reporter) -> None:
        """Fine-tune the original where the cache has it no more, and see whether it is the run's.

        Raises:
            RunError: it is not.
        """
        self._checked(fine_tuned(self.original, self.kept, reporter))

    def work(self, settings: Settings, folder: Path, reporter: Reporter) -> Work:
        """The original as chains begin with it, kept in ``folder`` as well; rows are trained by ``settings``.

        Raises:
            RunError: it is not the run's, or the folder cannot be written.
        """
        work = self._checked(fine_tuned(self.original, folder, reporter, source=self.kept))
        taught: TextTask = self.compared(settings).task
        found = work.task
        assert isinstance(found, TextTask)
        taught.teacher = found.teacher
        return Work.of(work.network, taught, work.base)

    def _checked(self, work: Work) -> Work:
        theirs = self.front.manifest.get("identity", {}).get("weights_sha256")
        if theirs != digest_tensors(work.network.state_dict()):
            raise RunError(
                f"{self.front.run} searched an original of other weights: fine-tuned on this machine, the same encoder "
                f"and texts give others; bring the search's cache (--cache-dir), where {self.kept.name} holds them"
            )
        return work
