"""Rules of `spec.user_code` that can be told without reading Python."""

import re
from collections.abc import Callable, Collection
from typing import Final

from gradloom.faults import Faults, shown
from gradloom.v1 import spec_pb2

FIELD: Final = "spec.user_code"
SOURCE_FIELD: Final = "spec.user_code.source"
MAX_SOURCE_BYTES: Final = 256 << 10
RESERVED_PACKAGES: Final = frozenset({"gradloom", "keras"})
"""Under which nobody else registers classes."""
REGISTERED: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}>[A-Za-z_][A-Za-z0-9_]{0,63}")
"""A type as a spec names it that is registered by a package or by user code."""


def check_user_code(user_code: spec_pb2.UserCode, is_allowed: bool, faults: Faults) -> None:
    """Checks what can be told of the source without reading it."""
    source = user_code.source
    if not is_allowed:
        faults.add(FIELD, "is refused: this server runs no code that a job brings; it would with --user-code")
    if not source.strip():
        faults.add(SOURCE_FIELD, "is required: one Python module that registers the classes which the spec names")
    elif (size := len(source.encode())) > MAX_SOURCE_BYTES:
        faults.add(SOURCE_FIELD, f"must be at most {MAX_SOURCE_BYTES} bytes; got {size}")
    elif "\0" in source:
        line = source[: source.index("\0")].count("\n") + 1
        faults.add(SOURCE_FIELD, f"must be Python; line {line} holds a null character")


def may_be_of_user_code(type: str) -> bool:
    """Whether user code can have registered the type: its package is nobody else's."""
    return REGISTERED.fullmatch(type) is not None and type.partition(">")[0] not in RESERVED_PACKAGES


def hint_for(type: str, known: Collection[str], did_you_mean: Callable[[str, Collection[str]], str]) -> str:
    """What to do about a type that nobody knows here: the nearest name; for one of the user's own, how it gets here."""
    if not may_be_of_user_code(type):
        return did_you_mean(type, known)
    return did_you_mean(type, [name for name in known if ">" in name]) or (
        f"; {shown(type)} is registered nowhere here: install its package at the server (entry point group "
        "gradloom.components), send its source as user_code, or name a type of the catalogue"
    )
