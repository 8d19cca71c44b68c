"""Plain values to messages and back, by the messages' descriptors.

`google.protobuf.json_format` stops at the first fault and accepts NaN in a Struct only to refuse it later; this walk
tells every fault with its path, and the nearest field for an unknown one.
"""

import json
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

from google.protobuf import duration_pb2, json_format, struct_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from gradloom.documents.fields import is_map, is_repeated
from gradloom.documents.places import its_place
from gradloom.documents.text import Plain
from gradloom.faults import MAX_FAULTS, WHOLE, Faults, child, nearest, shown
from gradloom.v1 import job_pb2, spec_pb2

MAX_EXACT_INTEGER: Final = 1 << 53
"""Larger integers change when they become a double, as every number of a Struct does."""
MAX_STRUCT_DEPTH: Final = 24
"""A level of a Struct is three messages on the wire, and parsers give up after a hundred."""

# How a component is written, by its field.
_EXAMPLES: Final = {
    "optimizer": "{type: Adam}",
    "loss": "{type: MeanSquaredError}",
    "metrics": "{type: SparseCategoricalAccuracy}",
    "layers": "{type: Flatten}",
    "learning_rate": "{type: CosineDecay, config: {...}}",
    "builder": "{type: gradloom>SparseMLP}",
    "gradient_transformations": "{type: gradloom>CentralizeGradient}",
}
_LISTS: Final = ("metrics", "layers", "gradient_transformations")
_DECIMAL: Final = re.compile(r"-?[0-9]{1,19}")
_INTEGER_BITS: Final = {
    FieldDescriptor.CPPTYPE_INT32: 32,
    FieldDescriptor.CPPTYPE_INT64: 64,
}


class Reading(Faults):
    """Collects the faults of a document, and the paths of the fields that a message lacks because of them."""

    def __init__(self) -> None:
        super().__init__()
        self.unread: list[str] = []

    def drop(self, field: str, description: str) -> None:
        """Notes a fault for which a field is left out."""
        self.add(field, description)
        self.unread.append(field)

    def add_unknown(self, path: str, key: str, message: Message, given: Collection[str]) -> None:
        """Notes a key below `path` that no field has, for which the message lacks the nearest field not given.

        What is given was read, so that its faults are certain, however near the key is.
        """
        known = [field.name for field in message.DESCRIPTOR.fields]
        hint = f"; did you mean {shown(meant)}?" if (meant := self.nearest(key, known)) else its_place(key)
        self.add(child(path, key), f"is not a field of {message.DESCRIPTOR.name}{hint}")
        # With more faults nobody asks what is unread, and to look takes time.
        lacking = nearest(key, [name for name in known if name not in given]) if len(self) <= MAX_FAULTS else None
        if lacking is not None:
            self.unread.append(child(path, lacking))


def fill_job(job: job_pb2.Job, document: Plain, faults: Reading) -> None:
    """Fills a Job from a document in proto3 JSON's mapping; notes every fault, and leaves out what it is about.

    Raises InvalidRequestError for a document that holds no field at all.
    """
    if not isinstance(document, Mapping):
        what = "is empty" if document is None else f"must be a mapping; got {shown(document)}"
        faults.add(WHOLE, f"{what}: a job file has a `spec`, and may have `display_name` and `labels`")
        faults.raise_any()
    elif _is_bare_spec(document):
        told = "is required: the document is a spec without its job; write `spec:` and indent the rest below it"
        faults.add("spec", told)
        _fill(job.spec, document, "spec", faults)
    else:
        _fill(job, document, "", faults)


def job_to_dict(job: job_pb2.Job) -> dict[str, Any]:
    """The job in proto3 JSON's mapping, with the proto's own field names; `job_from_dict` makes the same job of it."""
    return json_format.MessageToDict(job, preserving_proto_field_name=True)


def _is_bare_spec(document: Mapping[str, Plain]) -> bool:
    job_fields, spec_fields = job_pb2.Job.DESCRIPTOR.fields_by_name, spec_pb2.JobSpec.DESCRIPTOR.fields_by_name
    return "spec" not in document and any(key in spec_fields and key not in job_fields for key in document)


def _fields_by_key(message: Message) -> dict[str, Any]:
    descriptor = message.DESCRIPTOR
    fields: dict[str, Any] = {field.json_name: field for field in descriptor.fields}
    fields.update({field.name: field for field in descriptor.fields})
    return fields


def _fill(message: Message, value: Plain, path: str, faults: Reading) -> None:
    if isinstance(message, struct_pb2.Struct | struct_pb2.Value | timestamp_pb2.Timestamp | duration_pb2.Duration):
        _fill_well_known(message, value, path, faults)
        return
    if not isinstance(value, Mapping):
        faults.drop(path, f"must be a mapping; got {shown(value)}{_long_form(path, value)}")
        return
    fields = _fields_by_key(message)
    given = {fields[key].name for key, entry in value.items() if key in fields and entry is not None}
    seen: set[str] = set()
    for key, entry in value.items():
        if not isinstance(key, str):
            faults.add(path, f"has the key {shown(key)}: every key must be a string")
            continue
        field = fields.get(key)
        if field is None:
            faults.add_unknown(path, key, message, given)
            continue
        if field.name in seen:
            faults.add(child(path, key), f"is given twice, as {field.name} and {field.json_name}")
        seen.add(field.name)
        if entry is not None:
            _fill_field(message, field, entry, child(path, field.name), faults)


def _fill_field(message: Message, field: FieldDescriptor, value: Plain, path: str, faults: Reading) -> None:
    if field.message_type is not None and is_map(field):
        _fill_map(getattr(message, field.name), field.message_type, value, path, faults)
    elif is_repeated(field):
        if not isinstance(value, list | tuple):
            faults.drop(path, f"must be a list; got {shown(value)}{_long_form(path, value)}")
            return
        for position, entry in enumerate(value):
            entry_path = child(path, position)
            if entry is None:
                faults.drop(entry_path, "must not be null")
            elif field.message_type is not None:
                _fill(getattr(message, field.name).add(), entry, entry_path, faults)
            elif (scalar := _scalar(field, entry, entry_path, faults)) is not None:
                getattr(message, field.name).append(scalar)
    elif field.message_type is not None:
        part = getattr(message, field.name)
        part.SetInParent()
        _fill(part, value, path, faults)
    elif (scalar := _scalar(field, value, path, faults)) is not None:
        setattr(message, field.name, scalar)


def _long_form(path: str, value: Plain) -> str:
    """What to write for a value in the short form that Keras takes and a job does not: a name, or a rate."""
    name = path.rpartition(".")[2]
    if name == "learning_rate" and isinstance(value, int | float) and not isinstance(value, bool):
        return "; a number goes into optimizer.config.learning_rate"
    example = _EXAMPLES.get(name.partition("[")[0]) if isinstance(value, str) else None
    if example is None:
        return ""
    # Without a position it stands where the list should.
    return f"; write [{example}]" if name in _LISTS else f"; write {example}"


def _fill_map(target: Any, entry_type: Descriptor, value: Plain, path: str, faults: Reading) -> None:
    if not isinstance(value, Mapping):
        faults.drop(path, f"must be a mapping; got {shown(value)}")
        return
    field = entry_type.fields_by_name["value"]
    seen: set[str | int] = set()
    for written, entry in value.items():
        key = _map_key(entry_type.fields_by_name["key"], written, path, faults)
        if key is None:
            continue
        entry_path = child(path, key)
        if key in seen:
            faults.add(entry_path, "is given twice")
        seen.add(key)
        if entry is None:
            faults.drop(entry_path, "must not be null")
        elif field.message_type is not None:
            _fill(target[key], entry, entry_path, faults)
        elif (scalar := _scalar(field, entry, entry_path, faults)) is not None:
            target[key] = scalar


def _map_key(field: FieldDescriptor, key: Plain, path: str, faults: Reading) -> str | int | None:
    """The key of a map's entry, or None after noting a fault; a number may be written as a string, as in JSON."""
    if field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
        number = int(key) if isinstance(key, str) and _DECIMAL.fullmatch(key) else key
        if isinstance(number, int) and not isinstance(number, bool) and -(1 << 31) <= number < 1 << 31:
            return number
        faults.drop(path, f"has the key {shown(key)}: every key must be an integer of 32 bits")
    elif isinstance(key, str) and _is_unicode(key):
        return key
    else:
        faults.drop(path, f"has the key {shown(key)}: every key must be a string")
    return None


def _scalar(field: FieldDescriptor, value: Plain, path: str, faults: Reading) -> bool | int | float | str | None:
    """The value for a scalar field, or None after noting a fault."""
    if field.enum_type is not None:
        return _enum(field.enum_type, value, path, faults)
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            if isinstance(value, bool):
                return value
            faults.drop(path, f"must be true or false; got {shown(value)}")
        case FieldDescriptor.CPPTYPE_STRING:
            if isinstance(value, str) and _is_unicode(value):
                return value
            hint = "; put it between quotes" if isinstance(value, bool | int | float) else ""
            faults.drop(path, f"must be a string; got {shown(value)}{hint}")
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return _number(value, path, faults)
        case integer:
            return _integer(value, _INTEGER_BITS[integer], path, faults)
    return None


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it: a lone surrogate, which JSON can escape, is no character."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _enum(enum: EnumDescriptor, value: Plain, path: str, faults: Reading) -> int | None:
    names = [name.name for name in enum.values if name.number != 0]
    if isinstance(value, str) and value in names:
        return enum.values_by_name[value].number
    if isinstance(value, int) and not isinstance(value, bool) and value != 0 and value in enum.values_by_number:
        return value
    hint = faults.did_you_mean(value, names) if isinstance(value, str) else ""
    faults.drop(path, f"must be one of {', '.join(names)}; got {shown(value)}{hint}")
    return None


def _number(value: Plain, path: str, faults: Reading) -> float | None:
    if isinstance(value, str):
        # proto3 JSON may write a number as a string.
        try:
            value = float(value)
        except ValueError:
            faults.drop(path, f"must be a number; got {shown(value)}")
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        faults.drop(path, f"must be a number; got {shown(value)}")
        return None
    try:
        return float(value)
    except OverflowError:
        faults.drop(path, f"must be a number that a double can hold; got {shown(value)}")
        return None


def _integer(value: Plain, bits: int, path: str, faults: Reading) -> int | None:
    number = value
    # proto3 JSON writes an int64 as a string.
    written = isinstance(number, str) and _DECIMAL.fullmatch(number)
    if written or (isinstance(number, float) and number.is_integer()):
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int):
        faults.drop(path, f"must be an integer; got {shown(value)}")
        return None
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        faults.drop(path, f"must lie between -2^{bits - 1} and 2^{bits - 1} - 1; got {shown(value)}")
        return None
    return number


def _fill_well_known(message: Message, value: Plain, path: str, faults: Reading) -> None:
    if isinstance(message, struct_pb2.Struct):
        if isinstance(value, Mapping):
            for key, entry in value.items():
                _fill_struct_entry(message, key, entry, path, faults)
        else:
            faults.drop(path, f"must be a mapping; got {shown(value)}")
    elif isinstance(message, struct_pb2.Value):
        _fill_value(message, value, path, faults)
    elif isinstance(message, timestamp_pb2.Timestamp | duration_pb2.Duration):
        if isinstance(message, timestamp_pb2.Timestamp):
            rule = 'must be a time such as "2026-01-01T00:00:00Z"'
        else:
            rule = 'must be seconds and an s, such as "5400s" or "1.5s", of ten thousand years at most'
        try:
            if not isinstance(value, str):
                raise ValueError
            message.FromJsonString(value)
        except ValueError:
            faults.drop(path, f"{rule}; got {shown(value)}")


def _fill_struct_entry(struct: struct_pb2.Struct, key: Plain, value: Plain, path: str, faults: Reading) -> None:
    if isinstance(key, str) and _is_unicode(key):
        _fill_value(struct.fields[key], value, child(path, key), faults)
    else:
        faults.drop(path, f"has the key {shown(key)}: every key must be a string")


def _fill_value(message: struct_pb2.Value, value: Plain, path: str, faults: Reading, depth: int = 0) -> None:
    """Fills a value of a Struct; numbers become doubles, so an integer beyond 2^53 is refused rather than changed."""
    if depth > MAX_STRUCT_DEPTH:
        faults.drop(path, f"must be nested at most {MAX_STRUCT_DEPTH} levels deep")
    elif value is None:
        message.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER:
        faults.drop(path, f"must lie between -2^53 and 2^53; got {shown(value)}")
    elif isinstance(value, float) and not math.isfinite(value):
        faults.drop(path, f"must be a finite number; got {shown(value)}")
    elif isinstance(value, int | float):
        message.number_value = value
    elif isinstance(value, str):
        if _is_unicode(value):
            message.string_value = value
        else:
            faults.drop(path, f"must be Unicode text; got {json.dumps(value)[:80]}")
    elif isinstance(value, list | tuple):
        message.list_value.SetInParent()
        for position, entry in enumerate(value):
            _fill_value(message.list_value.values.add(), entry, child(path, position), faults, depth + 1)
    elif isinstance(value, Mapping):
        message.struct_value.SetInParent()
        for key, entry in value.items():
            if isinstance(key, str) and _is_unicode(key):
                _fill_value(message.struct_value.fields[key], entry, child(path, key), faults, depth + 1)
            else:
                faults.drop(path, f"has the key {shown(key)}: every key must be a string")
    else:
        faults.drop(path, f"must be a value that JSON can hold; got {shown(value)}")
