"""How faults are worded: collecting them, the path of a field, showing a value, the nearest known name."""

import json
from collections.abc import Callable, Collection
from difflib import get_close_matches
from typing import Final, TypeVar

from gradloom.errors import FieldFault, InvalidRequestError

T = TypeVar("T")

MAX_FAULTS: Final = 100
"""More faults than this are counted, not told: the answer must fit a gRPC trailer."""
MAX_HINTS: Final = 20
"""More near names than this are not looked for: each costs as much as checking a whole spec."""
WHOLE: Final = "job"
"""The field of a fault of the document as a whole."""

_SHOWN_CHARACTERS: Final = 80


def shown(value: object) -> str:
    """The value as JSON would write it, cut to one short line; what JSON cannot hold as Python shows it."""
    if isinstance(value, dict | list) and len(value) > 20:
        return f"a {'list' if isinstance(value, list) else 'mapping'} of {len(value)} entries"
    if isinstance(value, str):
        value = value[: _SHOWN_CHARACTERS + 1]
    elif isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def child(path: str, key: str | int) -> str:
    """The path of a mapping's key or a list's position below `path`."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    if len(key) <= _SHOWN_CHARACTERS and key.isascii() and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{shown(key)}]"


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that `name` most likely meant, or None; letter case and underscores hardly count."""
    if not name or len(name) > 200:
        return None
    folded = {_fold(candidate): candidate for candidate in sorted(known, reverse=True)}
    matches = get_close_matches(_fold(name), folded, n=1, cutoff=0.6)
    return folded[matches[0]] if matches else None


def did_you_mean(name: str, known: Collection[str]) -> str:
    """`; did you mean "Dense"?`, or nothing."""
    return _asked(nearest(name, known))


def _asked(close: str | None) -> str:
    return f"; did you mean {shown(close)}?" if close is not None else ""


def _fold(name: str) -> str:
    return name.replace("_", "").lower()


def with_article(words: str) -> str:
    """`an optimizer`, `a layer`."""
    return f"{'an' if words[:1] in tuple('aeiou') else 'a'} {words}"


class Faults:
    """Collects the faults of one document, so that all are told at once."""

    def __init__(self) -> None:
        self._faults: list[FieldFault] = []
        self._untold = 0
        self._hints = 0

    def add(self, field: str, description: str) -> None:
        """Notes one fault; beyond MAX_FAULTS it is only counted."""
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(FieldFault(field or WHOLE, description))
        else:
            self._untold += 1

    def nearest(self, name: str, known: Collection[str]) -> str | None:
        """As the function, for the first MAX_HINTS names that are asked for."""
        self._hints += 1
        return nearest(name, known) if self._hints <= MAX_HINTS else None

    def did_you_mean(self, name: str, known: Collection[str]) -> str:
        """As the function, within the same limit."""
        return _asked(self.nearest(name, known))

    def extend(self, faults: Collection[FieldFault]) -> None:
        """Notes several faults."""
        for fault in faults:
            self.add(fault.field, fault.description)

    def __len__(self) -> int:
        return len(self._faults) + self._untold

    def told(self) -> list[FieldFault]:
        """The faults in the order in which they were found."""
        if not self._untold:
            return list(self._faults)
        return [*self._faults, FieldFault(WHOLE, f"and {self._untold} more faults, which are not listed")]

    def raise_any(self) -> None:
        """Raises InvalidRequestError with every fault; does nothing when there is none."""
        if self._faults:
            raise InvalidRequestError(self.told())


def collected(faults: Faults, parse: Callable[[], T]) -> T | None:
    """What `parse` gives; None with its faults noted."""
    try:
        return parse()
    except InvalidRequestError as error:
        faults.extend(error.faults)
        return None
