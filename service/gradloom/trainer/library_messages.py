"""What Keras and TensorFlow say when they fail, as a person reads it: one place for all that is taken out of it."""

import itertools
import re
from typing import Final

MOST_CHARACTERS: Final = 600

_TERMINAL_COLORS: Final = re.compile(r"\x1b\[[0-9;]*m")
# Names that TensorFlow gave to its functions, which say nothing to anybody else.
_GRAPH_NAMES: Final = re.compile(r"\{\{function_node [^}]*\}\}\s*")


def without_colors(text: str) -> str:
    """The text without the terminal colours that Keras gives to some of its messages."""
    return _TERMINAL_COLORS.sub("", text)


def on_one_line(error: BaseException) -> str:
    """The whole message on one line, cut when it is long; the exception's class where there is no message."""
    text = " ".join(_plain(str(error)).split()) or type(error).__name__
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "..."


def telling_line(text: str) -> str:
    """The line that says what went wrong: the first, but for errors of a graph the one before the failed node's."""
    lines = [line.strip() for line in _plain(text).splitlines() if line.strip()]
    for line, following in itertools.pairwise(lines):
        if following.startswith("[[{{node"):
            return line
    return lines[0] if lines else ""


def _plain(text: str) -> str:
    return _GRAPH_NAMES.sub("", without_colors(text))
