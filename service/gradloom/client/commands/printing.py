"""What commands print alike: messages as JSON, lists as JSON or a table, and lines as they are."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from gradloom.client import text

T = TypeVar("T")


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


def print_json_messages(field: str, messages: Iterable[Any]) -> None:
    """Prints each message of a stream in a line as it comes; an empty one when none came, so that there is a list."""
    message = None
    for message in messages:
        print_json(message, indent=None)
    if message is None:
        text.say(f'{{"{field}": []}}')


def print_list(
    field: str, items: Sequence[T], output: str, table: Callable[[Sequence[T]], Iterable[str]], nothing: str
) -> None:
    """Prints a list in the form that is asked for: as JSON, or as a table, with a remark where there is nothing."""
    if output == "json":
        print_json_list(field, items)
    elif items:
        print_lines(table(items))
    else:
        text.remark(nothing)


def print_lines(lines: Any) -> None:
    """Prints each line."""
    for line in lines:
        text.say(line)
