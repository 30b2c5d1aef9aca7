"""The front made real: each member built, checked against fvcore, measured on the test images and saved."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from gaprune.device import pinned
from gaprune.errors import RunError
from gaprune.evaluate import Outcome, judged_value, under_attack
from gaprune.evolve import is_efficient
from gaprune.front.build import Builder, Built
from gaprune.front.finetuned import carry_over, current_row, handed_out, in_words
from gaprune.front.lacking import tested_as_shown, with_tests
from gaprune.front.reported import reported
from gaprune.genome import Genome
from gaprune.options import imports
from gaprune.progress import Reporter
from gaprune.prune import Inputs, Masks, count_flops
from gaprune.runs import (
    CHECKSUMS,
    MEGABYTE,
    SHORT,
    FrontRow,
    RunDirectory,
    atomic_write,
    file_digest,
    member_name,
    put_back,
    read_csv,
    read_front,
    remove_file,
    replacing,
    seal_folder,
    sync_folder,
    take_place,
    write_csv,
    write_indices,
)
from gaprune.saved import CONFIG, Config, save_compact, save_genome
from gaprune.session import Afterwards, Found, Job, Material, Pieces, Workload

FRONT = "front"
PARTIAL = "front.partial"
CSV = "front.csv"
POLISHED = "polished"
README = "README.md"

OF_OLD = {"tested": "all"}
"""Marks of a front that was made before there were these."""


def save_front(job: Job, run: RunDirectory, found: Found, reporter: Reporter) -> list[FrontRow]:
    """Build, measure and save every member of the front, then its table.

    The members appear under ``front/`` together: they are made in another folder that is renamed when whole. An older
    front stays until then. That there is a front, the manifest says last and takes back first, so that a table
    never passes for another front's.

    Returns:
        One row a member, fewest FLOPs first. Those on disk where the search has not moved since.
    """
    marks = {
        "generations_done": found.generation,
        "polished": job.options.space.polish,
        "tested": job.options.run.tested,
    }
    drop_partial(run)
    saved = saved_front(run, marks)
    remember_times(job, run)
    attempts = Afterwards(job, run.path, found.evaluated.values(), reporter)
    if saved is not None:
        return _as_shown(job, run, saved, attempts, reporter)
    with new_front(run) as folder, pinned(job.threads), attempts as attempt:
        rows = _members(_Maker(job, folder, Builder(job, reporter), attempt), found, reporter)
    return replace_front(job, run, rows, marks)


def _as_shown(
    job: Job, run: RunDirectory, rows: list[FrontRow], attempts: Afterwards, reporter: Reporter
) -> list[FrontRow]:
    """The rows on disk, with the test accuracy of members that are shown by now and were not before."""
    with attempts as attempt:
        found = tested_as_shown(job, run, rows, attempt, reporter)
    if found:
        rows = with_tests(rows, found)
        for row in rows:
            if row.key in found:
                readme = member_readme(job, row, f"without training: {found[row.key][1]}")
                atomic_write(run.path / row.home / README, readme.encode())
        write_csv(rows, run.path / CSV)
    return rows


def remember_times(job: Job, run: RunDirectory) -> None:
    """Members of an older front that were timed are not timed again."""
    if (run.path / CSV).exists():
        for row in read_csv(run.path / CSV):
            if row.latency is not None:
                job.evaluator.remember_timed(row.key, row.latency, row.latency, row.latency)


def saved_front(run: RunDirectory, marks: Mapping[str, Any]) -> list[FrontRow] | None:
    """The front on disk, where the manifest has the same marks; ``None`` where it is another one, or there is none.

    Args:
        run: the directory.
        marks: what the manifest says of a front that is whole, such as the generations that it comes from.
    """
    table, manifest = run.path / CSV, {**OF_OLD, **run.manifest}
    same = all(manifest.get(name) == value for name, value in marks.items())
    return read_front(run.path) if same and table.exists() else None


@contextmanager
def new_front(run: RunDirectory) -> Iterator[Path]:
    """A folder to make the members of a new front in; it goes if that fails."""
    drop_partial(run)
    try:
        yield run.path / PARTIAL
    except BaseException:
        drop_partial(run)
        raise


def replace_front(job: Job, run: RunDirectory, rows: list[FrontRow], marks: Mapping[str, Any]) -> list[FrontRow]:
    """Let a new front that is whole take the old one's place, and write its table.

    Args:
        job: of the search, whose time is noted.
        run: the directory.
        rows: of the new front.
        marks: what the manifest says of it; taken back of the old one first.

    Returns:
        The rows, of the better of each member's networks where some were fine-tuned before.
    """
    try:
        carry_over(run.path / FRONT, run.path / PARTIAL, rows)
        indices = (file.name for file in (run.path / PARTIAL).iterdir() if file.is_file())
        seal_folder(run.path / PARTIAL, [*indices, *(f"{Path(row.home).name}/{CONFIG}" for row in rows)])
        sync_folder(run.path / PARTIAL)
        run.update_manifest(**dict.fromkeys(marks))
    except BaseException:
        drop_partial(run)
        raise
    remove_file(run.path, CSV)
    seal = {f"{FRONT}/{CHECKSUMS}": file_digest(run.path / PARTIAL / CHECKSUMS)}
    replacing(run.path, seal, lambda: take_place(run.path / PARTIAL, run.path / FRONT))
    rows = [current_row(run.path, row) for row in rows]
    for row in rows:
        if row.trained_epochs:  # its number may be another by now
            readme = member_readme(job, row, f"by a search, then {in_words(handed_out(run.path / row.home))}")
            atomic_write(run.path / row.path / README, readme.encode())
    write_csv(rows, run.path / CSV)
    run.note_seconds(job.since, **marks)
    return rows


def drop_partial(run: RunDirectory) -> None:
    """Remove what a process left that was stopped while it made the members, or put them in an old front's place."""
    put_back(run.path / FRONT)
    shutil.rmtree(run.path / PARTIAL, ignore_errors=True)


@dataclass(frozen=True)
class _Made:
    """A member that is saved under its genome's key, and not numbered yet."""

    row: FrontRow
    way: str
    gain: float | None
    minimised: tuple[float, ...]
    violation: float


@dataclass(frozen=True)
class _Maker:
    """Makes members, one at a time.

    Attributes:
        job: of the search.
        folder: of the new front.
        build: the network of a genome.
        attempt: bounds what that may take and cost.
    """

    job: Job
    folder: Path
    build: Builder
    attempt: Afterwards

    def __call__(self, genome: Genome, untested: Callable[[Built], bool], without: str = "is left out") -> _Made | None:
        """A saved member; ``None``, and a line, where it could not be built or measured.

        Args:
            genome: the member's.
            untested: whether it is not measured on the test images, as it was built.
            without: what becomes of one that fails, in the line.
        """
        made = self.attempt(genome.key, lambda: self._made(genome, untested), noun="member", without=without)
        if made is None:
            return None
        built, row, checked = made
        return _saved(self.job, genome, built, row, checked, self.folder / genome.key)

    def _made(self, genome: Genome, untested: Callable[[Built], bool]) -> tuple[Built, FrontRow, int]:
        built = self.build(genome)
        row = _row(self.job, genome, built, tested=not untested(built))
        return built, row, _check_flops(self.job, built.network, self.job.space.masks(genome), row)


def _members(make: _Maker, found: Found, reporter: Reporter) -> list[FrontRow]:
    """Build and save all, in the order of their FLOPs.

    Those that will be reported are known but for what building changes. The few that nobody foresaw are built again.
    """
    job = make.job
    pairs = sorted(zip(found.genomes, found.outcomes, strict=True), key=lambda pair: pair[1].values["flops"])
    genomes = {genome.key: genome for genome, _ in pairs}
    foreseen = reported(job, [_foreseen(job, number, *pair) for number, pair in enumerate(pairs)])
    made: list[_Made] = []
    costs = [outcome.values["flops"] / job.original.flops for _, outcome in pairs]
    work = Workload()
    with reporter.task("front", len(pairs)) as task:
        for place, (genome, _) in enumerate(pairs):
            start = time.perf_counter()
            one = make(genome, partial(_is_beaten, made=made, job=job) if genome.key in foreseen else _always)
            if one is None:
                task.advance(1)
                continue
            made.append(one)
            work.note(costs[place], time.perf_counter() - start)
            share = work.share(Pieces.of(costs[place + 1 :]))
            task.advance(1, share=share, **_figures(one.row, job.material.score or "accuracy"))
    if not made:
        raise RunError("no member of the front could be built, as said above of each")
    front = _undominated(made)
    lacking = reported(job, [replace(one.row, index=number) for number, one in enumerate(front)])
    for number, one in enumerate(front):
        if one.row.key in lacking and one.row.test_accuracy is None:
            front[number] = make(genomes[one.row.key], _never, "is not tested") or one
    _report_polish(front, reporter)
    return _numbered(job, front, make.folder)


def _foreseen(job: Job, number: int, genome: Genome, outcome: Outcome) -> FrontRow:
    """A member's row as the search has measured it."""
    row = member_row(job, genome, outcome.values, judged_value(outcome.values) or 0.0, None)
    return replace(row, index=number)


def _always(built: Built) -> bool:
    return True


def _never(built: Built) -> bool:
    return False


def _is_beaten(built: Built, made: list[_Made], job: Job) -> bool:
    """Whether a member that is there already dominates another, which then will not stay."""
    minimised = [*(one.minimised for one in made), tuple(built.minimised[o.name] for o in job.objectives)]
    violation = [*(one.violation for one in made), built.violation]
    return not is_efficient(np.array(minimised), np.array(violation))[-1]


def _figures(row: FrontRow, judged: str) -> dict[str, str]:
    return {} if row.test_accuracy is None else {f"test_{judged}": f"{row.test_accuracy:.4f}"}


def _undominated(made: list[_Made]) -> list[_Made]:
    """Fitness may have been measured in half precision, or before polishing: some may be dominated by now.

    So is, by Deb's rule, one that violates a constraint while others do not; of none but such the least violating stay.
    """
    efficient = is_efficient(np.array([one.minimised for one in made]), np.array([one.violation for one in made]))
    return [one for one, stays in zip(made, efficient, strict=True) if stays]


def _numbered(job: Job, made: list[_Made], folder: Path) -> list[FrontRow]:
    """Give members their numbers and folders, fewest FLOPs first; what is left over goes."""
    names = distinct([_name(one) for one in made], [one.row.key for one in made])
    rows = []
    for index, (one, name) in enumerate(zip(made, names, strict=True)):
        row = replace(one.row, index=index, path=f"{FRONT}/{name}")
        (folder / row.key).rename(folder / name)
        atomic_write(folder / name / README, member_readme(job, row, f"without training: {one.way}").encode())
        rows.append(row)
    for left in set(folder.iterdir()) - {folder / Path(row.path).name for row in rows}:
        shutil.rmtree(left)
    write_indices(folder, names)
    return rows


def _name(one: _Made) -> str:
    """Polishing changes weights, so a polished network has another name."""
    return member_name(one.row.key, *([POLISHED] if one.way.startswith(POLISHED) else []))


def distinct(names: Sequence[str], keys: Sequence[str]) -> list[str]:
    """The names of members, those that are not one member's alone with the whole key of its genome."""
    count = Counter(names)
    return [name if count[name] == 1 else key + name[SHORT:] for name, key in zip(names, keys, strict=True)]


def _report_polish(front: Sequence[_Made], reporter: Reporter) -> None:
    gains = [one.gain for one in front if one.gain is not None]
    if gains:
        taken = sum(one.way.startswith(POLISHED) for one in front)
        reporter.say(
            f"polish brought {taken} of {len(gains)} members nearer to the original: on the search set "
            f"{100 * sum(gains) / len(gains):+.2f} points on average, {100 * max(gains):+.2f} at most"
        )


def member_row(
    job: Job, genome: Genome, objectives: dict[str, float], search_accuracy: float, test_accuracy: float | None
) -> FrontRow:
    """A network's row, its costs counted in the job's space; not numbered."""
    masks = job.space.masks(genome)
    costs = job.space.costs(masks)
    latency = None if job.evaluator.clock is None else job.evaluator.timed(genome)
    return FrontRow(
        index=-1,
        key=genome.key,
        objectives=objectives,
        search_accuracy=search_accuracy,
        test_accuracy=test_accuracy,
        flops=costs.flops,
        flops_share=costs.flops / job.original.flops,
        params=costs.params,
        params_share=costs.params / job.original.params,
        size_mb=costs.size / MEGABYTE,
        widths=tuple(int(masks.neurons[group.slice].sum()) for group in job.space.graph.groups),
        latency=None if latency is None else latency.seconds,
        latency_share=None if latency is None else latency.share,
    )


def _row(job: Job, genome: Genome, built: Built, *, tested: bool) -> FrontRow:
    objectives = {objective.name: built.values[objective.name] for objective in job.objectives}
    found = job.material.tested(job.evaluator, built.network) if tested else None
    row = member_row(job, genome, objectives, built.measured.score, found)
    return replace(row, attacked=under_attack(built.values))


def _saved(job: Job, genome: Genome, built: Built, row: FrontRow, checked: int, folder: Path) -> _Made:
    save_compact(folder, built.network, member_config(job), _metrics(row, built, checked))
    save_genome(folder, genome, job.space.layout)
    return _Made(row, built.way, built.gain, tuple(built.minimised[o.name] for o in job.objectives), built.violation)


def _check_flops(job: Job, network: nn.Module, masks: Masks, row: FrontRow) -> int:
    """fvcore's count of the network as built; it must be the formula's for the same with no kernel masked."""
    counted = count_flops(network, job.material.form)
    formula = job.space.costs.flops(replace(masks, kernels={}))
    if counted != formula:
        raise RunError(f"member {row.key}: fvcore counts {counted} FLOPs, the formula {formula}: please report this")
    return counted


def member_config(job: Job) -> Config:
    """What loading a member needs to know, as far as the job tells."""
    return Config(
        model=job.model_name if job.own.model is None else None,
        stem=job.options.network.stem,
        **job.material.saved,
    )


def _metrics(row: FrontRow, built: Built, flops_counted: int) -> dict[str, Any]:
    return {
        "key": row.key,
        "objectives": row.objectives,
        "minimised": built.minimised,
        "violation": built.violation,
        "search_accuracy": row.search_accuracy,
        "test_accuracy": row.test_accuracy,
        "made": built.way,
        "polish_gain": built.gain,
        "flops": row.flops,
        "flops_share": row.flops_share,
        "flops_fvcore_unmasked": flops_counted,
        "params": row.params,
        "params_share": row.params_share,
        "size_mb": row.size_mb,
        "widths": list(row.widths),
        **({} if row.latency is None else {"latency": row.latency, "latency_share": row.latency_share}),
        **({"attacked": row.attacked} if row.attacked else {}),
    }


def member_readme(job: Job, row: FrontRow, made: str) -> str:
    """What stands beside a member; ``made`` says how it came about."""
    named = job.options.network.model
    own = f", model={named!r}" if imports(named) else ""
    own = ", model=your_original_network" if member_config(job).model is None else own
    groups = job.space.graph.groups
    widths = "\n".join(f"| {g.name} | {g.size} | {w} |" for g, w in zip(groups, row.widths, strict=True))
    judged = job.material.score or "accuracy"
    return f"""# {job.model_name} on {job.material.name}, member {row.index} of the front: {row.name}

```python
import gaprune
network = gaprune.load("{row.path}"{own})  # path relative to the run directory
```

Input: {_input(job.material)}.

| | this network | of the original |
|---|---|---|
| {judged}, search set | {row.search_accuracy:.4f} | {job.original.search_accuracy:.4f} |
| {judged}, test set | {_tested(row.test_accuracy)} | {_tested(job.original.test_accuracy)} |
| FLOPs, one image | {row.flops:,} | {row.flops_share:.1%} |
| parameters | {row.params:,} | {row.params_share:.1%} |
{_latency_line(job, row)}
FLOPs as fvcore counts them; masked kernels are left out. Made {made}.

| channel group (first convolution) | neurons | kept |
|---|---|---|
{widths}
"""


def _input(material: Material) -> str:
    """What a network takes, in words."""
    form, saved = material.form, material.saved
    if isinstance(form, Inputs):
        return f"as the task's example, tensors of {form}"
    mean, std = (_round(saved[name]) for name in ("mean", "std"))
    return f"{form} images, pixels 0..255 normalised by mean {mean} and\nstd {std}"


def _tested(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"


def _latency_line(job: Job, row: FrontRow) -> str:
    """The row of a table, where the member was timed."""
    clock = job.evaluator.clock
    if clock is None or row.latency is None:
        return ""
    return f"| latency, {clock.conditions} | {1e3 * row.latency:.3g} ms | {row.latency_share:.1%} |\n"


def _round(values: tuple[float, ...]) -> list[float]:
    return [float(np.round(value, 4)) for value in values]
