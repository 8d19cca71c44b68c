"""StreamLogs: the lines of attempts' logs, by offset in the whole log, rotated files included."""

import enum
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Final

from gradloom.api.convert import job_name
from gradloom.api.offload import Offload
from gradloom.errors import CursorExpiredError, NotFoundError, refusal
from gradloom.job import TERMINAL_STATES
from gradloom.jobs import log_cursor
from gradloom.jobs.events import Watcher
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.store import Store
from gradloom.supervisor import attempt_log
from gradloom.supervisor.attempt_directory import AttemptDirectory
from gradloom.v1 import job_pb2, service_pb2

BLOCK_BYTES: Final = 256 * 1024
LONGEST_LINE_BYTES: Final = 64 * 1024
LOOK_SECONDS: Final = 0.25
"""How often a followed file is looked at."""
LOOKS_PER_READ: Final = 20
"""The store is read at least every so many looks, should a wake be lost."""

Messages = AsyncGenerator[service_pb2.StreamLogsResponse, None]


async def stream_logs(store: Store, offload: Offload, request: service_pb2.StreamLogsRequest) -> Messages:
    """Yields the lines of one attempt, or of every attempt in order; with `follow` until attempt or job have ended."""
    name = job_name(request.name)
    if request.HasField("attempt") and request.attempt < 1:
        raise refusal("attempt", f"must be at least 1; got {request.attempt}")
    uid = (await offload.read(store.snapshot, name)).uid
    with store.hub.watch(uid) as watcher:
        follower = _Follower(store, offload, request, uid, watcher)
        async for message in follower.messages():
            yield message


class _Follower:
    """One stream: where it is, and what it may still expect."""

    def __init__(
        self, store: Store, offload: Offload, request: service_pb2.StreamLogsRequest, uid: str, watcher: Watcher
    ):
        self._store = store
        self._offload = offload
        self._uid = uid
        self._watcher = watcher
        self._name = request.name
        self._follow = request.follow
        self._only = request.attempt if request.HasField("attempt") else None
        self._number, self._offset, self._resumed = self._only or 1, 0, False
        if request.cursor:
            self._number, self._offset = log_cursor.read(request.cursor, uid)
            self._resumed = True
            if self._only not in (None, self._number):
                raise refusal("cursor", f"is of attempt {self._number}, but attempt says {self._only}")

    async def messages(self) -> Messages:
        """Goes through the attempts from the first wanted one."""
        while True:
            # The order matters: an attempt that has ended before its log is read has written all of it.
            terminal, attempt = await self._look()
            if attempt is None:
                if self._only is not None and (terminal or not self._follow):
                    raise NotFoundError(f"the job has no attempt {self._only}", f"{self._name}/attempts/{self._only}")
                if terminal or not self._follow:
                    return
                await self._watcher.wait(LOOK_SECONDS * LOOKS_PER_READ)
                continue
            ended = attempt.state == job_pb2.Attempt.ENDED
            async for message in self._new_lines(attempt, whole=ended or not self._follow):
                yield message
            if not ended and self._follow:
                await self._wait_for_more(attempt)
            elif self._only is not None:
                return
            else:
                self._number, self._offset, self._resumed = self._number + 1, 0, False

    async def _look(self) -> tuple[bool, AttemptRow | None]:
        """Whether the job is terminal, and the attempt that is read now."""
        snapshot = await self._offload.read(self._store.snapshot_by_uid, self._uid)
        attempts = await self._offload.read(self._store.attempts_of, self._uid)
        attempt = next((attempt for attempt in attempts if attempt.number == self._number), None)
        return snapshot.job.state in TERMINAL_STATES, attempt

    async def _wait_for_more(self, attempt: AttemptRow) -> None:
        """Waits until the log has grown or something happened to the job."""
        log = AttemptDirectory(attempt.directory).log
        seen = await self._offload.read(attempt_log.extent, log)
        for _ in range(LOOKS_PER_READ):
            if await self._watcher.wait(LOOK_SECONDS) or await self._offload.read(attempt_log.extent, log) != seen:
                return

    async def _new_lines(self, attempt: AttemptRow, whole: bool) -> Messages:
        """Yields what the log holds beyond the offset; with `whole` also a last line that lacks its end."""
        log = AttemptDirectory(attempt.directory).log
        if self._resumed:
            self._resumed = False
            if self._offset > (await self._offload.read(attempt_log.extent, log)).end:
                raise CursorExpiredError(f"the log of attempt {self._number} is shorter than {self._offset} bytes")
        while True:
            start, block, after = await self._offload.read(_block, log, self._offset)
            if start > self._offset:
                yield self._message([f"[{start - self._offset} bytes of this log were dropped by rotation]"], start)
            *lines, rest = block.split(b"\n")
            never_completed = after is _After.GAP or (after is _After.END and whole)
            if rest and (never_completed or len(rest) >= LONGEST_LINE_BYTES):
                lines.append(rest)
                rest = b""
            if not lines:
                return
            yield self._message([part for line in lines for part in _parts(line)], start + len(block) - len(rest))

    def _message(self, lines: list[str], offset: int) -> service_pb2.StreamLogsResponse:
        self._offset = offset
        cursor = log_cursor.write(self._uid, self._number, offset)
        return service_pb2.StreamLogsResponse(attempt=self._number, lines=lines, cursor=cursor)


class _After(enum.Enum):
    """What follows a block of a log."""

    MORE = enum.auto()
    END = enum.auto()
    """Nothing yet."""
    GAP = enum.auto()
    """Bytes that were dropped."""


def _block(log: Path, offset: int) -> tuple[int, bytes, _After]:
    """Reads a block across the log's files, for a line may begin in one and end in the next."""
    start, block = attempt_log.read(log, offset, BLOCK_BYTES)
    while len(block) < BLOCK_BYTES:
        found, more = attempt_log.read(log, start + len(block), BLOCK_BYTES - len(block))
        if not more:
            return start, block, _After.END
        if found > start + len(block):
            return start, block, _After.GAP
        block += more
    return start, block, _After.MORE


def _parts(line: bytes) -> Iterator[str]:
    """The line as text, in parts when it is too long; bytes that are no UTF-8 become U+FFFD."""
    for start in range(0, max(len(line), 1), LONGEST_LINE_BYTES):
        yield line[start : start + LONGEST_LINE_BYTES].decode(errors="replace")
