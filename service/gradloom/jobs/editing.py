"""What UpdateJob may change of a job, and how the paths of its mask say so."""

from collections.abc import Iterable
from typing import Final

from gradloom.faults import Faults, child, shown
from gradloom.job import DETAILS
from gradloom.v1 import job_pb2

_ONE_LABEL: Final = "labels."
_NEVER_CHANGES: Final = "spec"


def paths_of(job: job_pb2.Job, mask: Iterable[str], faults: Faults) -> list[str]:
    """What a request means to change: the paths of its mask, `*` for all; without a mask what is set in its job.

    Notes every path that is none. A `spec` is among them when one comes along, to be compared with the job's.
    """
    given = list(dict.fromkeys(mask))
    if not given or given == ["*"]:
        sent = [name for name in DETAILS if given or _is_set(job, name)]
        return [*sent, *([_NEVER_CHANGES] if job.HasField("spec") else [])]
    for position, path in enumerate(given):
        if path not in (*DETAILS, _NEVER_CHANGES) and not (path.startswith(_ONE_LABEL) and path != _ONE_LABEL):
            rule = f"must be one of {', '.join(DETAILS)}, labels.<key>, or * alone"
            near = faults.did_you_mean(path, DETAILS)
            faults.add(child("update_mask.paths", position), f"{rule}; got {shown(path)}{near}")
    return given


def taken_from(wanted: job_pb2.Job, paths: Iterable[str]) -> job_pb2.Job:
    """The fields that the paths take from a request's job, in a job of their own: to be checked before they are put."""
    taken = job_pb2.Job()
    put(taken, wanted, paths)
    return taken


def put(job: job_pb2.Job, wanted: job_pb2.Job, paths: Iterable[str]) -> None:
    """Changes the job as the paths say; a field that is unset in `wanted` gets its default, a label goes."""
    for path in paths:
        key = path.removeprefix(_ONE_LABEL)
        match path:
            case "display_name":
                job.display_name = wanted.display_name or job.spec.model.name
            case "priority":
                job.priority = wanted.priority
            case "labels":
                job.labels.clear()
                job.labels.MergeFrom(wanted.labels)
            case _ if key == path:
                pass
            case _ if key in wanted.labels:
                job.labels[key] = wanted.labels[key]
            case _:
                job.labels.pop(key, None)


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
