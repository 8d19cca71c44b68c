"""From fields of requests to values of ours, and back; a bad field raises InvalidRequestError."""

import base64
import binascii
import hashlib
import json
import re
import uuid
from typing import Any, Final

from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.faults import shown
from gradloom.job import DEFAULT_PROJECT, ID_PATTERN, ID_RULE, JobName
from gradloom.v1 import service_pb2

MOST_PAGE_SIZE: Final = 1000
DEFAULT_PAGE_SIZE: Final = 50
_ARTIFACT_ID: Final = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]{0,127}")


def refused(field: str, description: str) -> InvalidRequestError:
    """One fault."""
    return InvalidRequestError([FieldFault(field, description)])


def project_of(parent: str) -> str:
    """The project of `projects/{project}`; the default one when the parent is empty."""
    if not parent:
        return DEFAULT_PROJECT
    match parent.split("/"):
        case ["projects", project] if ID_PATTERN.fullmatch(project):
            return project
    raise refused(
        "parent", f"must be projects/{{project}}, the id {ID_RULE.removeprefix('must ')}; got {shown(parent)}"
    )


def job_name(name: str, field: str = "name") -> JobName:
    """The job that a field names."""
    if not name:
        raise refused(field, "required: projects/{project}/jobs/{job_id}")
    try:
        return JobName.parse(name)
    except ValueError:
        rule = f"must be projects/{{project}}/jobs/{{job_id}}, each id {ID_RULE.removeprefix('must ')}"
        raise refused(field, f"{rule}; got {shown(name)}") from None


def artifact_name(name: str) -> tuple[JobName, str]:
    """The job and the artifact's id of `projects/{project}/jobs/{job_id}/artifacts/{artifact_id}`."""
    head, separator, artifact_id = name.rpartition("/artifacts/")
    if separator and _ARTIFACT_ID.fullmatch(artifact_id):
        try:
            return JobName.parse(head), artifact_id
        except ValueError:
            pass
    raise refused("name", f"must be projects/{{project}}/jobs/{{job_id}}/artifacts/{{artifact_id}}; got {shown(name)}")


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
        raise refused("request_id", f"must be a UUID4 such as {uuid.uuid4()}; got {shown(text)}")
    return str(parsed)


def digest_of(request: Any) -> str:
    """What tells two requests of one id apart: everything in them but the id."""
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
        raise refused("view", f"must be BASIC or FULL; got {value}")
    return value


def page_size_of(page_size: int) -> int:
    """How many a page holds at most."""
    if page_size < 0:
        raise refused("page_size", f"must be 0 or more; got {page_size}")
    return min(page_size or DEFAULT_PAGE_SIZE, MOST_PAGE_SIZE)


def page_token(query: str, after: list[str]) -> str:
    """An opaque token for the page that follows `after`, good for this query only."""
    return base64.urlsafe_b64encode(json.dumps([query, after]).encode()).decode().rstrip("=")


def after_of_token(token: str, query: str) -> list[str] | None:
    """What `page_token` was given; None for the first page."""
    if not token:
        return None
    try:
        padded = token + "=" * (-len(token) % 4)
        document = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        document = None
    match document:
        case [str(of_query), [*after]] if of_query == query and all(isinstance(part, str) for part in after):
            return [str(part) for part in after]
    raise refused("page_token", "must be the next_page_token of a page of the same query")
