"""Edits of a job (AIP-134, AIP-161): which fields are taken from the one that was sent, by a mask or by what is set.

Lists, and messages of Google's such as a component's config, are taken as a whole; of a map also a single key.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from google.protobuf import field_mask_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gradloom.documents import is_map
from gradloom.faults import Faults, child, shown
from gradloom.job import DETAILS, LABEL_KEY
from gradloom.v1 import job_pb2

FIELD: Final = "update_mask.paths"
EDITABLE: Final = (*DETAILS, "spec")
"""What of a job a user says; all else is the server's."""
MAX_PATHS: Final = 100


def edited(job: job_pb2.Job, changes: job_pb2.Job, mask: field_mask_pb2.FieldMask | None) -> job_pb2.Job:
    """What a user says of a job, with fields taken from `changes`: those of the mask, else those that are set there.

    A field of the mask that is unset in `changes` is cleared. Raises InvalidRequestError on `update_mask.paths`.
    """
    result = _said_by_users(job)
    if mask is None or not mask.paths:
        _take_what_is_set(result, _said_by_users(changes))
        return result
    faults = Faults()
    paths = read_mask(mask.paths, EDITABLE, faults)
    faults.raise_any()
    for path in paths:
        take(result, changes, path)
    return result


def read_mask(paths: Sequence[str], roots: Sequence[str], faults: Faults, whole: Collection[str] = ()) -> list[str]:
    """The paths of a mask, each once, `*` for every root; notes those that lead to no field of a job.

    Args:
        paths: Of the mask.
        roots: The fields of a job that a path may begin with.
        faults: Of the request.
        whole: Those of them below which none may lead.
    """
    if len(paths) > MAX_PATHS:
        faults.add(FIELD, f"must be at most {MAX_PATHS} paths; got {len(paths)}")
        return []
    if list(paths) == ["*"]:
        return list(roots)
    sound: dict[str, None] = {}
    for position, path in enumerate(paths):
        fault = _why_not(path.split("."), roots, whole, faults)
        if fault:
            faults.add(child(FIELD, position), f"{fault}; got {shown(path)}")
        else:
            sound[path] = None
    return list(sound)


def take(target: Message, source: Message, path: str) -> None:
    """Makes the field at a path, which leads to one, what it is in `source`: unset, too."""
    _take(target, source, path.split("."))


def _said_by_users(job: job_pb2.Job) -> job_pb2.Job:
    said = job_pb2.Job()
    for name in EDITABLE:
        take(said, job, name)
    return said


def _why_not(names: Sequence[str], roots: Sequence[str], whole: Collection[str], faults: Faults) -> str:
    """Which rule a path breaks; empty when it leads to a field that may be edited."""
    if names[0] not in roots:
        return f"must begin with one of {', '.join(roots)}, or be * alone{faults.did_you_mean(names[0], roots)}"
    if names[0] in whole and len(names) > 1:
        return f"must name {names[0]} as a whole"
    message: Any = job_pb2.Job.DESCRIPTOR
    for position, name in enumerate(names):
        field = message.fields_by_name.get(name)
        if field is None:
            near = faults.did_you_mean(name, message.fields_by_name)
            return f"must name fields; {message.name} has no {shown(name)}{near}"
        so_far = ".".join(names[: position + 1])
        if position + 1 == len(names):
            return ""
        if is_map(field) and field.message_type.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING:
            return _why_no_key(so_far, ".".join(names[position + 1 :]))
        if field.is_repeated or not _is_walked(field):
            return f"must name {so_far} as a whole"
        message = field.message_type
    return ""


def _why_no_key(map_path: str, key: str) -> str:
    if map_path == "labels" and not LABEL_KEY.fullmatch(key):
        return f"must name a key of labels, which matches {LABEL_KEY.pattern}"
    return "" if key else f"must name a key of {map_path}"


def _take(target: Message, source: Message, names: Sequence[str]) -> None:
    name, *rest = names
    field = target.DESCRIPTOR.fields_by_name[name]
    if not rest:
        target.ClearField(name)
        _copy(target, source, field)
    elif is_map(field):
        _take_key(getattr(target, name), getattr(source, name), ".".join(rest), field)
    elif target.HasField(name) or source.HasField(name):
        changed = type(getattr(target, name))()
        changed.CopyFrom(getattr(target, name))
        _take(changed, getattr(source, name), rest)
        # A message that is there says something by that alone.
        if target.HasField(name) or changed.ListFields():
            getattr(target, name).CopyFrom(changed)


def _take_key(target: Any, source: Any, key: str, field: Any) -> None:
    if key in target:
        del target[key]
    if key in source:
        if field.message_type.fields_by_name["value"].message_type:
            target[key].CopyFrom(source[key])
        else:
            target[key] = source[key]


def _take_what_is_set(target: Message, source: Message) -> None:
    """Takes over every field that is set in `source`, of messages of ours each field by itself."""
    for field, value in source.ListFields():
        if _is_walked(field) and not field.is_repeated:
            getattr(target, field.name).SetInParent()
            _take_what_is_set(getattr(target, field.name), value)
        else:
            _take(target, source, [field.name])


def _copy(target: Message, source: Message, field: Any) -> None:
    """Copies a field that is unset in `target`, if it is set in `source`."""
    value = getattr(source, field.name)
    if field.is_repeated:
        getattr(target, field.name).MergeFrom(value)
    elif field.has_presence and not source.HasField(field.name):
        return
    elif field.message_type:
        getattr(target, field.name).CopyFrom(value)
    else:
        setattr(target, field.name, value)


def _is_walked(field: Any) -> bool:
    """Whether it is a message whose fields are taken one by one."""
    return bool(field.message_type is not None and field.message_type.file.package.startswith("gradloom."))
