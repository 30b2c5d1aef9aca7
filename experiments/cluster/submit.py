"""Submit a search to a running Ray cluster as a job, show what it says, and end with its status.

    python experiments/cluster/submit.py --address http://127.0.0.1:8265 --gpus 0.25 -- --model vgg16 --output runs/a

What follows ``--`` are options of ``gaprune.search``. The job's driver runs on the cluster's head; ``--gpus`` reserves
a share of a GPU there for it, because the driver computes on the same kind of device as the workers. Ray sets
``RAY_ADDRESS`` for a job, so that the search takes the cluster's workers by itself. Paths are the cluster's.
A cluster with token authentication wants ``RAY_AUTH_MODE=token`` and its token here too, as Ray's documentation says.
Needs ``ray[default]`` here and on the head.
"""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys

from ray.exceptions import RayError
from ray.job_submission import JobStatus, JobSubmissionClient


def main() -> int:
    """Submit, follow, and say how it ended; the exit status."""
    parser = argparse.ArgumentParser(description="Run gaprune.search as a Ray job.")
    parser.add_argument("--address", default="http://127.0.0.1:8265", help="of the cluster's dashboard")
    parser.add_argument("--gpus", type=float, default=0.0, help="share of a GPU that the driver needs")
    parser.add_argument("--python", default="python", help="the interpreter with gaprune, on the head")
    parser.add_argument("search", nargs="*", help="after --: options of gaprune.search")
    options = parser.parse_args()
    try:
        client = JobSubmissionClient(options.address)
    except (ConnectionError, RuntimeError, RayError) as error:  # a cluster with tokens refuses who brings none
        reason = str(error).strip().splitlines()[0]
        print(f"submit.py: error: cannot submit to {options.address}: {reason}", file=sys.stderr)
        return 2
    job = client.submit_job(
        entrypoint=shlex.join([options.python, "-m", "gaprune.search", "--backend", "ray", *options.search]),
        entrypoint_num_gpus=options.gpus or None,
        metadata={"name": "gaprune"},
    )
    print(f"job {job}: ray job stop --address {options.address} {job} ends it", flush=True)
    asyncio.run(_follow(client, job))
    return 0 if client.get_job_status(job) == JobStatus.SUCCEEDED else 1


async def _follow(client: JobSubmissionClient, job: str) -> None:
    async for text in client.tail_job_logs(job):
        print(text, end="", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
