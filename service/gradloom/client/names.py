"""How people refer to jobs and servers, and what the wire calls them."""

import os
import re
from typing import Any, Final

from gradloom.errors import refusal

DEFAULT_PROJECT: Final = "default"
DEFAULT_SERVER: Final = "127.0.0.1:50051"
SERVER_VARIABLE: Final = "GRADLOOM_SERVER"

_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:/\s]+):(\d{1,5})")
_LOOPBACK: Final = re.compile(r"localhost|127(\.\d+){3}|\[::1\]")


def full_job_name(reference: str, project: str = DEFAULT_PROJECT) -> str:
    """`projects/{project}/jobs/{id}` for a bare id; a full name is returned as it is.

    Raises InvalidRequestError for anything else. Whether the id itself is well formed is the server's to say.
    """
    match reference.split("/"):
        case [job_id] if job_id:
            return f"projects/{project}/jobs/{job_id}"
        case ["projects", named_project, "jobs", job_id] if named_project and job_id:
            return reference
    raise refusal("job", f"must be a job's id or projects/{{project}}/jobs/{{job_id}}; got {reference!r}")


def shortest_reference(name: str) -> str:
    """What a person types to mean the job `name`: the bare id in the default project, else the full name."""
    return name.removeprefix(f"projects/{DEFAULT_PROJECT}/jobs/")


def typed(name: str, server: str | None) -> str:
    """What a person types after a command to mean the job `name` of the server that they have named, if they have."""
    return shortest_reference(name) + (f" --server {server}" if server else "")


def server_address(given: str | None) -> str:
    """The server to talk to: `given`, else `GRADLOOM_SERVER`, else the default.

    Raises InvalidRequestError unless it is `host:port`, `[ipv6]:port` or `unix:path`: gRPC would take a name without a
    port for port 443 and then only say that nothing answers.
    """
    address = given or os.environ.get(SERVER_VARIABLE) or DEFAULT_SERVER
    matched = _HOST_AND_PORT.fullmatch(address)
    if address.startswith("unix:") or (matched and 0 < int(matched[2]) < 65536):
        return address
    raise refusal("server", f"must be HOST:PORT, [IPV6]:PORT or unix:PATH; got {address!r}")


def is_local(address: str) -> bool:
    """Whether the server is on this machine, where no proxy may come between."""
    matched = _HOST_AND_PORT.fullmatch(address)
    return address.startswith("unix:") or bool(matched and _LOOPBACK.fullmatch(matched[1]))


def enum_name(enum: Any, number: int) -> str:
    """`RUNNING` for 3; a value that this client is too old to know by its number."""
    return str(enum.Name(number)) if number in enum.values() else str(number)
