"""Whether user code is Python, found out without running it and without risking this process."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from gradloom.api import syntax_program
from gradloom.api.syntax_program import CPU_SECONDS
from gradloom.errors import FieldFault
from gradloom.faults import shown
from gradloom.spec.user_code import SOURCE_FIELD

SECONDS: Final = 20.0
"""Of waiting; its processor time is limited to less."""


def syntax_faults(source: str) -> list[FieldFault]:
    """The first fault of syntax with its line, or none. Blocks for about 30 ms."""
    # -I -S: nothing of the environment and no installed package comes near.
    command = [sys.executable, "-I", "-S", syntax_program.__file__]
    try:
        done = subprocess.run(command, input=source.encode(), capture_output=True, timeout=SECONDS)
        answer = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return [FieldFault(SOURCE_FIELD, f"must be Python that compiles within {CPU_SECONDS} s; this did not")]
    if not answer:
        return []
    return [
        FieldFault(
            SOURCE_FIELD, f"must be Python; line {answer['line']}{_text(source, answer['line'])}: {answer['message']}"
        )
    ]


def _text(source: str, line: int) -> str:
    lines: Sequence[str] = source.splitlines()
    return f", {shown(lines[line - 1].strip())}" if 0 < line <= len(lines) else ""
