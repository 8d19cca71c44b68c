"""Text for people: what a terminal would obey is shown instead, numbers and times are short, columns line up.

Imports nothing heavy: the command line needs it before it knows whether there is a server.
"""

import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import IO, Final

# Control, format (bidirectional overrides among them), surrogate, line and paragraph separator.
_OBEYED_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# They join the letters of some scripts and the parts of some emoji, and do nothing else.
_HARMLESS: Final = frozenset("\u200c\u200d")


def printable(text: str, keep: str = "") -> str:
    r"""`text` with what a terminal would obey as an escape such as `\x1b`, but for the characters in `keep`."""
    if text.isprintable():
        return text
    return "".join(
        character
        if character in keep or character in _HARMLESS or unicodedata.category(character) not in _OBEYED_CATEGORIES
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def one_line(text: str) -> str:
    """`text` for a place where a line end would break the layout."""
    return printable(" ".join(text.splitlines()))


def is_terminal(stream: IO[str]) -> bool:
    """Whether a person reads `stream` as it is written."""
    return not stream.closed and stream.isatty()


def say(text: str = "") -> None:
    """Writes a line to stdout."""
    sys.stdout.write(f"{text}\n")


def remark(text: str) -> None:
    """Writes a line to stderr: for the person, not for the pipe."""
    sys.stderr.write(f"{text}\n")


def local_time(moment: datetime) -> str:
    """Such as `2026-11-22 14:03:05`, in the reader's time zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def age(moment: datetime, now: datetime | None = None) -> str:
    """How long ago, in its largest unit: `5s`, `12m`, `3h`, `9d`."""
    seconds = max(0, int(((now or datetime.now(UTC)) - moment).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def span(seconds: float) -> str:
    """Such as `0.4 s`, `12 s`, `3 min 5 s`, `2 h 7 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count_bytes: int) -> str:
    """Such as `512 B`, `1.4 MiB`."""
    if count_bytes < 1024:
        return f"{count_bytes} B"
    amount = float(count_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def scalars(values: Mapping[str, float]) -> str:
    """Such as `loss 0.4312  accuracy 0.846  val_loss 0.39`: loss first, training before validation before test."""

    def rank(name: str) -> tuple[int, bool, str]:
        prefix = 1 if name.startswith("val_") else 2 if name.startswith("test_") else 0
        return prefix, not name.endswith("loss"), name

    return "  ".join(f"{one_line(name)} {values[name]:.4g}" for name in sorted(values, key=rank))


def columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of columns that line up, whatever script their contents are in; the last column is not padded."""
    from rich.cells import cell_len

    table = [header, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(row[column]) for row in table) for column in range(len(header))]
    return [
        "  ".join(cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]
