"""Job files: YAML 1.2 or JSON text to a Job message and back, every fault of the file told at once.

Knows the shape of the messages alone; what their values mean is checked by `gradloom.spec`. The client reads files
with it, so that a mistyped key is refused before anything is sent.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from gradloom.documents.fields import is_map, is_repeated
from gradloom.documents.messages import Reading, fill_job, job_to_dict
from gradloom.documents.places import its_place
from gradloom.documents.text import MAX_TEXT_BYTES, Plain, read_text
from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.faults import Faults
from gradloom.v1 import job_pb2

__all__ = [
    "MAX_TEXT_BYTES",
    "Draft",
    "draft_from_dict",
    "is_map",
    "is_repeated",
    "its_place",
    "job_from_dict",
    "job_to_dict",
    "read_document",
    "read_draft",
    "read_job",
    "read_value",
]


class Draft(NamedTuple):
    """A job as far as its document could be read."""

    job: job_pb2.Job
    faults: Sequence[FieldFault] = ()
    """Every unknown field (and the nearest known one), every value of a wrong type and every duplicate key."""
    unread: Sequence[str] = ()
    """The fields that the job lacks because of them, as `CreateJobRequest.unread_fields` takes them."""

    def whole(self) -> job_pb2.Job:
        """The job; raises InvalidRequestError with every fault."""
        if self.faults:
            raise InvalidRequestError(self.faults)
        return self.job


def read_draft(text: str) -> Draft:
    """Reads what can be read of a job file.

    Raises InvalidRequestError for a text that is neither YAML nor JSON, with the line and column, or that holds no
    field.
    """
    faults = Reading()
    return _draft(read_text(text, faults), faults)


def draft_from_dict(document: Mapping[str, Any]) -> Draft:
    """Takes what can be taken of a document in proto3 JSON's mapping; field names in snake_case or lowerCamelCase."""
    return _draft(document, Reading())


def read_job(text: str) -> job_pb2.Job:
    """Reads a job file; raises InvalidRequestError with every fault, each with its path."""
    return read_draft(text).whole()


def job_from_dict(document: Mapping[str, Any]) -> job_pb2.Job:
    """As `read_job`, of a document as `draft_from_dict` takes it."""
    return draft_from_dict(document).whole()


def read_document(text: str) -> dict[str, Any]:
    """Reads a job file as a document in proto3 JSON's mapping, which says also what is null.

    Raises InvalidRequestError as `read_job` does.
    """
    faults = Reading()
    document = read_text(text, faults)
    _draft(document, faults).whole()
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


def _draft(document: Plain, faults: Reading) -> Draft:
    job = job_pb2.Job()
    fill_job(job, document, faults)
    return Draft(job, faults.told(), faults.unread)
