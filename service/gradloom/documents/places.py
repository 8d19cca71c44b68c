"""Where a spec has a field, for who has written its name somewhere else."""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from gradloom.documents.fields import is_map, is_repeated
from gradloom.faults import child
from gradloom.v1 import spec_pb2

MOST_PLACES: Final = 2
"""A name that stands in more places, such as `name`, tells nothing."""


def its_place(name: str) -> str:
    """`; did you mean spec.training.epochs?` for `epochs`; empty for a name that no field has, or very many have."""
    places = _places().get(name, [])
    return f"; did you mean {' or '.join(places)}?" if 0 < len(places) <= MOST_PLACES else ""


@cache
def _places() -> dict[str, list[str]]:
    places: dict[str, list[str]] = {}
    for name, path in _below(spec_pb2.JobSpec.DESCRIPTOR, "spec"):
        places.setdefault(name, []).append(path)
    return places


def _below(message: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every field of ours with its path, in lists that of the first entry."""
    for field in message.fields:
        below = child(path, field.name)
        yield field.name, below
        is_ours = field.message_type is not None and field.message_type.file.package.startswith("gradloom.")
        if is_ours and not is_map(field):
            yield from _below(field.message_type, child(below, 0) if is_repeated(field) else below)
