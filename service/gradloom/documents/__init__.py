"""Job files: YAML 1.2 or JSON text to a Job message and back, every fault of the file told at once.

Knows the shape of the messages alone; what their values mean is checked by `gradloom.spec`. The client reads files
with it, so that a mistyped key is refused before anything is sent.
"""

from collections.abc import Mapping
from typing import Any

from gradloom.documents.messages import fill_job, job_to_dict
from gradloom.documents.text import MAX_TEXT_BYTES, read_text
from gradloom.faults import Faults
from gradloom.v1 import job_pb2

__all__ = ["MAX_TEXT_BYTES", "job_from_dict", "job_to_dict", "read_job"]


def read_job(text: str) -> job_pb2.Job:
    """Reads a job file.

    Raises InvalidRequestError with every unknown field (and the nearest known one), every value of a wrong type and
    every duplicate key, each with its path; or, for a text that is neither YAML nor JSON, with the line and column.
    """
    faults = Faults()
    document = read_text(text, faults)
    job = job_pb2.Job()
    fill_job(job, document, faults)
    faults.raise_any()
    return job


def job_from_dict(document: Mapping[str, Any]) -> job_pb2.Job:
    """Makes a Job of a document in proto3 JSON's mapping; field names in snake_case or lowerCamelCase.

    Raises InvalidRequestError as `read_job` does.
    """
    faults = Faults()
    job = job_pb2.Job()
    fill_job(job, document, faults)
    faults.raise_any()
    return job
