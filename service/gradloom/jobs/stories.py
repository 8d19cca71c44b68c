"""Where in an attempt's log the end of its story begins, and which lines tell most of it."""

from collections.abc import Sequence
from typing import Final

from gradloom.supervisor.attempt_log import Line

STORY_LINES: Final = 1000
"""An end is looked for in so many last lines: a crash writes the stacks of all threads."""
ENDING_LINES: Final = 50
"""Where nothing else tells, it begins with the first of so many last lines."""
MOST_CHARACTERS: Final = 1000
"""Of a line that is shown."""

_CRASH: Final = "Fatal Python error: "
_CRASHED_THREAD: Final = "Current thread "


def beginning(lines: Sequence[Line]) -> int:
    """The offset at which the end of the story begins, in the last lines of a log, of which there is one at least."""
    crash = _crash(lines)
    return lines[max(0, len(lines) - ENDING_LINES) if crash is None else crash].offset


def last_words(lines: Sequence[Line], most: int) -> list[str]:
    """The lines that tell most of the end: the last ones; of a crash, the stack of the thread that crashed."""
    crash = _crash(lines)
    chosen = [line.text for line in lines[-most:]]
    if crash is not None:
        texts = [line.text for line in lines[crash:]]
        thread = next((i for i, text in enumerate(texts) if text.startswith(_CRASHED_THREAD)), 1)
        stack = texts[thread : texts.index("", thread) if "" in texts[thread:] else None]
        chosen = [texts[0], *stack][: most - 1] + texts[-1:]
    return [text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "..." for text in chosen]


def _crash(lines: Sequence[Line]) -> int | None:
    """The index of the line with which Python's own account of a crash begins."""
    return next((i for i in range(len(lines) - 1, -1, -1) if lines[i].text.startswith(_CRASH)), None)
