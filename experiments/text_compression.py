"""The second paper's table of ten methods on SST-2 and on the SMS Spam Collection, three seeds each.

    python experiments/text_compression.py --data sms-spam --data-dir DIR --encoder FOLDER
    python experiments/text_compression.py --data sst2 --data-dir DIR --encoder FOLDER
    python experiments/text_compression.py --data paper-shape

Claim: compressed in the paper's ten ways, a fine-tuned BERT keeps the paper's order of sizes; quantized and Tucker
networks (trained on) are as good as the original within the test set's uncertainty; on the SMS collection a distilled
student loses at most 0.015 F1. ``paper-shape`` saves and quantizes a random BERT of the paper's shape: 711 MB of memory
several times over, and as much in a temporary folder.

Each seed is a comparison of its own under ``--work`` (``python -m gaprune.compare --model bert``): rows are made once,
and the same command goes on where it was stopped. Seeds decide the split (SMS), the classifier, order and the student.
Sizes are of the files that ship; F1 is of the positive class on the test texts; times are medians of a batch.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.harness import Goal, run
from gaprune.compress import Session, Work
from gaprune.compress.chain import ORIGINAL, parse_chain
from gaprune.compress.rows import Row
from gaprune.compress.storage import save_work, shipped_bytes
from gaprune.compress.table import JSON
from gaprune.errors import RunError
from gaprune.options.fields import names_of
from gaprune.progress import make_reporter
from gaprune.runs.directory import MANIFEST_NAME
from gaprune.runs.files import atomic_write
from gaprune.runs.reading import read_json_object
from gaprune.runs.tables import MEGABYTE
from gaprune.text.compare import compare, figures_of
from gaprune.text.encoder import PAPER
from gaprune.text.networks import bert_base, build_network
from gaprune.text.options import TextOptions
from gaprune.text.rows import ROWS, STUDENT_TUCKER, TUCKER, USUAL
from gaprune.text.sizes import PAPER_RANK, PAPER_SHAPE, megabytes
from gaprune.text.table import Figures, misplaced, overlaps, paper_table

SHAPE = "paper-shape"
RECORDED = ("threads", "batch", "encoder", "data", "identity", "environment")
"""What of each seed's ``table.json`` the result keeps: how it was made. Recipes and lengths are in its identity."""

KEPT = ("quantize:linear", "quantize", TUCKER, f"{TUCKER}+quantize:embeddings")
"""Chains whose F1 interval is to overlap the original's."""
STUDENTS = tuple(
    f"distill{more}" for more in ("", "+quantize", f"+{STUDENT_TUCKER}", f"+{STUDENT_TUCKER}+quantize:embeddings")
)
QUICK = ("none", "quantize", TUCKER, "distill")
"""Chains of a smoke run."""
ANEW = {"output", "resume", "methods", "cache_dir"}
"""Options of a comparison that are not asked again when it is resumed; of all others its own must be as asked."""
PAPER_MB = {"none": 711, "quantize:linear": 454, "quantize": 179}


def _names(data: str) -> tuple[str, str]:
    return f"{data}: rows out of the paper's order of sizes", f"{data}: quantized or Tucker rows whose F1 is apart"


LOST = "sms-spam: F1 lost by a distilled row, at most"
OFF = "MB off the paper's {0}, share"

GOALS = (
    Goal(_names("sms-spam")[0], "<=", 0, "pairs"),
    Goal(_names("sst2")[0], "<=", 0, "pairs"),
    Goal(_names("sms-spam")[1], "<=", 0, "rows x seeds"),
    Goal(_names("sst2")[1], "<=", 0, "rows x seeds"),
    Goal(LOST, "<=", 0.015, "F1"),
    *(Goal(OFF.format(size), "<=", 0.01, "of it") for size in PAPER_MB.values()),
)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The result of one data set, or of the paper's shape."""
    if options.data == SHAPE:
        return _shape(options.quick)
    seeds = range(1 if options.quick else options.seeds)
    made = [_comparison(options, seed) for seed in seeds]
    name, device = Path(options.data).stem, made[0].record["identity"]["device"]
    by_chain = _by_chain([one.figures for one in made])
    means = {chain: _mean(figures) for chain, figures in by_chain.items()}
    text = paper_table(means, f"{_note(len(seeds))}\n\n{differences(made[0].record)}", by_chain)
    options.output.mkdir(parents=True, exist_ok=True)
    file = f"text_compression-{name}-{device}{'-quick' if options.quick else ''}.md"
    atomic_write(options.output / file, (text + "\n").encode())
    print(text)
    return {
        "data": name,
        "device": device,
        "figures": _figures(name, [one.figures for one in made]),
        "encoder": made[0].record["encoder"],
        "seeds": list(seeds),
        "made": [{field: one.record[field] for field in RECORDED} for one in made],
        "rows": {chain: _spread(figures) for chain, figures in by_chain.items()},
    }


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this experiment."""
    parser.add_argument("--data", default="sms-spam", help=f"sms-spam, sst2, {SHAPE}, or a file (smoke runs)")
    parser.add_argument("--data-dir", type=Path, help="folder with the files of sms-spam or sst2")
    parser.add_argument(
        "--encoder", default=TextOptions().network.encoder, help="a BERT: a folder or a name on the hub"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds")
    parser.add_argument("--work", type=Path, default=Path("comparisons"), help="where comparisons are kept")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads")


@dataclass(frozen=True)
class Made:
    """One seed's comparison: its figures by chain, and its ``table.json``."""

    figures: dict[str, Figures]
    record: dict[str, Any]


def _comparison(options: argparse.Namespace, seed: int) -> Made:
    """The comparison of one seed, made now, resumed, or finished already.

    Raises:
        GapruneError: it was begun with another encoder, data or options than are asked.
        RunError: a chain has no row.
    """
    folder = options.work / f"text-{Path(options.data).stem}-seed{seed}{'-quick' if options.quick else ''}"
    print(f"seed {seed}: {folder.name}")
    rows: Sequence[Row] = compare(_asked(options, folder, seed), make_reporter())
    record = read_json_object(folder / JSON)
    figures = {row.chain: figures_of(row, record["batch"]) for row in rows}
    missing = [chain for chain in (QUICK if options.quick else USUAL) if chain not in figures]
    if missing:
        reasons = [f"{chain} ({record['failures'].get(chain, 'not asked for')})" for chain in missing]
        raise RunError(f"seed {seed} has no row of {', '.join(reasons)}: see {folder}")
    return Made(figures, record)


def _asked(options: argparse.Namespace, folder: Path, seed: int) -> TextOptions:
    """The options of one seed's comparison; where its folder is there, it goes on only if it was begun with these."""
    asked = TextOptions.of(
        encoder=options.encoder,
        data=options.data,
        data_dir=options.data_dir,
        threads=options.threads or torch.get_num_threads(),
        seed=seed,
        output=folder,
    )
    if options.quick:
        asked = asked.but(epochs=1, student_epochs=2, batch=4, methods=QUICK)
    if not (folder / MANIFEST_NAME).exists():
        return asked
    given = set(names_of(TextOptions)) - ANEW
    return asked.but(resume=folder, output=None, given=frozenset(given))


def _figures(name: str, tables: Sequence[Mapping[str, Figures]]) -> dict[str, float]:
    """What the goals speak of, as far as there is every row that they speak of."""
    order, apart = _names(name)
    common = set(_by_chain(tables))
    found: dict[str, float] = {}
    if common.issuperset(row.chain for row in ROWS):
        found[order] = max(len(misplaced({chain: table[chain].size for chain in common})) for table in tables)
    if common.issuperset(("none", *KEPT)):
        found[apart] = sum(not overlaps(table[chain], table["none"]) for table in tables for chain in KEPT)
    if name == "sms-spam" and common.issuperset(("none", *STUDENTS)):
        found[LOST] = max(statistics.mean(t["none"].f1 - t[chain].f1 for t in tables) for chain in STUDENTS)
    return found


def _by_chain(tables: Sequence[Mapping[str, Figures]]) -> dict[str, list[Figures]]:
    """Each seed's figures, of the chains that all of them have."""
    common = [chain for chain in tables[0] if all(chain in table for table in tables)]
    return {chain: [table[chain] for table in tables] for chain in common}


def _mean(figures: Sequence[Figures]) -> Figures:
    """Means over seeds, also of the intervals' ends."""
    values = {}
    for name in (field.name for field in dataclasses.fields(Figures) if field.name != "runtime"):
        known = [value for one in figures if (value := getattr(one, name)) is not None]
        values[name] = statistics.mean(known) if known else None
    return dataclasses.replace(figures[0], **values)


def _spread(figures: Sequence[Figures]) -> dict[str, Any]:
    """Mean and standard deviation over seeds, and each seed's figures."""
    f1 = [one.f1 for one in figures]
    return {
        **dataclasses.asdict(_mean(figures)),
        "f1 deviation": statistics.stdev(f1) if len(f1) > 1 else None,
        "by seed": [dataclasses.asdict(one) for one in figures],
    }


def _note(seeds: int) -> str:
    return (
        f"Ours: means over {seeds} seeds; intervals are means of the seeds' 95% bootstrap intervals; a..b is the least "
        "and the greatest over seeds. Sizes of files that ship, without tokenizers."
    )


def differences(record: dict[str, Any]) -> str:
    """What differs from the paper, from a comparison's ``table.json``."""
    environment, settings = record["environment"], record["identity"]["settings"]
    size = next(row["size_mb"] for row in record["rows"] if row["chain"] == ORIGINAL)
    encoder, student = settings["encoder"], settings["student"]
    lines = [
        f"Data: ours is {record['data'][0].removeprefix('data: ')}; the paper does not name its own.",
        f"Encoder: ours is {record['encoder']}, {size:.3g} MB; the paper's is {PAPER}, {ROWS[0].size:.3g} MB.",
        f"Batch: our times are of {record['batch']} texts, and {encoder['batch_size']} make a training step "
        f"(of students {student['batch_size']}); the paper names neither.",
        f"Hardware: ours is {environment['cpu']}, CPU threads: {record['threads']}, GPU: "
        f"{', '.join(environment['cuda_devices']) or 'none'}.",
        *_ranks(record["rows"]),
    ]
    return "Differences from the paper. " + " ".join(lines)


def _ranks(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What ranks Tucker took, where it was measured."""
    for row in rows:
        if row["chain"] in (TUCKER, f"distill+{STUDENT_TUCKER}"):
            layers = row["steps"][-1]["report"]["layers"]
            ranks = [max(layer["ranks"]) for layer in layers if layer["ranks"]]
            yield (
                f"Ranks: `{row['chain']}` factors {len(ranks)} of {len(layers)} layers at ranks {min(ranks)} to "
                f"{max(ranks)}, each chosen for the target size."
            )
    size = next(row.size for row in ROWS if row.chain == TUCKER)
    yield f"The paper's {size:.3g} MB for Tucker are those of rank {PAPER_RANK} in all of its encoder's layers."


def _shape(quick: bool) -> dict[str, Any]:
    """Sizes of a random BERT of the paper's shape, saved for real, beside those computed from shapes."""
    from transformers import BertConfig

    smaller = {"num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64}
    base = bert_base(BertConfig(**PAPER_SHAPE | (smaller if quick else {})))
    network = build_network(base)
    original = Work.of(network, _Untrained(), base)
    widths: dict[str, dict[str, int]] = {"none": {}, "quantize:linear": {"linear": 1}}
    widths["quantize"] = {"linear": 1, "embedding": 1}
    rows = {}
    for chain, changed in widths.items():
        work = original
        for method in parse_chain(chain).methods:
            work = method.apply(work, Session())
        with tempfile.TemporaryDirectory() as folder:
            save_work(Path(folder), work)
            saved = shipped_bytes(Path(folder)) / MEGABYTE
        rows[chain] = {"saved": saved, "computed": megabytes(network, **changed), "paper": PAPER_MB[chain]}
        print(f"{chain}: saved {saved:.1f} MB, computed {rows[chain]['computed']:.1f}, paper {PAPER_MB[chain]}")
    figures = {OFF.format(size): abs(rows[chain]["saved"] / size - 1) for chain, size in PAPER_MB.items()}
    return {"data": SHAPE, "device": "cpu", "figures": figures, "rows": rows}


class _Untrained:
    """As much of a task as quantizing takes."""

    name = "a random BERT"
    criterion = "taylor"
    device = torch.device("cpu")
    input_names = ("ids", "mask")
    varying = {"ids": {1: "length"}, "mask": {1: "length"}}  # noqa: RUF012

    def inputs(self, count: int) -> tuple[torch.Tensor, ...]:
        """Ids and mask of eight tokens."""
        return torch.full((count, 8), 5), torch.ones((count, 8), dtype=torch.int64)

    def flops(self, model: torch.nn.Module) -> None:
        """Not known."""


if __name__ == "__main__":
    raise SystemExit(run(__file__, GOALS, measure, arguments=arguments))
