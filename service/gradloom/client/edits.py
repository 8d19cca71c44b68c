"""Changes to a job as people write them, a path and its new value each, as the job and the field mask of a request.

A field mask ends at a list, a mapping or a component's `config`; a path of an edit may go on below, as in
`spec.variable_groups[0].optimizer.config.learning_rate`. So changes are made in the job as it is, and what the mask
names is sent as a whole.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask

from gradloom import documents
from gradloom.errors import refusal
from gradloom.faults import Faults, child, collected, did_you_mean
from gradloom.field_masks import EDITABLE
from gradloom.v1 import job_pb2

_STEP: Final = re.compile(
    r'(?:^|\.)(?P<name>[A-Za-z_][A-Za-z0-9_/-]*)|\[(?P<index>\d{1,9})\]|\[(?P<key>"(?:[^"\\]|\\.)*")\]'
)
_REPLACED: Final = frozenset({"Struct", "Value", "Component", "DataSource", "Duration", "Timestamp"})
"""Messages whose parts say nothing by themselves: a new type has other keys in its `config`."""


class Edit(NamedTuple):
    """A path below a job, as faults write it, and what it becomes; None clears it."""

    path: str
    value: Any


def parse_edits(written: Iterable[str]) -> list[Edit]:
    """Edits from `PATH=VALUE` each; the value is YAML or JSON, and nothing or `null` clears the field.

    A field that is a text takes the value as it is written, so that `labels.team=7` needs no quotes beside the shell's.
    Raises InvalidRequestError with all that are no edits, or lead nowhere.
    """
    faults = Faults()
    edits = [collected(faults, partial(_parsed, each)) for each in written]
    faults.raise_any()
    return [edit for edit in edits if edit is not None]


def _parsed(written: str) -> Edit:
    path, equals, value = written.partition("=")
    if not equals or not path:
        raise refusal("set", f"must be PATH=VALUE, such as spec.training.epochs=5; got {json.dumps(written)}")
    if _is_text(_steps(path)):
        return Edit(path, None if value in ("", "null") else value)
    return Edit(path, documents.read_value(value, path))


def edits_of_document(document: Mapping[str, Any]) -> list[Edit]:
    """What a document in proto3 JSON's mapping sets: single fields; lists, mappings and components as a whole."""
    return list(_set_fields(job_pb2.Job.DESCRIPTOR, document, ""))


def edited(job: job_pb2.Job, edits: Iterable[Edit]) -> tuple[job_pb2.Job, FieldMask]:
    """The fields of `job` that the edits change, as they become, and the mask that names them; `job` stays as it is.

    Raises InvalidRequestError with every path that leads nowhere, or every value of a wrong type.
    """
    document = {key: value for key, value in documents.job_to_dict(job).items() if key in EDITABLE}
    faults = Faults()
    paths = [collected(faults, partial(_edit, document, edit)) for edit in edits]
    faults.raise_any()
    mask = FieldMask(paths=dict.fromkeys(filter(None, paths)))
    changed = job_pb2.Job()
    mask.MergeMessage(documents.job_from_dict(document), changed)
    return changed, mask


def _edit(document: dict[str, Any], edit: Edit) -> str:
    """Makes one edit in a job's document; returns the path of a field mask that it is within."""
    steps = _steps(edit.path)
    path = ".".join(field.name for field in _fields(steps))
    _put(document, steps, edit.value)
    return path


def _set_fields(message: Any, document: Mapping[str, Any], path: str) -> Iterator[Edit]:
    fields = {name: field for field in message.fields for name in (field.name, field.json_name)}
    for key, value in document.items():
        field = fields[key]
        below = child(path, field.name)
        if _is_whole(field) or not isinstance(value, Mapping) or not value:
            yield Edit(below, value)
        else:
            yield from _set_fields(field.message_type, value, below)


def _is_whole(field: Any) -> bool:
    """Whether a field mask does not, or should not, go below the field."""
    return field.message_type is None or documents.is_repeated(field) or field.message_type.name in _REPLACED


def _steps(path: str) -> list[str | int]:
    """`["spec", "metrics", 0]` for `spec.metrics[0]`."""
    steps: list[str | int] = []
    end = 0
    while end < len(path):
        step = _STEP.match(path, end)
        # A name at the very beginning has no dot before it, and one anywhere else has.
        if step is None or (not steps and step[0] != step["name"]):
            raise refusal(
                path, f"is no path such as spec.training.epochs or spec.variable_groups[0]: see {path[end:]!r}"
            )
        end = step.end()
        steps.append(step["name"] or (json.loads(step["key"]) if step["key"] else int(step["index"])))
    return steps


def _fields(steps: list[str | int]) -> list[Any]:
    """The descriptors of the fields that a path goes through, as far as a field mask can."""
    message: Any = job_pb2.Job.DESCRIPTOR
    fields: list[Any] = []
    for step in steps:
        field = message.fields_by_name.get(str(step))
        if field is None:
            path = child(".".join(field.name for field in fields), step)
            hint = did_you_mean(str(step), list(message.fields_by_name)) or documents.its_place(str(step))
            raise refusal(path, f"is not a field of {message.name}{hint}")
        fields.append(field)
        if field.message_type is None or documents.is_repeated(field) or field.message_type.name == "Struct":
            break
        message = field.message_type
    return fields


def _is_text(steps: list[str | int]) -> bool:
    """Whether a path leads to a string, or to an entry of a mapping of strings."""
    *_, field = fields = _fields(steps)
    if documents.is_map(field):
        return len(steps) > len(fields) and _is_string(field.message_type.fields_by_name["value"])
    return _is_string(field) and not documents.is_repeated(field)


def _is_string(field: Any) -> bool:
    return bool(field.type == FieldDescriptor.TYPE_STRING)


def _put(document: Any, steps: list[str | int], value: Any) -> None:
    """Sets the value at a path below the document; None removes it, where it is not in a list."""
    within, path = document, ""
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        path = child(path, step)
        if isinstance(within, list):
            if not isinstance(step, int) or step >= len(within):
                raise refusal(path, f"is not there: the list has {len(within)} entries, counted from 0")
        elif isinstance(within, dict):
            step = str(step)
        else:
            raise refusal(path, "is not there: what is before it is no mapping and no list")
        if following is None and value is None and isinstance(within, dict):
            within.pop(step, None)
        elif following is None:
            within[step] = value
        elif isinstance(within, dict):
            within = within.setdefault(step, {})
        else:
            within = within[step]
