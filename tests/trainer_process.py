"""A trainer process started as a supervisor starts it, for tests of the trainer alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.attempt_service import TOKEN


class TrainerProcess:
    """`python -m gradloom.trainer` with the pipes that a supervisor gives it and its log in a file."""

    def __init__(self, log: Path, *arguments: str):
        self.log_path = log
        self._ready, ready = os.pipe()
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gradloom.trainer", *arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[ready],
                env={**os.environ, "GRADLOOM_READY_FD": str(ready)},
                start_new_session=True,
            )
        os.close(ready)

    def __enter__(self) -> "TrainerProcess":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        os.close(self._ready)

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def wait_ready(self) -> bytes:
        """What the trainer says on the pipe, to its end: `ready`, unless it died before."""
        said = b""
        while part := os.read(self._ready, 100):
            said += part
        return said

    def use(self, directory: Path, address: str, **more) -> None:
        """Turns the spare into an attempt."""
        line = {"attempt_directory": str(directory), "token": TOKEN, "address": address, "environment": {}, **more}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def wait(self, seconds: float = 120) -> int:
        return self.process.wait(seconds)
