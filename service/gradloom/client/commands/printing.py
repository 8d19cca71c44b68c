"""What commands print alike: messages as JSON, and lines as they are."""

from typing import Any

from gradloom.client import text


def print_json(message: Any, *, indent: int | None = 2) -> None:
    """Prints a message in proto JSON with the proto's own field names."""
    from google.protobuf import json_format

    text.say(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=indent, ensure_ascii=False))


def print_json_list(field: str, items: Any) -> None:
    """Prints a whole list as one response without its pages; the list is there when it is empty, too."""
    import json

    from google.protobuf import json_format

    listed = [json_format.MessageToDict(item, preserving_proto_field_name=True) for item in items]
    text.say(json.dumps({field: listed}, indent=2, ensure_ascii=False))


def print_lines(lines: Any) -> None:
    """Prints each line."""
    for line in lines:
        text.say(line)
