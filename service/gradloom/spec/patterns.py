"""Which variable belongs to which group: globs over variable paths, first match wins."""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from gradloom.faults import Faults, child

_LISTED = 20


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

    `conv*/**` covers `conv1/kernel` and `conv1/inner/bias`; `**/bias` covers `bias` and `conv1/bias`.
    """
    return _compiled(pattern).fullmatch(path) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Runs of wildcards are one wildcard, and each is possessive where it can be, so that no pattern backtracks for
    # long.
    pattern = re.sub(r"\*{3,}", "**", pattern)
    pieces = []
    for piece in re.split(r"(\*\*/|\*\*|\*)", pattern):
        match piece:
            case "**/":
                pieces.append("(?:.*/)?")
            case "**":
                pieces.append(".*")
            case "*":
                pieces.append("[^/]*")
            case _:
                pieces.append(re.escape(piece))
    return re.compile("".join(pieces), re.DOTALL)


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
        patterns = [f"{group.name} {list(group.match)}" for group in groups]
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
            why = f"no trainable variable matches {list(group.match)}; variables: {_listed(list(dict.fromkeys(paths)))}"
        faults.add(f"{child(field, position)}.match", f"must match a variable that no earlier group has; {why}")
    faults.raise_any()
    return assignment


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
