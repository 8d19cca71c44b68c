"""Installed packages of components: a process of the trainer's side imports them, this one only reads what they have.

A package may raise, hang or take its process down: then it is named in the log and left out, here and in every trainer
that this server starts. It never keeps the server from starting.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gradloom.catalogue import Catalogue, Entry, entry_of
from gradloom.packages import LEFT_OUT_VARIABLE, packages_of_components

COMMAND: Final = (sys.executable, "-m", "gradloom.trainer", "catalogue", "--installed")
SECONDS: Final = 60.0
"""For TensorFlow and all packages together; a second look leaves out the package at which the time ran out."""
MOST_ANSWER_BYTES: Final = 16 << 20

log = logging.getLogger(__name__)


@dataclass
class Look:
    """What one process found."""

    entries: list[Entry] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    """By package, why it cannot be used."""
    is_whole: bool = False
    """Whether the process came to its end."""


def bring_in_packages(command: Sequence[str] = COMMAND, seconds: float = SECONDS) -> None:
    """Adds what the installed packages register to this process's catalogue, and leaves out those that fail.

    Blocks for the time of a TensorFlow import where there are such packages, else hardly at all.
    """
    while packages := packages_of_components():
        look = _look(command, seconds, set(packages))
        for name, problem in look.problems.items():
            log.error("Package %s is left out: %s", name, problem)
        _leave_out(look.problems)
        if look.is_whole:
            Catalogue.add(look.entries)
            for name in sorted({entry.distribution for entry in look.entries}):
                types = ", ".join(entry.type for entry in look.entries if entry.distribution == name)
                log.info("Package %s brings %s", name, types)
            return
        if not look.problems:
            log.error("Packages of components are left out: nothing here could import TensorFlow, or not in time")
            _leave_out(packages)
            return


def _leave_out(names: Any) -> None:
    """Trainers inherit this process's environment."""
    before = [name for name in os.environ.get(LEFT_OUT_VARIABLE, "").split(",") if name]
    if names:
        os.environ[LEFT_OUT_VARIABLE] = ",".join([*before, *names])


def _look(command: Sequence[str], seconds: float, packages: set[str]) -> Look:
    look = Look()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
    )
    timer = threading.Timer(seconds, _end, (process.pid,))
    timer.start()
    begun = ""
    try:
        assert process.stdout is not None
        for line in process.stdout.read(MOST_ANSWER_BYTES).splitlines():
            said = _said(line)
            if said.get("begins") in packages:
                begun = said["begins"]
            elif said.get("package") == begun:
                if said["problem"]:
                    look.problems[begun] = said["problem"]
                look.entries.extend(entry_of(fields) for fields in said["entries"])
                begun = ""
        process.wait()
        look.is_whole = process.returncode == 0
    finally:
        was_in_time = timer.is_alive()
        timer.cancel()
        _end(process.pid)
        process.communicate()
    if begun:
        how = f"ended its process with {process.returncode}" if was_in_time else f"took longer than {seconds:g} s"
        look.problems[begun] = f"its import {how}"
    return look


def _said(line: bytes) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _end(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
