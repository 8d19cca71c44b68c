"""Asks TensorFlow about a spec, in a process with limits: what names and types alone cannot tell.

At most one such process runs at a time, without devices, below the jobs' priority; few callers may wait for it.
"""

import asyncio
import base64
import contextlib
import json
import logging
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import FieldFault, InvalidRequestError, LimitExceededError, ServerFaultError, WrongStateError
from gradloom.v1 import spec_pb2

COMMAND: Final = (sys.executable, "-m", "gradloom.trainer", "validate")
MOST_WAITING: Final = 8
MEMORY_BYTES: Final = 6 << 30
"""Of private writable memory (RLIMIT_DATA), the reserved stacks of threads included."""
MOST_ANSWER_BYTES: Final = 16 << 20
TAIL_BYTES: Final = 4096
NICENESS: Final = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Validation:
    """What is asked."""

    spec: spec_pb2.JobSpec
    device_kind: int
    """`ResolvedSpec.DeviceKind`."""
    replicas: int
    initial_weights: attempt_pb2.Checkpoint | None = None
    """What the job would start with; its path is absolute."""
    retry: attempt_pb2.Retry | None = None
    """Where the job would go on."""


class Validator:
    """Runs validations one after the other."""

    def __init__(
        self,
        data_roots: Sequence[Path],
        dataset_directories: Sequence[Path],
        timeout_seconds: float,
        command: Sequence[str] = COMMAND,
    ):
        self._data_roots = [str(path) for path in data_roots]
        self._dataset_directories = [str(path) for path in dataset_directories]
        self._timeout_seconds = timeout_seconds
        self._command = command
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def resolve(self, validation: Validation) -> spec_pb2.ResolvedSpec:
        """Gives what would run, as far as it can be told without devices.

        Raises InvalidRequestError with the faults; LimitExceededError when too many wait, or when this one takes too
        much time or memory; WrongStateError when the machine lacks something, such as a data set.
        """
        if self._waiting > MOST_WAITING:
            raise LimitExceededError(
                f"{MOST_WAITING} validations wait already", subject="validator", retry_after_seconds=5.0
            )
        self._waiting += 1
        try:
            async with self._turn:
                return _resolved(await self._answer(validation))
        finally:
            self._waiting -= 1

    async def _answer(self, validation: Validation) -> Any:
        question: dict[str, Any] = {
            "spec": base64.b64encode(validation.spec.SerializeToString()).decode(),
            "data_roots": self._data_roots,
            "dataset_directories": self._dataset_directories,
            "device_kind": spec_pb2.ResolvedSpec.DeviceKind.Name(validation.device_kind),
            "replicas": validation.replicas,
        }
        for name, message in (("initial_weights", validation.initial_weights), ("retry", validation.retry)):
            if message is not None:
                question[name] = base64.b64encode(message.SerializeToString()).decode()
        with tempfile.TemporaryFile() as complaints:
            return await self._ask(json.dumps(question).encode(), complaints)

    async def _ask(self, question: bytes, complaints: BinaryIO) -> Any:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1"},
        )
        try:
            self._limit(process.pid)
            output = await asyncio.wait_for(_exchange(process, question), self._timeout_seconds)
        except TimeoutError:
            raise LimitExceededError(
                f"the validation took longer than {self._timeout_seconds:g} s and was ended", subject="validator"
            ) from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        try:
            return json.loads(output)
        except ValueError:
            pass
        last_words = _tail(complaints)
        log.error("The validator ended with %s and no answer: %s", process.returncode, last_words)
        if (process.returncode or 0) < 0 or "MemoryError" in last_words:
            raise _out_of_memory("the validation did not end by itself: most likely it needed")
        raise ServerFaultError("the validator gave no answer")

    def _limit(self, pid: int) -> None:
        """Before it has read anything of the spec; a process that is gone already has no limits to keep."""
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
            # Ends it also when the server is gone.
            seconds = int(self._timeout_seconds * 4) + 1
            resource.prlimit(pid, resource.RLIMIT_CPU, (seconds, seconds))
            resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
            os.setpriority(os.PRIO_PROCESS, pid, NICENESS)


async def _exchange(process: asyncio.subprocess.Process, question: bytes) -> bytes:
    """Writes the question, reads the answer to its end."""
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(question)
        await process.stdin.drain()
    process.stdin.close()
    parts, size = [], 0
    while part := await process.stdout.read(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MOST_ANSWER_BYTES:
            raise LimitExceededError(f"the validation's answer is over {MOST_ANSWER_BYTES} bytes", subject="validator")
    await process.wait()
    return b"".join(parts)


def _tail(complaints: BinaryIO) -> str:
    complaints.seek(max(0, complaints.seek(0, os.SEEK_END) - TAIL_BYTES))
    return complaints.read(TAIL_BYTES).decode(errors="replace")


def _out_of_memory(told: str) -> LimitExceededError:
    return LimitExceededError(f"{told} more memory than the {MEMORY_BYTES >> 30} GiB it may have", subject="validator")


def _resolved(answer: Any) -> spec_pb2.ResolvedSpec:
    match answer:
        case {"resolved_spec": str(encoded)}:
            return spec_pb2.ResolvedSpec.FromString(base64.b64decode(encoded))
        case {"faults": [_, *_] as faults}:
            raise InvalidRequestError([FieldFault(str(fault["field"]), str(fault["description"])) for fault in faults])
        case {"out_of_memory": True}:
            raise _out_of_memory("the model, the optimizers or the data need, as far as the validation came,")
        case {"error": {"exception_type": str(kind), "message": str(message)}}:
            raise WrongStateError("validator", f"{kind}: {message}")
    raise ServerFaultError("the validator's answer has none of the agreed forms")
