"""Jobs of all kinds put straight into a store's tables, many at once: what lists are asked about."""

import json
import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from gradloom.job import LIVE_STATES, TERMINAL_STATES
from gradloom.jobs.schema import jobs, specs
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.stores import after

Job = job_pb2.Job
REASONS = {
    Job.SUCCEEDED: [Job.COMPLETED],
    Job.FAILED: [Job.SPEC_REFUSED, Job.TRAINER_RAISED, Job.LOSS_NOT_FINITE],
    Job.CANCELLED: [Job.CANCELLED_BY_USER],
    Job.QUEUED: [Job.REASON_UNSPECIFIED, Job.TRAINER_LOST],
}
LABELS: dict[str, list[str]] = {
    "team": ["vision", "speech", "Vision", ""],
    "app.kubernetes.io/name": ["net", "net-2"],
    "run": ["1", "2", "10"],
}
DISPLAY_NAMES = ["digits", "digits, wide", "Digits", "fashion %_*", 'quoted "net"', "d\\gits", "ünï", "😀 net"]


def made_up_jobs(
    count: int, seed: int = 0, project: str = "default", states: Sequence[int] = Job.State.values()[1:]
) -> Iterator[dict[str, Any]]:
    """Rows of jobs: of these states, few distinct values so that they repeat, times that do not follow the creation."""
    draws = random.Random(seed)
    for number in range(count):
        state = draws.choice(states)
        started = state in LIVE_STATES or state in (Job.SUCCEEDED, Job.FAILED) or draws.random() < 0.3
        created = draws.randrange(1000)
        yield {
            "uid": str(uuid.UUID(int=draws.getrandbits(128), version=4)),
            "project": project,
            "job_id": f"job-{number * 7919 % count}",
            "display_name": draws.choice(DISPLAY_NAMES),
            "labels": json.dumps({key: draws.choice(LABELS[key]) for key in LABELS if draws.random() < 0.6}),
            "state": state,
            "state_reason": draws.choice(REASONS.get(state, [Job.REASON_UNSPECIFIED])),
            "state_message": "",
            "event_number": 1,
            "max_attempts": 3,
            "attempt_count": int(started),
            "counted_attempts": 0,
            "uncounted_attempts": 0,
            "priority": draws.choice([-1000, -1, 0, 0, 0, 7]),
            "retry_of": draws.choice(["", "", f"projects/{project}/jobs/job-1", f"projects/{project}/jobs/job-10"]),
            "create_time": after(created),
            "update_time": after(created + draws.randrange(5)),
            "queued_time": after(created),
            "start_time": after(created + draws.randrange(3)) if started else None,
            "end_time": after(created + draws.randrange(9)) if state in TERMINAL_STATES else None,
        }


def put(store: Store, rows: list[dict[str, Any]], spec: bytes = b"") -> None:
    """Stores such rows in one transaction, each with a spec."""
    with store._database.write() as connection:
        connection.execute(jobs.insert(), rows)
        connection.execute(specs.insert(), [{"job_uid": row["uid"], "spec": spec} for row in rows])
