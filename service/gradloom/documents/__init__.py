"""Job files: YAML 1.2 or JSON text to a Job message and back, every fault of the file told at once.

Knows the shape of the messages alone; what their values mean is checked by `gradloom.spec`. The client reads files
with it, so that a mistyped key is refused before anything is sent.
"""

from collections.abc import Mapping
from typing import Any

from gradloom.documents.messages import fill_job, is_map, is_repeated, job_to_dict
from gradloom.documents.text import MAX_TEXT_BYTES, Plain, read_text
from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.faults import Faults
from gradloom.v1 import job_pb2

__all__ = [
    "MAX_TEXT_BYTES",
    "is_map",
    "is_repeated",
    "job_from_dict",
    "job_to_dict",
    "read_document",
    "read_job",
    "read_value",
]


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


def read_document(text: str) -> dict[str, Any]:
    """Reads a job file as a document in proto3 JSON's mapping, which says also what is null.

    Raises InvalidRequestError as `read_job` does.
    """
    faults = Faults()
    document = read_text(text, faults)
    fill_job(job_pb2.Job(), document, faults)
    faults.raise_any()
    return dict(document)


def read_value(text: str, field: str) -> Plain:
    """Reads one value in YAML or JSON, such as `1e-4`, `[a, b]` or `{type: Adam}`; nothing is None.

    Raises InvalidRequestError about `field`.
    """
    faults = Faults()
    try:
        value = read_text(text, faults)
        faults.raise_any()
    except InvalidRequestError as error:
        raise InvalidRequestError([FieldFault(field, fault.description) for fault in error.faults]) from error
    return value
