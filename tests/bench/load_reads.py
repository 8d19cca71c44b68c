"""GetJob and pages of ListJobs from a store of many ended jobs, and the memory of the server that holds them."""

import json
import random
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, Final

import grpc

from gradloom.jobs.schema import attempts, checkpoints, events
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2, service_pb2, service_pb2_grpc
from tests.bench.load_server import Figure, PlayedServer, percentile, played_job
from tests.many_jobs import made_up_jobs, put
from tests.stores import DIGEST, after, sqlite_url

Job = job_pb2.Job
PAGE: Final = 50
SAMPLES: Final = 1000
ORDERS: Final = ("", "end_time desc", "display_name")


def measure(directory: Path, jobs: int) -> list[Figure]:
    """Fills a store, serves it and asks."""
    data = directory / "data"
    data.mkdir()
    names = fill(data, jobs)
    server = PlayedServer(directory).start()
    try:
        with grpc.insecure_channel(server.addresses["listen"]) as channel:
            stub = service_pb2_grpc.TrainingServiceStub(channel)
            draws = random.Random(0)
            got = timed(lambda: stub.GetJob(service_pb2.GetJobRequest(name=draws.choice(names))))
            figures = [
                Figure("GetJob, median", percentile(got, 50), "ms"),
                Figure("GetJob, p99", percentile(got, 99), "ms"),
            ]
            for order in ORDERS:
                figures += pages(stub, order, min(1000, jobs // PAGE))
        mebibytes = server.resident_kibibytes("VmHWM") / 1024
        return [*figures, Figure(f"largest resident memory with {jobs:,} jobs", mebibytes, "MiB", 200)]
    finally:
        server.kill()


def pages(stub: Any, order_by: str, number: int) -> list[Figure]:
    """How long page 1 and the page of that number take, asked in turns."""
    request = service_pb2.ListJobsRequest(page_size=PAGE, order_by=order_by)
    for _ in range(number - 1):
        request.page_token = stub.ListJobs(request).next_page_token
    first = service_pb2.ListJobsRequest(page_size=PAGE, order_by=order_by)
    both: tuple[list[float], list[float]] = ([], [])
    for _ in range(SAMPLES // 2):
        for asked, milliseconds in zip((first, request), both, strict=True):
            milliseconds += timed(lambda asked=asked: stub.ListJobs(asked), 1)
    p99 = [percentile(milliseconds, 99) for milliseconds in both]
    how = order_by or "as created"
    return [
        Figure(f"page 1 of {PAGE}, {how}, p99", p99[0], "ms"),
        Figure(f"page {number:,} of {PAGE}, {how}, p99", p99[1], "ms"),
        Figure(f"page {number:,} against page 1, {how}", p99[1] / p99[0], "", 2),
    ]


def timed(call: Callable[[], object], samples: int = SAMPLES) -> list[float]:
    """Milliseconds of each call."""
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def fill(data: Path, count: int) -> list[str]:
    """Puts ended jobs into a new store, each with a spec, an attempt, checkpoints and events; returns their names."""
    store = Store.open(sqlite_url(data))
    spec = played_job(3, 7).spec.SerializeToString()
    names = []
    states = (Job.SUCCEEDED, Job.SUCCEEDED, Job.FAILED, Job.CANCELLED)
    made_up = made_up_jobs(count, states=states)
    while rows := list(islice(made_up, 5000)):
        put(store, rows, spec)
        with store._database.write() as connection:
            connection.execute(attempts.insert(), [_attempt(row) for row in rows])
            connection.execute(checkpoints.insert(), [_checkpoint(row, step) for row in rows for step in (38, 114)])
            connection.execute(events.insert(), [_event(row, number) for row in rows for number in range(1, 7)])
        names += [f"projects/default/jobs/{row['job_id']}" for row in rows]
    store.close()
    return names


def _attempt(row: dict[str, Any]) -> dict[str, Any]:
    progress = Job(progress=job_pb2.Progress(attempt=1, epoch=3, epochs=3, global_step=114, scalars={"loss": 0.1}))
    return {
        "job_uid": row["uid"],
        "number": 1,
        "state": job_pb2.Attempt.ENDED,
        "reason": row["state_reason"],
        "message": "",
        "counted": False,
        "devices": json.dumps(["CPU:0"]),
        "devices_released": True,
        "artifact_root": "/artifacts",
        "token_digest": row["uid"],
        "lease_owner": "",
        "lease_beat": 0,
        "beat": 3,
        "progress": progress.progress.SerializeToString(),
        "reported_events": 3,
        "swept": True,
        "queued_time": row["queued_time"],
        "start_time": row["create_time"],
        "end_time": row["end_time"],
    }


def _checkpoint(row: dict[str, Any], step: int) -> dict[str, Any]:
    return {
        "job_uid": row["uid"],
        "attempt": 1,
        "path": f"checkpoints/{step:08}.ckpt",
        "global_step": step,
        "epoch": step // 38,
        "size_bytes": 100_000,
        "sha256": DIGEST,
        "best": step == 114,
        "final": step == 114,
        "time": row["create_time"],
    }


def _event(row: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        "job_uid": row["uid"],
        "number": number,
        "time": after(number),
        "kind": job_pb2.Event.EPOCH_ENDED,
        "attempt": 1,
        "state": Job.STATE_UNSPECIFIED,
        "reason": Job.REASON_UNSPECIFIED,
        "message": "",
        "epoch": number,
        "scalars": json.dumps({"loss": 0.25, "accuracy": 0.9, "val_loss": 0.3, "val_accuracy": 0.89}),
    }
