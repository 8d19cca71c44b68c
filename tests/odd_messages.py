"""Messages as an enemy or a broken client writes them: sound ones with some fields made odd, and damaged bytes."""

import random
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

LONGEST_LIST: Final = 3000

_JOBS: Final = "projects/default/jobs"
TEXTS: Final = (
    *("", " ", "\0", "a\0b", "\n", "\x1b[31m", "-", "*", "%s%n%d", "a" * 5000, "é" * 400, "\u202e\u2066", "\U0001f4a9"),
    *("../../../etc/passwd", "/proc/self/environ", "file:///etc/passwd", "C:\\", f"{_JOBS}/../x", "~root"),
    *(
        f"{_JOBS}/queued",
        f"{_JOBS}/running",
        f"{_JOBS}/failed",
        "queued",
        "failed",
        f"{_JOBS}/QUEUED",
        f"{_JOBS}/" * 99,
    ),
    *(f"{_JOBS}/failed/artifacts/a1-0", f"{_JOBS}/failed/checkpoints/1-000001-step-5", "projects/-/jobs/-"),
    *(
        "projects/default",
        "projects/-",
        "'; DROP TABLE jobs; --",
        '" OR 1=1',
        "${jndi:ldap://x}",
        "{{7*7}}",
        "<script>",
    ),
    *("__class__", "os.system", "Lambda", "NaN", "inf", "1e999", "-1", "0x10", "true", "null", "1" * 400),
    *("2026-01-01T00:00:00Z", "9999-99-99T99:99:99Z", "state = RUNNING", 'labels.team: "a*"', "NOT (" * 200),
    *("(" * 900, "a AND " * 300, 'display_name = "', "priority > 1e400", "create_time desc", "uid", "uid, uid", ","),
    *("job.labels", "spec.training.epochs", "spec..x", "*.*", "labels.", "spec.model.layers[0]", "job", "state"),
    *("00000000-0000-4000-8000-000000000000", "deadbeef.1", "deadbeef.1.1", "W10", "%%%", "bm9wZQ==", "é" * 99 + "\0"),
)
WHOLE_NUMBERS: Final = (0, 1, -1, 2, 7, 1000, 1001, 2**31 - 1, -(2**31))
LARGE_NUMBERS: Final = (*WHOLE_NUMBERS, 2**31, 2**53 + 1, 2**63 - 1, -(2**63))
NATURAL_NUMBERS: Final = (0, 1, 2**32 - 1)
REALS: Final = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 5e-324, 1e308, float("inf"), float("-inf"), float("nan"))

_KINDS: Final[dict[int, tuple[Any, ...]]] = {
    FieldDescriptor.CPPTYPE_STRING: TEXTS,
    FieldDescriptor.CPPTYPE_INT32: WHOLE_NUMBERS,
    FieldDescriptor.CPPTYPE_INT64: LARGE_NUMBERS,
    FieldDescriptor.CPPTYPE_UINT32: NATURAL_NUMBERS,
    FieldDescriptor.CPPTYPE_UINT64: NATURAL_NUMBERS,
    FieldDescriptor.CPPTYPE_DOUBLE: REALS,
    # Wider ones than a float holds would be refused here already.
    FieldDescriptor.CPPTYPE_FLOAT: tuple(value for value in REALS if abs(value) != 1e308),
    FieldDescriptor.CPPTYPE_BOOL: (True, False),
    FieldDescriptor.CPPTYPE_ENUM: WHOLE_NUMBERS,
}


def make_odd(message: Message, draw: random.Random, depth: int = 0) -> None:
    """Changes one field of the message or of one below it, to anything that its type can hold."""
    fields = message.DESCRIPTOR.fields
    if not fields:
        return
    # Rather where something is than where nothing is: rules look there.
    present = [field for field, _ in message.ListFields()]
    field = draw.choice(present if present and draw.random() < 0.6 else list(fields))
    if draw.random() < 0.08:
        message.ClearField(field.name)
    elif field.message_type is not None and field.message_type.GetOptions().map_entry:
        _make_odd_entry(getattr(message, field.name), field.message_type, draw, depth)
    elif field.is_repeated:
        _make_odd_list(getattr(message, field.name), field, draw, depth)
    elif field.message_type is not None:
        below = getattr(message, field.name)
        below.SetInParent()
        _go_below(below, draw, depth)
    else:
        setattr(message, field.name, _odd_value(field, draw))


def odd_bytes(data: bytes, draw: random.Random) -> bytes:
    """The bytes of a message, damaged."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randint(0, len(changed))
        match draw.randrange(4):
            case 0:
                del changed[at:]
            case 1:
                changed[at:at] = draw.randbytes(draw.randint(1, 9))
            case 2:
                changed[at : at + 1] = bytes([draw.randrange(256)])
            case 3:
                changed[at:at] = changed[: draw.randint(0, len(changed))]
    return bytes(changed)


def _make_odd_entry(entries: Any, entry: Any, draw: random.Random, depth: int) -> None:
    key_field, value_field = entry.fields_by_name["key"], entry.fields_by_name["value"]
    known = list(entries)
    key = draw.choice(known) if known and draw.random() < 0.6 else _odd_value(key_field, draw)
    if value_field.message_type is not None:
        _go_below(entries[key], draw, depth)
    else:
        entries[key] = _odd_value(value_field, draw)


def _make_odd_list(values: Any, field: FieldDescriptor, draw: random.Random, depth: int) -> None:
    if field.message_type is not None:
        element = draw.choice(list(values)) if values and draw.random() < 0.7 else values.add()
        _go_below(element, draw, depth)
        if draw.random() < 0.05:
            values.extend([element] * draw.choice((1, 300, LONGEST_LIST)))
    else:
        values.extend([_odd_value(field, draw)] * draw.choice((1, 1, 1, 2, LONGEST_LIST)))


def _go_below(message: Message, draw: random.Random, depth: int) -> None:
    # Deeper than any message of ours is by itself; configs can go on for ever.
    if depth < 40 and draw.random() < 0.93:
        make_odd(message, draw, depth + 1)


def _odd_value(field: FieldDescriptor, draw: random.Random) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return draw.randbytes(draw.randint(0, 99))
    return draw.choice(_KINDS[field.cpp_type])
