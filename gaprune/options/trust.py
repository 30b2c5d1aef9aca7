"""Code that files name: nothing is imported because a file says so, unless the user names it or trusts the files."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from gaprune.errors import GapruneError, OptionError

OURS = "gaprune"
OF_ZOO = ("torchvision", "timm")
"""Packages whose networks go by a name with a colon, too; no module is looked for."""

TRUST = "import networks and objectives (package.module:name) because files of the run or comparison name them"
"""Help of the option ``trust``."""


def imports(name: object) -> bool:
    """Whether a name of a network or an objective stands for a module that is neither ours nor built in.

    >>> [imports(name) for name in ("vgg16", "timm:resnet18", "gaprune.models:resnet18", "nets:make")]
    [False, False, False, True]
    """
    module, colon, _ = str(name).partition(":")
    return bool(colon) and module not in OF_ZOO and module.partition(".")[0] != OURS


def check_trusted(
    named: Iterable[object], where: object, option: str, *, trust: bool, error: type[GapruneError] = OptionError
) -> None:
    """Refuse to import what a file alone names.

    Args:
        named: networks or objectives, as the file has them.
        where: the file, or its directory.
        option: by which the user names them: ``model``.
        trust: whether the user has named them, or trusts the file.
        error: what is raised.

    Raises:
        GapruneError: one line with the name, and how it is given.
    """
    foreign = [] if trust else [str(name) for name in named if imports(name)]
    if foreign:
        again = f"--{option} {','.join(foreign)}, in Python {option}={foreign[0]!r}"
        raise error(
            f"{where} names {', '.join(foreign)}, and nothing is imported because a file says so: "
            f"name it again ({again}), or trust the directory (--trust, in Python trust=True)"
        )


def check_run_trusted(saved: Mapping[str, Any], where: object, given: Iterable[str], *, trust: bool) -> None:
    """Refuse to import what the recorded options of a run or a comparison name, see ``check_trusted``.

    Args:
        saved: the options as JSON values.
        where: the directory.
        given: names of the options that the user gives now.
        trust: whether the user trusts the directory.

    Raises:
        OptionError: one line with the name, and how it is given.
    """
    objectives = saved.get("objectives") or ()
    methods = saved.get("methods") or ()
    named = {
        "model": [saved.get("model", "")],
        "objectives": objectives if isinstance(objectives, (list, tuple)) else [objectives],
        "methods": [student for chain in methods for student in students_of(str(chain))],
    }
    for option, names in named.items():
        check_trusted(names, where, option, trust=trust or option in given)


def named_again(saved: Mapping[str, Any]) -> list[str]:
    """The words of a command that name again what the options of a run or a comparison have of modules.

    >>> named_again({"model": "nets:make", "objectives": ["accuracy", "flops"]})
    ['--model nets:make']
    """
    words = []
    for option in ("model", "objectives"):
        value = saved.get(option) or ()
        names = [value] if isinstance(value, str) else list(value)
        if any(map(imports, names)):
            words.append(f"--{option} {shlex.quote(','.join(map(str, names)))}")
    return words


def students_of(chain: str) -> list[str]:
    """The networks that a chain of methods distils into, but for members of a front.

    >>> students_of("distill:nets:make+quantize")
    ['nets:make']
    """
    parts = (part.strip().partition(":") for part in chain.split("+"))
    return [words for method, _, words in parts if method == "distill" and not words.startswith("ours:")]
