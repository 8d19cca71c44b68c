"""What UpdateJob may change of a job, and how the paths of its mask say so."""

from collections.abc import Iterable, Sequence
from typing import Final

from gradloom.faults import Faults, shown
from gradloom.field_masks import read_mask, take
from gradloom.job import DETAILS
from gradloom.v1 import job_pb2

_NEVER_CHANGES: Final = "spec"


def paths_of(job: job_pb2.Job, mask: Sequence[str], faults: Faults) -> list[str]:
    """What a request means to change: the paths of its mask, `*` for all; without a mask what is set in its job.

    Notes every path that is none. A `spec` is among them when one comes along, to be compared with the job's.
    """
    if not mask:
        return [name for name in (*DETAILS, _NEVER_CHANGES) if _is_set(job, name)]
    roots = (*DETAILS, _NEVER_CHANGES) if list(mask) != ["*"] or job.HasField(_NEVER_CHANGES) else DETAILS
    return read_mask(mask, roots, faults, whole=(_NEVER_CHANGES,))


def taken_from(wanted: job_pb2.Job, paths: Iterable[str]) -> job_pb2.Job:
    """The fields that the paths take from a request's job, in a job of their own: to be checked before they are put."""
    taken = job_pb2.Job()
    put(taken, wanted, paths)
    return taken


def put(job: job_pb2.Job, wanted: job_pb2.Job, paths: Iterable[str]) -> None:
    """Changes the job as the paths say; a field that is unset in `wanted` gets its default, a label goes."""
    for path in paths:
        if path != _NEVER_CHANGES:
            take(job, wanted, path)
    if not job.display_name:
        job.display_name = job.spec.model.name


def refuse_another_spec(job: job_pb2.Job, wanted: job_pb2.Job, paths: Iterable[str], faults: Faults) -> None:
    """Notes a spec that differs from the job's: one that was read and is sent back is fine."""
    if _NEVER_CHANGES in paths and wanted.spec != job.spec:
        faults.add(_NEVER_CHANGES, "never changes once a job is created; RetryJob makes a new job with another one")


def notice_of(before: job_pb2.Job, after: job_pb2.Job) -> str:
    """What was changed, for the job's events; empty when nothing was."""
    changes = []
    if before.display_name != after.display_name:
        changes.append(f"display_name to {shown(after.display_name)}")
    if before.priority != after.priority:
        changes.append(f"priority from {before.priority} to {after.priority}")
    if before.labels != after.labels:
        changes.append("labels")
    return f"a user changed {', '.join(changes)}" if changes else ""


def _is_set(job: job_pb2.Job, name: str) -> bool:
    return bool(job.labels) if name == "labels" else job.HasField(name)
