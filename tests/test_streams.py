"""WatchJob, StreamLogs and DownloadArtifact: in order, resumable, whole, and ended by a drain."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from gradloom.api.stderr_log import GRPC_CORE_LOGGER, is_not_a_caller_that_left
from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName
from gradloom.jobs.records import AttemptRow
from gradloom.supervisor.attempt_log import LogWriter
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import TIMEOUT_SECONDS, Api, api_server, now, refusal

Code = grpc.StatusCode
Job = job_pb2.Job
Kind = job_pb2.Event.Kind


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path) as running, asyncio.timeout(TIMEOUT_SECONDS * 2):
        yield running


def watch(api: Api, name: JobName, cursor: str | None = None) -> Any:
    return api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(name), cursor=cursor))


async def rest_of(stream: Any) -> list[Any]:
    messages = []
    while (message := await stream.read()) is not grpc.aio.EOF:
        messages.append(message)
    return messages


def report(api: Api, attempt: AttemptRow, beat: int, step: int, epochs: int = 0, offset: int = 0) -> None:
    request = attempt_pb2.ReportRequest(
        beat=beat,
        progress=job_pb2.Progress(phase=job_pb2.Progress.TRAINING, attempt=attempt.number, global_step=step),
        events=[job_pb2.Event(kind=job_pb2.Event.EPOCH_ENDED, epoch=offset + each + 1) for each in range(epochs)],
        event_offset=offset,
    )
    api.store.record_report(attempt.uid, attempt.number, request, now())


def log_of(attempt: AttemptRow, **limits: int) -> LogWriter:
    return LogWriter(attempt.directory / "log" / "attempt.log", **limits)


async def lines_of(stream: Any) -> list[str]:
    return [line async for message in stream for line in message.lines]


def logs(api: Api, name: JobName, **fields: Any) -> Any:
    return api.stub.StreamLogs(service_pb2.StreamLogsRequest(name=str(name), **fields))


# WatchJob


async def test_a_watch_begins_with_the_present_state_and_tells_every_event_to_the_end(api: Api) -> None:
    name = api.create()
    stream = watch(api, name)
    first = await stream.read()
    assert (first.job.state, first.HasField("event"), first.job.HasField("spec")) == (Job.QUEUED, False, False)
    attempt = api.claim(name)
    report(api, attempt, 1, 5, epochs=3)
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    events = [message.event for message in await rest_of(stream) if message.HasField("event")]
    assert [event.number for event in events] == list(range(events[0].number, events[0].number + len(events)))
    assert [event.epoch for event in events if event.kind == Kind.EPOCH_ENDED] == [1, 2, 3]
    assert events[-1].state == Job.FAILED


async def test_a_watch_goes_on_from_any_cursor_without_a_gap_or_a_repeat(api: Api) -> None:
    name = api.create()
    stream = watch(api, name)
    start = (await stream.read()).cursor
    stream.cancel()
    attempt = api.claim(name)
    report(api, attempt, 1, 5, epochs=250)
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    whole = [message async for message in watch(api, name, start) if message.HasField("event")]
    assert len(whole) > 250
    middle = whole[100].cursor
    rest = [message async for message in watch(api, name, middle) if message.HasField("event")]
    assert [message.event.number for message in rest] == [message.event.number for message in whole[101:]]


async def test_a_watch_from_the_start_tells_every_event_also_of_a_job_that_has_ended(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    report(api, attempt, 1, 5, epochs=250)
    living = api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(name), from_start=True))
    first = await living.read()
    assert (first.job.state, first.HasField("event")) == (Job.RUNNING, False)
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    ended = api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(name), from_start=True))
    last = api.store.snapshot(name).event_number
    for stream in (living, ended):
        events = [message.event for message in await rest_of(stream) if message.HasField("event")]
        assert [event.number for event in events] == list(range(1, last + 1))
        assert (events[0].kind, events[-1].state) == (Kind.CREATED, Job.FAILED)


async def test_the_cursor_of_a_watch_from_the_start_is_good_before_its_first_event(api: Api) -> None:
    name = api.create()
    stream = api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(name), from_start=True))
    cursor = (await stream.read()).cursor
    stream.cancel()
    resumed = watch(api, name, cursor)
    await resumed.read()
    assert (await resumed.read()).event.kind == Kind.CREATED
    resumed.cancel()


async def test_a_watch_starts_at_a_cursor_or_at_the_start_but_not_at_both(api: Api) -> None:
    name = str(api.create())
    refused = await refusal(api.stub.WatchJob(service_pb2.WatchJobRequest(name=name, cursor="0.0", from_start=True)))
    assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["from_start"])


async def test_many_watchers_of_a_job_share_the_reads_of_the_store_and_see_the_same(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, reads, look = api.create(), [], api.store.look
    monkeypatch.setattr(api.store, "look", lambda *asked: (reads.append(asked), look(*asked))[1])
    streams = [api.stub.WatchJob(service_pb2.WatchJobRequest(name=str(name), from_start=True)) for _ in range(50)]
    for stream in streams:
        await stream.read()
    attempt = api.claim(name)
    report(api, attempt, 1, 5, epochs=3)
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    seen = [[message.event for message in await rest_of(stream) if message.HasField("event")] for stream in streams]
    assert seen == [api.store.events_after(attempt.uid, 0)] * 50
    assert len(reads) < 50


async def test_progress_between_events_is_the_newest_not_every_one(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    report(api, attempt, 1, 1)
    stream = watch(api, name)
    cursor = (await stream.read()).cursor
    for beat in range(2, 60):
        report(api, attempt, beat, beat)
    steps = []
    while not steps or steps[-1] != 59:
        message = await stream.read()
        assert not message.HasField("event")
        assert message.cursor == cursor
        steps.append(message.job.progress.global_step)
    assert steps == sorted(set(steps))
    stream.cancel()


async def test_a_watch_of_a_finished_job_tells_its_state_and_ends(api: Api) -> None:
    name = api.create()
    api.end(api.claim(name), Job.TRAINER_RAISED, Job.FAILED)
    messages = [message async for message in watch(api, name)]
    assert [message.job.state for message in messages] == [Job.FAILED]


async def test_cursors_that_are_none_or_not_this_jobs_are_refused(api: Api) -> None:
    one, other = api.create("one"), api.create("other")
    stream = watch(api, one)
    cursor = (await stream.read()).cursor
    stream.cancel()
    for odd in ("x", "1", "-1", cursor + "9" * 30, "é", cursor.partition(".")[0] + ".-1"):
        refused = await refusal(watch(api, one, odd))
        assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["cursor"])
    assert (await refusal(watch(api, other, cursor))).code is Code.OUT_OF_RANGE
    assert (await refusal(watch(api, one, cursor + "0"))).code is Code.OUT_OF_RANGE


async def test_a_watcher_that_goes_away_leaves_nothing_behind(api: Api) -> None:
    streams = [watch(api, api.create(f"job-{number}")) for number in range(5)]
    for stream in streams:
        await stream.read()
    assert api.store.hub.watcher_count() == 5
    for stream in streams:
        stream.cancel()
    while api.store.hub.watcher_count():
        await asyncio.sleep(0.01)


async def test_a_drain_ends_streams_unavailable_with_a_cursor_that_stays_good(api: Api) -> None:
    name = api.create()
    watching, following = watch(api, name), logs(api, name, follow=True)
    cursor = (await watching.read()).cursor
    api.training.drain()
    for stream in (watching, following):
        assert (await refusal(rest_of(stream))).code is Code.UNAVAILABLE
    assert cursor
    while api.store.hub.watcher_count():
        await asyncio.sleep(0.01)


# StreamLogs


async def test_the_logs_of_all_attempts_come_in_order_and_one_alone_on_request(api: Api) -> None:
    name = api.create()
    for number, reason, state in ((1, Job.TRAINER_RAISED, Job.QUEUED), (2, Job.TRAINER_RAISED, Job.FAILED)):
        attempt = api.claim(name, f"token {number}")
        log_of(attempt).write(f"attempt {number}\n\nlast line without its end".encode())
        api.end(attempt, reason, state)
    first, second = (["attempt " + number, "", "last line without its end"] for number in "12")
    for follow in (False, True):
        assert await lines_of(logs(api, name, follow=follow)) == first + second
        assert await lines_of(logs(api, name, follow=follow, attempt=2)) == second


async def test_following_waits_for_the_attempt_and_ends_with_the_job(api: Api) -> None:
    name = api.create()
    reading = asyncio.create_task(lines_of(logs(api, name, follow=True)))
    attempt = api.claim(name)
    log = log_of(attempt)
    for number in range(20):
        log.write(f"line {number}, first half".encode())
        await asyncio.sleep(0.01)
        log.write(b", second half\n")
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    assert await reading == [f"line {number}, first half, second half" for number in range(20)]


async def test_a_log_goes_on_from_any_cursor_across_rotated_files(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    log = log_of(attempt, file_bytes=50_000, total_bytes=10_000_000)
    log.write(b"".join(b"line %d\n" % number for number in range(100_000)))
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    messages = [message async for message in logs(api, name)]
    whole = [line for message in messages for line in message.lines]
    assert whole == [f"line {number}" for number in range(100_000)]
    resumed = await lines_of(logs(api, name, cursor=messages[2].cursor))
    assert resumed == [line for message in messages[3:] for line in message.lines]


async def test_a_running_attempts_log_can_be_read_without_waiting(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    log_of(attempt).write(b"so far\nhalf a")
    assert await lines_of(logs(api, name)) == ["so far", "half a"]
    assert (await refusal(logs(api, name, attempt=2))).code is Code.NOT_FOUND


async def test_long_lines_come_in_parts_and_foreign_bytes_as_text(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    log_of(attempt).write(b"x" * 1_000_000 + b"\n\xff\xfe\n" + "é\n".encode())
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    lines = await lines_of(logs(api, name))
    assert "".join(lines[:-2]) == "x" * 1_000_000
    assert max(map(len, lines)) <= 64 * 1024
    assert lines[-2:] == ["\ufffd\ufffd", "é"]


async def test_what_rotation_dropped_is_said(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    log = log_of(attempt, file_bytes=1000, total_bytes=3000)
    log.write(b"".join(b"line %5d\n" % number for number in range(1000)))
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    lines = await lines_of(logs(api, name))
    assert "bytes of this log were dropped" in lines[0]
    assert lines[-1] == "line   999"


async def test_odd_cursors_of_logs_are_refused(api: Api) -> None:
    name = api.create()
    attempt = api.claim(name)
    log_of(attempt).write(b"a\n")
    (message,) = [message async for message in logs(api, name)]
    uid = message.cursor.partition(".")[0]
    for odd in ("x", f"{uid}.0.0", f"{uid}.1.-5", f"{uid}.1", "é.1.1"):
        assert (await refusal(logs(api, name, cursor=odd))).fields == ["cursor"]
    assert (await refusal(logs(api, name, cursor=message.cursor, attempt=2))).fields == ["cursor"]
    assert (await refusal(logs(api, name, cursor=f"{uid}.1.999"))).code is Code.OUT_OF_RANGE
    assert (await refusal(logs(api, name, cursor="0" * 32 + ".1.0"))).code is Code.OUT_OF_RANGE


# DownloadArtifact


def recorded(api: Api, content: bytes, **record: Any) -> tuple[str, Path]:
    """A finished job with one file on record; its artifact's name and where the file lies."""
    name = api.create()
    attempt = api.claim(name)
    path = attempt.directory / "log" / "attempt.log"
    path.write_bytes(content)
    known = {"path": "log/attempt.log", "size_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    artifact = job_pb2.Artifact(kind=job_pb2.Artifact.LOG, **(known | record))
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED, [artifact])
    (stored,), _ = api.store.list_artifacts(name)
    return stored.name, path


async def downloaded(api: Api, name: str, offset: int = 0) -> tuple[job_pb2.Artifact, bytes]:
    request = service_pb2.DownloadArtifactRequest(name=name, offset_bytes=offset)
    messages = [message async for message in api.stub.DownloadArtifact(request)]
    assert all(len(message.chunk) <= 1 << 20 for message in messages)
    assert [message.HasField("artifact") for message in messages] == [True] + [False] * (len(messages) - 1)
    return messages[0].artifact, b"".join(message.chunk for message in messages)


async def test_a_file_comes_whole_and_from_any_offset(api: Api) -> None:
    content = bytes(range(256)) * 12_345
    name, _ = recorded(api, content)
    artifact, received = await downloaded(api, name)
    assert (artifact.size_bytes, received) == (len(content), content)
    for offset in (1, 1 << 20, (1 << 20) + 5, len(content) - 1, len(content)):
        assert (await downloaded(api, name, offset))[1] == content[offset:]
    request = service_pb2.DownloadArtifactRequest(name=name, offset_bytes=len(content) + 1)
    assert (await refusal(api.stub.DownloadArtifact(request))).code is Code.OUT_OF_RANGE


async def test_an_empty_file_comes_as_such(api: Api) -> None:
    name, _ = recorded(api, b"")
    assert (await downloaded(api, name))[1] == b""


async def test_a_file_that_changed_is_data_loss_and_never_ends_ok(api: Api, tmp_path: Path) -> None:
    content = b"x" * 3_000_000
    name, path = recorded(api, content)
    call = service_pb2.DownloadArtifactRequest(name=name)
    path.write_bytes(b"y" + content[1:])
    assert (await refusal(api.stub.DownloadArtifact(call))).code is Code.DATA_LOSS
    path.write_bytes(content[1:])
    assert (await refusal(api.stub.DownloadArtifact(call))).code is Code.DATA_LOSS
    path.unlink()
    assert (await refusal(api.stub.DownloadArtifact(call))).code is Code.DATA_LOSS
    (tmp_path / "elsewhere").write_bytes(content)
    path.symlink_to(tmp_path / "elsewhere")
    assert (await refusal(api.stub.DownloadArtifact(call))).code is Code.DATA_LOSS


async def test_an_unknown_artifact_is_not_found(api: Api) -> None:
    name = api.create()
    call = service_pb2.DownloadArtifactRequest(name=f"{name}/artifacts/none")
    assert (await refusal(api.stub.DownloadArtifact(call))).code is Code.NOT_FOUND


def test_of_grpcs_own_errors_only_a_caller_that_left_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    # Whether gRPC logs a caller that leaves is a race, so its words stand here.
    logger = logging.getLogger(GRPC_CORE_LOGGER)
    logger.addFilter(is_not_a_caller_that_left)
    method = "/gradloom.v1.TrainingService/DownloadArtifact"
    try:
        logger.error(f"ExecuteBatchError raised in core by servicer method [{method}]")
        logger.error(f"Unexpected [ValueError] raised by servicer method [{method}]")
    finally:
        logger.removeFilter(is_not_a_caller_that_left)
    assert caplog.messages == [f"Unexpected [ValueError] raised by servicer method [{method}]"]
