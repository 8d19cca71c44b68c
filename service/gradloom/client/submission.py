"""What a user hands in as a job, as the message that goes over the wire."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from gradloom import documents
from gradloom.documents import Draft
from gradloom.errors import refusal
from gradloom.job import DETAILS
from gradloom.v1 import job_pb2

SOURCE_FIELD: Final = "spec.user_code.source"


AnyJob = Mapping[str, Any] | str | os.PathLike[str] | job_pb2.Job


def draft_from_any(job: AnyJob | Draft) -> Draft:
    """What can be read of a dict, a YAML or JSON text, or the path of such a file; a Job as it is.

    Raises InvalidRequestError for a text of which nothing can be read, OSError for a file that cannot be read.
    """
    if isinstance(job, Draft):
        return job
    if isinstance(job, job_pb2.Job):
        return Draft(job)
    if isinstance(job, Mapping):
        return documents.draft_from_dict(dict(job))
    return documents.read_draft(_text_of_any(job, "job", (".yaml", ".yml", ".json")))


def draft_from_parts(job: Any, model: Any, fields: Mapping[str, Any]) -> Draft:
    """A job given as a whole, or by its model, live or not, and the other fields; see `Client.submit`."""
    if model is None:
        if job is None:
            raise refusal("job", "is required, or its parts: model, data, loss, ...")
        if fields:
            raise TypeError(f"{', '.join(sorted(fields))} can only be given with model")
        return draft_from_any(job)
    if job is not None:
        raise refusal("job", "must be left out where model is given")
    from gradloom.client.live import spec_from_live

    own = {name: fields[name] for name in DETAILS if fields.get(name) is not None}
    spec = {name: value for name, value in fields.items() if name not in DETAILS}
    return documents.draft_from_dict({**own, "spec": spec_from_live(model, spec)})


def with_user_code(draft: Draft, user_code: str | os.PathLike[str]) -> Draft:
    """The draft, its job a copy that brings Python source, given as text or as the path of a file.

    Raises InvalidRequestError when the job brings some already, OSError for a file that cannot be read.
    """
    if draft.job.spec.HasField("user_code"):
        raise refusal(SOURCE_FIELD, "must be given once: the job has user_code already")
    filled = job_pb2.Job()
    filled.CopyFrom(draft.job)
    filled.spec.user_code.source = source_of_any(user_code)
    return draft._replace(job=filled)


def source_of_any(user_code: str | os.PathLike[str]) -> str:
    """Python source given as text or as the path of a file; raises as `with_user_code` does."""
    return _text_of_any(user_code, SOURCE_FIELD, (".py",))


def document_of_any(changes: AnyJob) -> Mapping[str, Any]:
    """What is to change of a job, in any form that `draft_from_any` takes, as a document in proto3 JSON's mapping.

    Raises InvalidRequestError with every fault, OSError for a file that cannot be read.
    """
    if isinstance(changes, job_pb2.Job):
        return documents.job_to_dict(changes)
    if isinstance(changes, Mapping):
        documents.job_from_dict(dict(changes))
        return changes
    return documents.read_document(_text_of_any(changes, "job", (".yaml", ".yml", ".json")))


def draft_from_file(file: BinaryIO) -> Draft:
    """What can be read of an open file of YAML or JSON in UTF-8; raises as `draft_from_any` does."""
    return documents.read_draft(_text(file, "job"))


def document_of_file(file: BinaryIO) -> Mapping[str, Any]:
    """The document of an open file in proto3 JSON's mapping, which says also what is null.

    Raises InvalidRequestError with every fault.
    """
    return documents.read_document(_text(file, "job"))


def _text_of_any(given: str | os.PathLike[str], field: str, suffixes: tuple[str, ...]) -> str:
    """A text, or that of the file at a path; a text that looks like a file's name is refused with the remedy."""
    if not isinstance(given, str):
        with Path(given).open("rb") as file:
            return _text(file, field)
    if "\n" not in given and given.endswith(suffixes):
        told = f"is a text, not a file; for a file pass pathlib.Path({given!r})"
        raise refusal(field, told)
    return given


def _text(file: BinaryIO, field: str) -> str:
    content = file.read(documents.MAX_TEXT_BYTES + 1)
    if len(content) > documents.MAX_TEXT_BYTES:
        raise refusal(field, f"must be at most {documents.MAX_TEXT_BYTES} bytes long")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise refusal(field, f"must be UTF-8; {error}") from error
