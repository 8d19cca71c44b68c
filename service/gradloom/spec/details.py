"""What people say of a job beside its spec, and may change while it lives: its display name, labels and priority."""

from typing import Final

from gradloom.faults import Faults, shown
from gradloom.job import LABEL_KEY
from gradloom.spec.limits import between
from gradloom.v1 import job_pb2

MAX_DISPLAY_NAME: Final = 200
MAX_LABELS: Final = 64
MAX_LABEL_VALUE: Final = 63
HIGHEST_PRIORITY: Final = 1000
"""The lowest is its negative."""


def check_details(job: job_pb2.Job, faults: Faults) -> None:
    """Notes every fault of the fields that are set."""
    if len(job.display_name) > MAX_DISPLAY_NAME:
        length = len(job.display_name)
        faults.add("display_name", f"must be at most {MAX_DISPLAY_NAME} characters; got {length}")
    if any(not character.isprintable() for character in job.display_name):
        faults.add("display_name", f"must hold printable characters only; got {shown(job.display_name)}")
    between(job, "priority", -HIGHEST_PRIORITY, HIGHEST_PRIORITY, "", faults)
    _check_labels(job, faults)


def _check_labels(job: job_pb2.Job, faults: Faults) -> None:
    if len(job.labels) > MAX_LABELS:
        faults.add("labels", f"must be at most {MAX_LABELS}; got {len(job.labels)}")
        return
    for key, value in sorted(job.labels.items()):
        if not LABEL_KEY.fullmatch(key):
            faults.add(f"labels[{shown(key)}]", f"must have a key that matches {LABEL_KEY.pattern}; got {shown(key)}")
        if len(value) > MAX_LABEL_VALUE or any(not character.isprintable() for character in value):
            rule = f"must be at most {MAX_LABEL_VALUE} printable characters"
            faults.add(f"labels[{shown(key)}]", f"{rule}; got {shown(value)}")
