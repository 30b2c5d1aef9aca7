"""The script ``gaprune``, and ``python -m gaprune``: every command by its name.

Only the command that is asked for is imported, so help, version and a typo are answered at once.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence

from gaprune import __version__
from gaprune.errors import OptionError
from gaprune.options import BAD_INPUT, fail, show

PROG = "gaprune"

COMMANDS = {
    "search": "search the accuracy/FLOPs front of a trained network, and save it as compact networks",
    "train": "train the network that a search begins with",
    "finetune": "train members of a finished search on, with the original as their teacher",
    "report": "write what searches have found as one page, or follow one that is at work",
    "status": "say where a run stands",
    "compare": "set quantization, Tucker, distillation and pruning beside members of a front",
    "export": "write a member, or a row of a comparison, as the file that ships: ONNX, pt2, a state dict",
}

EXAMPLES = (
    "gaprune search --model vgg16",
    "gaprune search --model my_package.nets:make --checkpoint trained.pth --data-dir photographs --max-flops 0.5",
    "gaprune finetune runs/vgg16-cifar10-20261121-184000 --pick knee --epochs 10",
    "gaprune report runs/vgg16-cifar10-20261121-184000",
    "gaprune compare --run runs/vgg16-cifar10-20261121-184000",
    "gaprune export runs/vgg16-cifar10-20261121-184000 --pick knee --with-preprocessing",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit status.

    Args:
        argv: the command's name and its arguments; those of the process when None.

    >>> main(["--version"])
    gaprune 0.1.0
    0
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        return show(usage(), PROG, 0 if words else BAD_INPUT)
    if words[0] == "--version":
        return show(f"{PROG} {__version__}", PROG)
    if words[0] not in COMMANDS:
        return fail(PROG, _unknown(words[0]))
    status: int = importlib.import_module(f"gaprune.{words[0]}").main(words[1:])
    return status


def usage() -> str:
    """What the script can do, with examples."""
    width = max(map(len, COMMANDS))
    commands = (f"  {name:{width}}  {about}" for name, about in COMMANDS.items())
    examples = (f"  {example}" for example in EXAMPLES)
    return "\n".join(
        (
            f"usage: {PROG} COMMAND [--option value ...]",
            "",
            "Structural pruning of trained networks by genetic search.",
            "",
            "commands:",
            *commands,
            "",
            f"'{PROG} COMMAND --help' lists a command's options; '{PROG} --version' tells the version.",
            "",
            "examples:",
            *examples,
        )
    )


def _unknown(word: str) -> OptionError:
    close = difflib.get_close_matches(word, COMMANDS, n=1)
    kind = "option" if word.startswith("-") else "command"
    advice = f"did you mean {close[0]}?" if close else f"choose one of {', '.join(COMMANDS)}"
    return OptionError(f"unknown {kind} {word!r}: {advice}")


if __name__ == "__main__":
    raise SystemExit(main())
