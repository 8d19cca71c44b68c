"""From fields of requests to values of ours, and back; a bad field raises InvalidRequestError."""

import hashlib
import re
import uuid
from typing import Any, Final

from gradloom.errors import refusal
from gradloom.faults import shown
from gradloom.job import DEFAULT_PROJECT, ID_PATTERN, ID_RULE, JobName
from gradloom.v1 import service_pb2

_ARTIFACT_ID: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,127}")


def project_of(parent: str) -> str:
    """The project of `projects/{project}`; the default one when the parent is empty."""
    if not parent:
        return DEFAULT_PROJECT
    match parent.split("/"):
        case ["projects", project] if ID_PATTERN.fullmatch(project):
            return project
    raise refusal("parent", f"must be projects/{{project}}, where the id {ID_RULE}; got {shown(parent)}")


def job_name(name: str, field: str = "name") -> JobName:
    """The job that a field names."""
    if not name:
        raise refusal(field, "required: projects/{project}/jobs/{job_id}")
    try:
        return JobName.parse(name)
    except ValueError:
        rule = f"must be projects/{{project}}/jobs/{{job_id}}, where each id {ID_RULE}"
        raise refusal(field, f"{rule}; got {shown(name)}") from None


def artifact_name(name: str) -> tuple[JobName, str]:
    """The job and the artifact's id of `projects/{project}/jobs/{job_id}/artifacts/{artifact_id}`."""
    head, separator, artifact_id = name.rpartition("/artifacts/")
    if separator and _ARTIFACT_ID.fullmatch(artifact_id):
        try:
            return JobName.parse(head), artifact_id
        except ValueError:
            pass
    raise refusal("name", f"must be projects/{{project}}/jobs/{{job_id}}/artifacts/{{artifact_id}}; got {shown(name)}")


def checkpoint_id_of(name: str, job: JobName) -> str:
    """The last part of `projects/{project}/jobs/{job_id}/checkpoints/{checkpoint_id}` of the job."""
    of_job, _, checkpoint_id = name.rpartition("/checkpoints/")
    if of_job != str(job) or not checkpoint_id:
        raise refusal("checkpoint", f"must be {job}/checkpoints/{{checkpoint_id}}; got {shown(name)}")
    return checkpoint_id


def request_id_of(request: Any) -> str | None:
    """The request's id in canonical form, None when it has none."""
    if not request.HasField("request_id") or not request.request_id:
        return None
    text: str = request.request_id
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 4 or str(parsed) != text.lower():
        raise refusal("request_id", f"must be a UUID4 such as {uuid.uuid4()}; got {shown(text)}")
    return str(parsed)


def digest_of(request: Any) -> str:
    """What tells two requests of one id apart: everything in them but the id; nothing for one without an id."""
    if not request.request_id:
        return ""
    body = type(request)()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return hashlib.sha256(
        type(request).DESCRIPTOR.full_name.encode() + body.SerializeToString(deterministic=True)
    ).hexdigest()


def view_of(value: int, default: int) -> int:
    """The view that is asked for."""
    if value == service_pb2.JobView.VIEW_UNSPECIFIED:
        return default
    if value not in (service_pb2.JobView.BASIC, service_pb2.JobView.FULL):
        raise refusal("view", f"must be BASIC or FULL; got {value}")
    return value
