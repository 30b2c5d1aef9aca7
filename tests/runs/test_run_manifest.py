from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pytest
from patience import PATIENCE

from gaprune.runs import environment, manifest, processor


def test_the_environment_names_versions_hardware_and_date() -> None:
    record = environment(["NVIDIA H100"])
    assert record["versions"]["python"] == platform.python_version()
    assert record["versions"]["torch"] == metadata.version("torch")
    assert {"gaprune", "torchvision", "deap", "fvcore", "numpy"} <= record["versions"].keys()
    assert record["cuda_devices"] == ["NVIDIA H100"]
    assert record["cpu"]
    assert record["cpu_count"] >= 1
    assert datetime.fromisoformat(record["date"]).tzinfo is not None
    assert json.loads(json.dumps(record)) == record


def test_the_processor_is_named_with_the_instruction_sets_that_choose_kernels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(
        "model name\t: Some CPU\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\nvmx flags\t: avx_vnni\n" * 2
    )
    monkeypatch.setattr(manifest, "CPU_INFO", told)
    assert processor() == "Some CPU (AVX2, AVX-512, VNNI, AMX)"
    assert environment()["cpu_instructions"] == ["AVX2", "AVX-512", "VNNI", "AMX"]
    told.write_text("model name\t: Older CPU\nflags\t\t: fpu sse4_1\n")
    assert processor() == "Older CPU"


def test_packages_of_the_extras_are_told_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.version

    def version(name: str) -> str:
        if name == "accelerate":
            raise metadata.PackageNotFoundError(name)
        return "5.1" if name == "transformers" else installed(name)

    monkeypatch.setattr(metadata, "version", version)
    versions = environment()["versions"]
    assert versions["transformers"] == "5.1"
    assert "accelerate" not in versions


def test_the_environment_does_not_tell_the_host() -> None:
    text = json.dumps(environment())
    assert sys.prefix not in text
    assert len(socket.gethostname()) < 4 or socket.gethostname() not in text


def test_the_package_knows_no_torch() -> None:
    check = "import sys, gaprune.runs; sys.exit(bool({'torch', 'matplotlib', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], timeout=PATIENCE).returncode == 0
