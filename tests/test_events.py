"""Watchers wake after what they watch has changed, from any thread, without a wake lost or counted twice."""

import asyncio
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

from gradloom.jobs.events import Hub
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, completed, outcome, report

Job = job_pb2.Job


async def test_a_watcher_wakes_for_its_own_job_alone():
    hub = Hub()
    with hub.watch("one") as one, hub.watch("two") as two:
        hub.publish("one")
        assert await one.wait(5)
        assert not await two.wait(0.01)
        assert not await one.wait(0.01)


def test_who_asks_for_it_is_woken_by_a_change_of_any_job():
    hub, woken = Hub(), threading.Event()
    hub.wake_on_any(woken.set)
    assert not woken.is_set()
    for uid in ("one", "two"):
        hub.publish(uid)
        assert woken.is_set()
        woken.clear()


async def test_what_happened_before_the_wait_is_not_lost():
    hub = Hub()
    with hub.watch("one") as watcher:
        hub.publish("one")
        await asyncio.sleep(0)
        assert await watcher.wait(5)


async def test_many_changes_are_one_wake():
    hub = Hub()
    with hub.watch("one") as watcher:
        for _ in range(1000):
            hub.publish("one")
        assert await watcher.wait(5)
        assert not await watcher.wait(0.01)


async def test_publishers_in_other_threads_wake_every_watcher_for_the_last_change():
    hub, values, published = Hub(), [0], 500

    async def follow() -> int:
        with hub.watch("one") as watcher:
            ready.append(True)
            while values[0] < published:
                assert await watcher.wait(30)
        return values[0]

    def publish() -> None:
        for number in range(published):
            values[0] = number + 1
            hub.publish("one")

    ready: list[bool] = []
    followers = [asyncio.create_task(follow()) for _ in range(50)]
    while len(ready) < 50:
        await asyncio.sleep(0)
    await asyncio.to_thread(publish)
    assert await asyncio.gather(*followers) == [published] * 50
    assert hub.watcher_count() == 0


async def test_a_watcher_that_is_cancelled_leaves_nothing_behind():
    hub = Hub()

    async def follow() -> None:
        with hub.watch("one") as watcher:
            await watcher.wait()

    task = asyncio.create_task(follow())
    while not hub.watcher_count():
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert hub.watcher_count() == 0
    hub.publish("one")


def test_a_watcher_whose_loop_is_closed_does_not_disturb_the_publisher():
    hub, entered = Hub(), threading.Event()

    async def enter_and_forget() -> object:
        watcher = hub.watch("one")
        watcher.__enter__()
        entered.set()
        return watcher

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(asyncio.run, enter_and_forget()).result()
    hub.publish("one")
    hub.publish("one")
    assert watcher is not None
    gc.collect()


async def test_every_write_that_touches_a_job_wakes_its_watchers(tmp_path):
    store = STORES["sqlite"](tmp_path)
    desk = Desk(store)
    first = desk.create("one")
    with store.hub.watch(first.uid) as watcher:
        attempt = desk.claim(first.uid)
        for change in (
            lambda: store.record_report(first.uid, 1, report(1), desk.now()),
            lambda: store.mark_stopping(first.uid, 1, Job.SERVER_STOPPED, "why"),
            lambda: store.finish_attempt(first.uid, 1, completed(1), desk.now()),
            lambda: desk.cancel("one"),
            lambda: desk.end(attempt, outcome(Job.CANCELLED_BY_USER), Job.CANCELLED),
        ):
            assert await watcher.wait(5)
            await asyncio.to_thread(change)
        assert await watcher.wait(5)
    store.close()
