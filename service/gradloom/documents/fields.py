"""What kind of field a descriptor shows."""

from typing import Any

from google.protobuf.descriptor import FieldDescriptor


def is_map(field: Any) -> bool:
    """Whether the field is a map, which descriptors show as a list of entries."""
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether the field is a list or a map."""
    # `is_repeated` is newer than the oldest protobuf that the client runs with; `label` warns in the newest.
    if hasattr(field, "is_repeated"):
        return bool(field.is_repeated)
    label: int = field.label  # type: ignore[attr-defined]
    return label == FieldDescriptor.LABEL_REPEATED
