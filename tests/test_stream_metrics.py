"""StreamMetrics: every point once, in order, resumable, by name, and ended with the job or by a drain."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.documents import job_from_dict
from gradloom.job import JobName
from gradloom.jobs.records import AttemptRow
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import TIMEOUT_SECONDS, Api, api_server, digits_job, now, refusal

Code = grpc.StatusCode
Job = job_pb2.Job


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with api_server(tmp_path) as running, asyncio.timeout(TIMEOUT_SECONDS):
        yield running


def create(api: Api, job_id: str = "digits", **spec: Any) -> JobName:
    """Stores a job whose spec has these parts besides those of a small one."""
    job = digits_job()
    job.spec.MergeFrom(job_from_dict({"spec": spec}).spec)
    name = JobName("default", job_id)
    api.store.create_job(name, job, None, "", now())
    return name


VALIDATED = {"data": {"validation": {"builtin": {"name": "digits", "split": "test"}}}}
OWN = {"metrics": [{"type": "acme>Own", "name": "own"}]}
"""A metric that may have scalars of its own."""


def report(api: Api, attempt: AttemptRow, offset: int, steps: Sequence[int], end: bool = False, **more: float) -> None:
    points = [
        job_pb2.ScalarsPoint(global_step=step, epoch=1, epoch_end=end, scalars={"loss": 1 / step} | more)
        for step in steps
    ]
    request = attempt_pb2.ReportRequest(beat=offset + 1, points_offset=offset, points=points)
    api.store.record_report(attempt.uid, attempt.number, request, now())


def metrics(api: Api, name: JobName, **fields: Any) -> Any:
    return api.stub.StreamMetrics(service_pb2.StreamMetricsRequest(name=str(name), **fields))


async def steps_of(stream: Any) -> list[int]:
    return [point.global_step async for message in stream for point in message.points]


async def test_what_is_recorded_so_far_comes_in_order_and_the_stream_ends(api: Api) -> None:
    name = create(api)
    assert await steps_of(metrics(api, name)) == []
    report(api, api.claim(name), 0, range(1, 2501))
    messages = [message async for message in metrics(api, name)]
    points = [point for message in messages for point in message.points]
    assert [point.number for point in points] == [point.global_step for point in points] == list(range(1, 2501))
    assert dict(points[3].scalars) == {"loss": 0.25}
    assert [len(message.points) for message in messages] == [1000, 1000, 500]


async def test_following_begins_before_the_job_starts_and_ends_ok_with_it(api: Api) -> None:
    name = create(api)
    reading = asyncio.create_task(steps_of(metrics(api, name, follow=True)))
    attempt = api.claim(name)
    for step in range(1, 21):
        report(api, attempt, step - 1, [step])
        await asyncio.sleep(0.005)
    api.end(attempt, Job.TRAINER_LOST, Job.QUEUED)
    again = api.claim(name, "second token")
    report(api, again, 0, [19, 20, 21])
    api.end(again, Job.TRAINER_RAISED, Job.FAILED)
    assert await reading == list(range(1, 22))
    assert await steps_of(metrics(api, name, follow=True)) == list(range(1, 22))


async def test_a_stream_goes_on_from_any_cursor_also_with_other_names(api: Api) -> None:
    name = create(api, **VALIDATED)
    attempt = api.claim(name)
    report(api, attempt, 0, range(1, 1501))
    report(api, attempt, 1500, [1500], end=True, val_loss=0.5)
    first, second = [message async for message in metrics(api, name)]
    assert await steps_of(metrics(api, name, cursor=first.cursor)) == [point.global_step for point in second.points]
    assert await steps_of(metrics(api, name, cursor=first.cursor, scalars=["val_loss"])) == [1500]
    assert await steps_of(metrics(api, name, cursor=second.cursor)) == []
    (only,) = [message async for message in metrics(api, name, scalars=["val_loss"])]
    assert [dict(point.scalars) for point in only.points] == [{"val_loss": 0.5}]
    assert only.cursor == second.cursor


async def test_a_name_that_is_no_scalar_of_the_spec_is_refused_before_anything_is_recorded(api: Api) -> None:
    name = create(api, metrics=[{"type": "SparseCategoricalAccuracy", "name": "accuracy"}], **VALIDATED)
    for follow in (False, True):
        refused = await refusal(metrics(api, name, scalars=["loss", "acuracy", "test_loss"], follow=follow))
        assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["scalars[1]", "scalars[2]"])
        assert 'got "acuracy"; did you mean "accuracy"?' in refused.message
    assert await steps_of(metrics(api, name, scalars=["val_accuracy"])) == []


async def test_a_name_that_only_the_trainer_can_know_is_refused_with_the_first_point(api: Api) -> None:
    name = create(api, **OWN, **VALIDATED)
    misspelt = asyncio.create_task(refusal(metrics(api, name, scalars=["val_owm"], follow=True)))
    attempt = api.claim(name)
    report(api, attempt, 0, [1], own=0.5)
    told = await misspelt
    assert (told.code, told.fields) == (Code.INVALID_ARGUMENT, ["scalars[0]"])
    assert "must be one of loss, own, val_loss, val_own" in told.message


async def test_a_name_is_refused_also_when_the_first_point_comes_while_it_is_looked_for(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = create(api, **OWN)
    attempt = api.claim(name)
    first_scalars = api.store.first_scalars

    def overtaken(uid: str) -> Any:
        before = first_scalars(uid)
        if before is None:
            report(api, attempt, 0, [1], own=0.5)
        return before

    monkeypatch.setattr(api.store, "first_scalars", overtaken)
    stream = metrics(api, name, scalars=["own", "owm"])
    told = [set(point.scalars) async for message in stream for point in message.points]
    assert told == [], "what came after the look is for the next reader"
    refused = await refusal(metrics(api, name, scalars=["own", "owm"]))
    assert refused.fields == ["scalars[1]"]


async def test_followers_of_a_job_share_the_reads_of_the_store_and_see_the_same(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = create(api)
    attempt = api.claim(name)
    reads = 0
    scalars_after = api.store.scalars_after

    def counted(*arguments: Any) -> Any:
        nonlocal reads
        reads += 1
        return scalars_after(*arguments)

    monkeypatch.setattr(api.store, "scalars_after", counted)
    followers = [asyncio.create_task(steps_of(metrics(api, name, follow=True))) for _ in range(50)]
    named = asyncio.create_task(steps_of(metrics(api, name, follow=True, scalars=["loss"])))
    while api.store.hub.watcher_count() < 51 or reads < 51:
        await asyncio.sleep(0.01)
    for step in range(1, 6):
        before = reads
        report(api, attempt, step - 1, [step])
        while reads < before + 2:
            await asyncio.sleep(0.01)
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    assert await asyncio.gather(*followers) == [[1, 2, 3, 4, 5]] * 50
    assert await named == [1, 2, 3, 4, 5]
    assert reads < 51 + 6 * 51 / 4, "six changes, of which each would cost a read for each follower"


async def test_a_scalar_that_comes_with_the_epochs_end_is_waited_for(api: Api) -> None:
    name = create(api, **OWN, **VALIDATED)
    reading = asyncio.create_task(steps_of(metrics(api, name, scalars=["val_own"], follow=True)))
    attempt = api.claim(name)
    report(api, attempt, 0, [1, 2], own=0.5)
    report(api, attempt, 2, [2], end=True, own=0.5, val_own=0.25)
    api.end(attempt, Job.TRAINER_RAISED, Job.FAILED)
    assert await reading == [2]


async def test_odd_requests_are_refused(api: Api) -> None:
    one, other = create(api, "one"), create(api, "other")
    report(api, api.claim(one), 0, [1])
    (message,) = [message async for message in metrics(api, one)]
    for odd in ("x", "1", message.cursor + "9" * 30, message.cursor.replace("s", ""), "é.s1", "ab.s-1"):
        refused = await refusal(metrics(api, one, cursor=odd))
        assert (refused.code, refused.fields) == (Code.INVALID_ARGUMENT, ["cursor"])
    assert (await refusal(metrics(api, other, cursor=message.cursor))).code is Code.OUT_OF_RANGE
    assert (await refusal(metrics(api, one, cursor=message.cursor + "0"))).code is Code.OUT_OF_RANGE
    assert (await refusal(metrics(api, one, scalars=["loss"] * 101))).fields == ["scalars"]
    assert (await refusal(metrics(api, one, scalars=[""]))).fields == ["scalars[0]"]
    assert (await refusal(metrics(api, JobName("default", "none")))).code is Code.NOT_FOUND
    assert (await refusal(api.stub.StreamMetrics(service_pb2.StreamMetricsRequest()))).fields == ["name"]


async def test_a_drain_ends_it_unavailable_with_a_cursor_that_stays_good(api: Api) -> None:
    name = create(api)
    report(api, api.claim(name), 0, [1, 2])
    stream = aiter(metrics(api, name, follow=True))
    message = await anext(stream)
    api.training.drain()
    refused = await refusal(stream)
    assert (refused.code, "RetryInfo" in refused.details) == (Code.UNAVAILABLE, True)
    assert api.store.scalars_after(api.store.snapshot(name).uid, int(message.cursor.rpartition("s")[2])).points == []
    while api.store.hub.watcher_count():
        await asyncio.sleep(0.01)


async def test_a_reader_that_does_not_read_has_few_pages_read_for_it(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    name = create(api)
    attempt = api.claim(name)
    # Three to a page.
    report(api, attempt, 0, range(1, 121), **{"x" * 300_000: 1.0})
    read = 0
    scalars_after = api.store.scalars_after

    def counted(*arguments: Any) -> Any:
        nonlocal read
        read += 1
        return scalars_after(*arguments)

    monkeypatch.setattr(api.store, "scalars_after", counted)
    stream = aiter(metrics(api, name))
    first = await anext(stream)
    await asyncio.sleep(0.5)
    # The window of the transport takes a few, the rest stays on the disk.
    assert read < 20
    rest = await steps_of(stream)
    assert [point.global_step for point in first.points] + rest == list(range(1, 121))
    assert read == 40
