"""What a user hands in as a job, as the message that goes over the wire."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from gradloom import documents
from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.v1 import job_pb2


def job_from_any(job: Mapping[str, Any] | str | os.PathLike[str] | job_pb2.Job) -> job_pb2.Job:
    """A Job from a dict, a YAML or JSON text, the path of such a file or a Job.

    Raises InvalidRequestError with every fault, OSError for a file that cannot be read.
    """
    if isinstance(job, job_pb2.Job):
        return job
    if isinstance(job, Mapping):
        return documents.job_from_dict(dict(job))
    if isinstance(job, str):
        if "\n" not in job and job.endswith((".yaml", ".yml", ".json")):
            raise InvalidRequestError(
                [FieldFault("job", f"is a text, not a file; for a file pass pathlib.Path({job!r})")]
            )
        return documents.read_job(job)
    with Path(job).open("rb") as file:
        return job_from_file(file)


def job_from_file(file: BinaryIO) -> job_pb2.Job:
    """A Job from an open file of YAML or JSON in UTF-8."""
    content = file.read(documents.MAX_TEXT_BYTES + 1)
    if len(content) > documents.MAX_TEXT_BYTES:
        raise InvalidRequestError([FieldFault("job", f"must be at most {documents.MAX_TEXT_BYTES} bytes long")])
    try:
        return documents.read_job(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InvalidRequestError([FieldFault("job", f"must be UTF-8; {error}")]) from error
