"""Which variable belongs to which group: globs over variable paths, first match wins."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol

from gradloom.faults import Faults, child

_LISTED: Final = 20
_SHOWN: Final = 100


class Group(Protocol):
    """What of a VariableGroup the assignment needs."""

    @property
    def name(self) -> str:
        """The group's name."""

    @property
    def match(self) -> Iterable[str]:
        """The group's patterns."""


def matches(pattern: str, path: str) -> bool:
    """Whether the glob covers the whole path: `*` stands for characters within a segment, `**` also across segments.

    `conv*/**` covers `conv1/kernel` and `conv1/inner/bias`; `**/bias` covers `bias` and `conv1/bias`. Takes time in
    proportion to the two lengths, whatever the pattern.
    """
    tokens = _tokens(pattern)
    states = _entered({0}, tokens)
    for character in path:
        states = _entered({after for state in states for after in _steps(state, tokens, character)}, tokens)
    return len(tokens) in states


_SEGMENTS: Final = "**/"
_WITHIN: Final = "within a segment of **/"


@lru_cache(maxsize=4096)
def _tokens(pattern: str) -> tuple[str, ...]:
    """Single characters, `*`, `**`, and at the start of a segment `**/` for any number of whole segments.

    The last is two states: at the start of a segment, where what follows may begin, and within one.
    """
    tokens: list[str] = []
    for piece in re.findall(r"(?:(?<=/)|^)\*{2,}/|\*+|[^*]", pattern, re.DOTALL):
        if len(piece) > 2 and piece.endswith("/"):
            tokens += [_SEGMENTS, _WITHIN]
        else:
            tokens.append("**" if piece.startswith("**") else piece)
    return tuple(tokens)


def _entered(states: set[int], tokens: Sequence[str]) -> set[int]:
    """The states, and those that are reached from them because a wildcard may stand for nothing."""
    pending = list(states)
    while pending:
        state = pending.pop()
        token = tokens[state] if state < len(tokens) else ""
        following = state + {"*": 1, "**": 1, _SEGMENTS: 2}.get(token, 0)
        if following not in states:
            states.add(following)
            pending.append(following)
    return states


def _steps(state: int, tokens: Sequence[str], character: str) -> Iterator[int]:
    """Where a character leads from one state; state i is before token i."""
    token = tokens[state] if state < len(tokens) else ""
    if token == "**" or (token == "*" and character != "/"):
        yield state
    elif token == _SEGMENTS:
        yield state if character == "/" else state + 1
    elif token == _WITHIN:
        yield state - 1 if character == "/" else state
    elif token == character:
        yield state + 1


def assign_groups(
    paths: Sequence[str], groups: Sequence[Group], field: str = "spec.variable_groups"
) -> Mapping[str, str]:
    """By variable path, the name of the group that has it: the first one with a matching pattern.

    Raises InvalidRequestError, listing both sides, when a variable is left over or a group gets none.
    """
    assignment: dict[str, str] = {}
    for path in paths:
        for group in groups:
            if any(matches(pattern, path) for pattern in group.match):
                assignment[path] = group.name
                break
    faults = Faults()
    left_over = [path for path in dict.fromkeys(paths) if path not in assignment]
    if left_over:
        patterns = [f"{group.name} ({_listed([*group.match])})" for group in groups]
        faults.add(
            field,
            f"must cover every trainable variable; {_listed(left_over)} match no group; groups: {_listed(patterns)}",
        )
    for position, group in enumerate(groups):
        if group.name in assignment.values():
            continue
        taken = {path: assignment[path] for path in assignment if any(matches(p, path) for p in group.match)}
        if taken:
            why = "earlier groups have all it matches: " + _listed([f"{path} ({name})" for path, name in taken.items()])
        else:
            has = f"variables: {_listed(list(dict.fromkeys(paths)))}" if paths else "the model has none"
            why = f"no trainable variable matches {_listed([*group.match])}; {has}"
        faults.add(f"{child(field, position)}.match", f"must match a variable that no earlier group has; {why}")
    faults.raise_any()
    return assignment


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(name if len(name) <= _SHOWN else name[:_SHOWN] + "..." for name in names[:_LISTED]) + more
