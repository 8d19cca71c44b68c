"""How a trainer waits to be used: quiet imports, one line `ready`, then one line of JSON that says what it is for.

Standard library only, so that it runs before anything heavy is imported.
"""

import contextlib
import faulthandler
import json
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

READY_VARIABLE: Final = "GRADLOOM_READY_FD"
"""Names the number of the inherited pipe on which the trainer says that its imports are done."""


@dataclass(frozen=True)
class Instruction:
    """What a spare becomes: one attempt. `token` authorises its calls to `address` and must not reach a log."""

    attempt_directory: str
    address: str
    token: str = field(repr=False)
    environment: Mapping[str, str] = field(default_factory=dict)
    handover: Mapping[str, Any] = field(default_factory=dict)
    """From the trainer to the export that follows it in the same process; see `delivery`."""

    def to_line(self) -> bytes:
        """The line that `read_instruction` reads."""
        return json.dumps(vars(self), default=dict).encode() + b"\n"


def prepare_process() -> None:
    """Sets up signals, the log and TensorFlow's environment; before any import of TensorFlow.

    SIGTERM keeps its default action, which ends the process at once even while TensorFlow runs: a Python
    handler would wait until the loop in the graph returns.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
    faulthandler.enable()
    # Errors only: what TensorFlow warns of is its own business, such as an optimisation that it skips.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(formatter)
    logger = logging.getLogger("gradloom")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


@contextlib.contextmanager
def noise_held_back() -> Iterator[None]:
    """Holds back what libraries print while they are imported or set up; shows it only when that fails.

    It does so on the descriptors themselves, which native code writes to. A spare has no log
    yet: its supervisor opens one when the spare is used.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        kept = [os.dup(descriptor) for descriptor in (1, 2)]
        try:
            for descriptor in (1, 2):
                os.dup2(held.fileno(), descriptor)
            yield
        except BaseException:
            sys.stdout.flush()
            sys.stderr.flush()
            held.seek(0)
            os.write(kept[1], held.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for descriptor, original in zip((1, 2), kept, strict=True):
                os.dup2(original, descriptor)
                os.close(original)


def announce_ready() -> None:
    """Says on the pipe of GRADLOOM_READY_FD that the imports are done; says nothing where there is none."""
    number = os.environ.pop(READY_VARIABLE, None)
    if number is None:
        return
    with os.fdopen(int(number), "wb") as pipe:
        pipe.write(b"ready\n")


def read_instruction() -> Instruction | None:
    """Waits for the one line on stdin and applies its environment; None when stdin ends before it."""
    line = sys.stdin.buffer.readline()
    if not line.strip():
        return None
    known = {item.name for item in fields(Instruction)}
    instruction = Instruction(**{key: value for key, value in json.loads(line).items() if key in known})
    os.environ.update(instruction.environment)
    return instruction
