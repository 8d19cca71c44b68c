"""The server under load, in a process of its own, and what it costs; and how its parts are measured."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradloom.documents import job_from_dict
from gradloom.v1 import job_pb2
from tests.e2e.server import Server, digits_job


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    """The target is the least; else the most."""

    @property
    def is_missed(self) -> bool:
        if self.target is None:
            return False
        return self.value < self.target if self.at_least else self.value > self.target

    def __str__(self) -> str:
        target = "" if self.target is None else f"{'>=' if self.at_least else '<'} {self.target:g} {self.unit}"
        return f"{self.name:<66}{self.value:>10.4g} {self.unit:<5}{target:>14}{'  missed' if self.is_missed else ''}"


class PlayedServer(Server):
    """The real server with played trainers."""

    def command(self) -> list[str]:
        real = super().command()
        return [sys.executable, "-m", "tests.bench.played_trainers", *real[real.index("serve") :]]

    def start(self, *arguments: Any, **options: Any) -> "PlayedServer":
        try:
            super().start(*arguments, **options)
            return self
        except AssertionError:
            # It did not listen in time; nobody else would end it.
            self.kill()
            raise

    def resident_kibibytes(self, of: str = "VmRSS") -> int:
        """VmRSS is what it has now, VmHWM the most that it had."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith(of)).split()[1])


def played_job(epochs: int, milliseconds: int) -> job_pb2.Job:
    """The digits job, played as so many epochs, so far apart."""
    document: dict[str, Any] = digits_job(epochs)
    document["spec"]["training"]["seed"] = milliseconds
    job: job_pb2.Job = job_from_dict(document)
    return job


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which so many percent lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
