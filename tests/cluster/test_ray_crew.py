"""Real workers, really killed. They import no torch, so they start quickly."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import PATIENCE
from ray_cluster import LocalCluster

from gaprune.cluster.dispatch import Dispatcher, GivenUp
from gaprune.cluster.session import Connection, Needs, check_room, connect, nodes
from gaprune.errors import BackendError

pytestmark = pytest.mark.usefixtures("session")

ONE_CPU = Needs(1)


def worker(folder: Path, seconds: float = 0.0) -> Callable[[], Callable[[Any], Any]]:
    """Jobs are (number, times to be killed): each try leaves a file, named by the number and the worker's process."""
    place = str(folder)

    def make() -> Callable[[Any], Any]:
        import os
        import time
        from pathlib import Path

        def work(job: tuple[int, int]) -> int:
            number, deaths = job
            (Path(place) / f"{number}-{os.getpid()}").touch()
            time.sleep(seconds)
            if len(list(Path(place).glob(f"{number}-*"))) <= deaths:
                os.kill(os.getpid(), 9)
            return number

        return work

    return make


@contextmanager
def crew(make: Any, needs: Needs = ONE_CPU, workers: int | None = None) -> Iterator[Any]:
    from gaprune.cluster.crew import RayCrew

    made = RayCrew(make, needs, workers)
    try:
        yield made
    finally:
        made.close()


def dispatcher(workers: Any, retries: int = 2) -> Dispatcher:
    return Dispatcher(workers, retries, patience=PATIENCE)


def tries(folder: Path, number: int) -> int:
    return len(list(folder.glob(f"{number}-*")))


def pids(folder: Path) -> set[int]:
    return {int(path.name.partition("-")[2]) for path in folder.iterdir()}


def alive(processes: set[int]) -> set[int]:
    return {pid for pid in processes if Path(f"/proc/{pid}").exists()}


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def test_a_worker_killed_in_the_middle_of_a_job_is_replaced_and_the_job_tried_again_so_often(tmp_path: Path) -> None:
    """Number 0 kills its worker once, number 1 whenever it runs."""
    with crew(worker(tmp_path), workers=2) as workers:
        made = dispatcher(workers, retries=1)
        found = dict(made.run([(0, 1), (1, 99), (2, 0), (3, 0), (4, 0)], [1.0] * 5))
    gone = found.pop(1)
    assert found == {0: 0, 2: 2, 3: 3, 4: 4}
    assert isinstance(gone, GivenUp)
    assert "\n" not in gone.reason
    assert [tries(tmp_path, number) for number in range(5)] == [2, 2, 1, 1, 1]
    assert (made.use.lost, made.use.retried) == (3, 2)


def test_a_worker_killed_from_outside_costs_nothing_but_time(tmp_path: Path) -> None:
    def kill() -> None:
        wait_for(lambda: tries(tmp_path, 0) == 1)
        (path,) = tmp_path.glob("0-*")
        os.kill(int(path.name.partition("-")[2]), signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    with crew(worker(tmp_path, seconds=0.4), workers=2) as workers:
        found = dict(dispatcher(workers).run([(number, 0) for number in range(4)], [9.0, 1.0, 1.0, 1.0]))
    killing.join()
    assert found == {0: 0, 1: 1, 2: 2, 3: 3}
    assert tries(tmp_path, 0) == 2


def test_short_jobs_that_wait_at_a_worker_which_dies_lose_no_try_and_get_their_own_results(tmp_path: Path) -> None:
    with crew(worker(tmp_path, seconds=0.02), workers=2) as workers:
        made = dispatcher(workers, retries=1)
        jobs = [(number, int(number in (7, 20))) for number in range(40)]
        found = dict(made.run(jobs, [1.0] * 40))
    assert found == {number: number for number in range(40)}
    assert [tries(tmp_path, number) for number in range(40)] == [1 + deaths for _, deaths in jobs]
    assert (made.use.lost, made.use.retried) == (2, 2)


def test_a_node_that_leaves_and_one_that_joins_in_the_middle_of_a_generation(
    cluster: LocalCluster, extra_nodes: Any, tmp_path: Path
) -> None:
    """Workers hold half a GPU, which extra nodes alone have: all the first ones are on the node that leaves.

    Then, between two generations, idle workers leave with their node: that costs a job one try at most.
    """
    first = extra_nodes(cpus=2, gpus=1)
    with crew(worker(tmp_path, seconds=0.3), Needs(1, 0.5)) as workers:
        made = dispatcher(workers, retries=1)
        steps = made.run([(number, 0) for number in range(12)], [1.0] * 12)
        found = dict([next(steps)])
        second = extra_nodes(cpus=2, gpus=1)
        seen = len(list(tmp_path.iterdir()))

        def leave() -> None:
            wait_for(lambda: len(list(tmp_path.iterdir())) > seen)
            cluster.remove(first)

        leaving = threading.Thread(target=leave)
        leaving.start()
        found |= dict(steps)
        leaving.join()
        assert found == {number: number for number in range(12)}
        assert made.use.retried >= 1
        assert len(workers) == 2
        extra_nodes(cpus=1, gpus=1)
        cluster.remove(second)
        wait_for(lambda: not alive(pids(tmp_path)))
        assert dict(made.run([(20, 0), (21, 0)], [1.0, 1.0])) == {0: 20, 1: 21}


def test_a_worker_that_takes_too_long_is_ended_and_its_job_given_up(tmp_path: Path) -> None:
    place = str(tmp_path)

    def make() -> Callable[[Any], Any]:
        import os
        import time
        from pathlib import Path

        def work(number: int) -> int:
            (Path(place) / f"{number}-{os.getpid()}").touch()
            while number == 0:
                time.sleep(1)
            return number

        return work

    with crew(make, workers=2) as workers:
        made = dispatcher(workers, retries=1)
        made.limit = lambda: (2.0, "took longer than 2 s")
        found = dict(made.run([0, 1, 2, 3], [1.0] * 4))
    assert found == {0: GivenUp("took longer than 2 s"), 1: 1, 2: 2, 3: 3}
    assert tries(tmp_path, 0) == 2
    wait_for(lambda: not alive(pids(tmp_path)))


def test_a_module_that_workers_lack_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_in_the_driver")
    exec("def make():\n    return lambda job: job", module.__dict__)
    monkeypatch.setitem(sys.modules, "only_in_the_driver", module)
    with crew(module.make, workers=1) as workers, pytest.raises(BackendError) as caught:
        dispatcher(workers).muster(1)
    assert "No module named 'only_in_the_driver': install it on every node" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_worker_says_against_starting_is_said_in_one_line() -> None:
    def make() -> Any:
        raise ValueError("this node has other versions")

    with crew(make, workers=1) as workers, pytest.raises(BackendError) as caught:
        dispatcher(workers).muster(1)
    assert str(caught.value) == "a worker cannot start: ValueError: this node has other versions"


def test_workers_that_die_while_they_start_are_not_started_for_ever() -> None:
    def make() -> Any:
        import os

        os.kill(os.getpid(), 9)

    with crew(make, workers=1) as workers, pytest.raises(BackendError, match="a worker cannot start: "):
        dispatcher(workers).muster(1)


def test_workers_have_names_for_the_dashboard(tmp_path: Path) -> None:
    from ray.util import list_named_actors

    with crew(worker(tmp_path), workers=2) as workers:
        dispatcher(workers).muster(2)
        names = {actor["name"] for actor in list_named_actors(all_namespaces=True)}
    assert {"gaprune-worker-0", "gaprune-worker-1"} <= names


def test_closing_ends_the_workers(tmp_path: Path) -> None:
    with crew(worker(tmp_path), workers=2) as workers:
        list(dispatcher(workers).run([(0, 0), (1, 0), (2, 0)], [1.0] * 3))
    wait_for(lambda: not alive(pids(tmp_path)))


def test_too_small_a_cluster_is_told_at_once_with_what_there_is(session: Connection, cluster: LocalCluster) -> None:
    wait_for(lambda: len(nodes()) == 2)  # Ray notices late that the nodes of other tests are gone
    with pytest.raises(BackendError, match=r"^no node has room for a worker: it needs CPU 64, Ray has 2 nodes: "):
        check_room(session, Needs(64))
    with pytest.raises(BackendError, match=r"it needs CPU 1, GPU 0.25, Ray has 2 nodes: CPU 4, GPU 0; CPU 0, GPU 0$"):
        connect(cluster.address, Needs(1, 0.25), None)
    check_room(session, Needs(4))
