"""Members of a front that gaprune's search has found, beside and inside the other methods' chains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from gaprune.compress.method import CONVOLUTIONS, LINEAR, Method, Outline, Session, Work
from gaprune.compress.prune import train_on
from gaprune.compress.words import OURS, RAW, flag, method_text
from gaprune.errors import MethodError, OptionError, RunError
from gaprune.options import SCORE, TASK
from gaprune.runs import FrontRow, RunDirectory, fact, is_member, members, pick, read_front, read_manifest
from gaprune.saved import load
from gaprune.training import digest_json

FRONT = "front.csv"


class Ours(Method):
    """``ours:RULE``, a member of ``--run``: its index or name, ``knee``, ``flops<=0.1`` ...; trained on unless ``raw``.

    Args:
        words: the rule; without one the member that the run has picked.
        context: a ``Front``.
    """

    name = OURS
    applies_to = (CONVOLUTIONS, LINEAR)

    def __init__(self, words: Sequence[str] = (), context: Front | None = None) -> None:
        left = list(words)
        self.trains = not flag(left, RAW)
        self.rule, self.text = ":".join(left), method_text(self.name, words)
        if context is None:
            raise MethodError(f"{self.text} is a member of a search's front: give --run RUN")
        self.front = context
        self.row = context.row(self.rule)

    def check(self, outline: Outline) -> None:
        """See ``Method``."""
        if outline.methods:
            before = outline.methods[-1]
            raise MethodError(
                f"ours cannot follow {before}: a member is cut from the original, so what {before} did would be lost; "
                "write ours first, or distill:ours:... for a member as the student"
            )
        super().check(outline)

    def apply(self, work: Work, session: Session) -> Work:
        """See ``Method``."""
        self.check(work.outline)
        network, report = self.front.member(self.rule)
        network.to(work.task.device)
        if self.trains:
            report["training"] = train_on(network, work, session)
        return work.then(network, self.text, report)


class Front:
    """The front of a finished search.

    Args:
        run: its directory.
        model: the network, where the search was given it as an object, or the name that it is built by; a module that
            the run alone names is not imported.

    Raises:
        RunError: it is none, or not finished.
    """

    def __init__(self, run: Path, model: nn.Module | str | None = None) -> None:
        self.run, self._model = run, model
        self.manifest = read_manifest(run)
        if not (run / FRONT).exists():
            raise RunError(f"{run} has no front yet: finish it with python -m gaprune.search --resume {run}")
        self.rows = [row for row in read_front(run) if row.path]
        if not self.rows:
            raise RunError(f"the front of {run} has no saved member")
        again, epochs = (fact(self.manifest, "options", name, kind=int) for name in ("iterations", "round_epochs"))
        if (again or 1) > 1 or (epochs or 0) > 0:
            raise RunError(
                f"{run} trained networks between its searches, in passes that no other row has: "
                "compare a run without --iterations and --round-epochs"
            )

    def check_original(self, weights_sha256: str) -> None:
        """Raise ``RunError`` unless the run began with these weights."""
        if self.manifest.get("identity", {}).get("weights_sha256") != weights_sha256:
            raise RunError(f"{self.run} searched another network: compare with the weights that it began with")

    def check_splits(self, record: dict[str, Any]) -> None:
        """Raise ``RunError`` unless members were chosen on images that are held out here as well.

        Args:
            record: the comparison's splits, see ``Splits``.
        """
        theirs = self.manifest.get("data", {}).get("splits", {})
        apart = [part for part in ("train", "search", "test") if theirs.get(part) != record[part]]
        if apart:
            raise RunError(
                f"{self.run} held out other {' and '.join(apart)} images: compare with its --seed, --search-from and "
                "--search-size, or leave them out, and start a new comparison"
            )

    def check_table(self, directory: RunDirectory) -> None:
        """Raise ``RunError`` where members of another front are in a comparison already: chains name them by number."""
        before = directory.manifest.get("front")
        if before is not None and before != self.digest():
            raise RunError(
                f"{directory.path} compares members of another front than that of {self.run} as it is now: "
                "start a new comparison"
            )

    def canonical(self, chain: str) -> str:
        """A chain with every member by its index, so that a rule cannot come to mean another: ``ours:03+quantize``."""
        return "+".join(self._named(part.strip().split(":")) for part in chain.split("+"))

    def _named(self, words: list[str]) -> str:
        if OURS not in words[:2]:
            return ":".join(words)
        start = words.index(OURS) + 1
        end = len(words) - (words[-1] == RAW)
        return ":".join([*words[:start], f"{self.row(':'.join(words[start:end])).index:02d}", *words[end:]])

    def digest(self) -> str:
        """Names the members, in their order, and what they reached before any fine-tuning."""
        plain = [row.untrained() for row in self.rows]
        return digest_json([[row.index, row.key, row.search_accuracy, row.test_accuracy] for row in plain])

    def row(self, rule: str) -> FrontRow:
        """The member that a rule names: an index or a name, a rule to pick by, or nothing for the run's own pick.

        Raises:
            OptionError: there is none.
        """
        if is_member(rule):
            found = members(self.rows, rule)
            if len(found) != 1:
                indices = [row.index for row in self.rows]
                raise OptionError(
                    f"{self.run} has no member {rule}: choose {min(indices)} to {max(indices)}, or a name"
                )
            return found[0]
        picked = self.manifest.get("picked")
        if not rule and picked is not None:
            return self.row(str(picked))
        return self.row(str(pick([row.untrained() for row in self.rows], rule or "knee").index))

    def member(self, rule: str) -> tuple[nn.Module, dict[str, Any]]:
        """The network that a rule names, on the CPU, as the search left it, and what its run says of it.

        Fine-tuning that a run has had is left out: every row of a comparison is trained alike.
        """
        row, judged = self.row(rule).untrained(), fact(self.manifest, TASK, SCORE, kind=str) or "accuracy"
        return load(self.run / row.home, model=self._model), {
            "member": row.index,
            "key": row.key,
            f"search {judged}": row.search_accuracy,
            f"test {judged}": row.test_accuracy,
            "flops share": row.flops_share,
        }

    def spread(self, count: int) -> list[str]:
        """Indices of ``count`` members, about evenly far apart in the logarithm of their size, smallest first.

        Ends of a front that know less than half of what its best member does are left out.
        """
        enough = max(row.untrained().search_accuracy for row in self.rows) / 2
        useful = [row for row in self.rows if row.untrained().search_accuracy >= enough]
        ordered = sorted(useful, key=lambda row: row.size_mb)
        least, most = (math.log(row.size_mb) for row in (ordered[0], ordered[-1]))
        wanted = [least + (most - least) * step / max(count - 1, 1) for step in range(count)]
        found = [min(ordered, key=lambda row: abs(math.log(row.size_mb) - at)) for at in wanted]
        return list(dict.fromkeys(f"{row.index:02d}" for row in found))
