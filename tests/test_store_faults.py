"""What the store does when things go wrong: many at once, kills, full and read-only disks, foreign databases."""

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from gradloom.errors import LimitExceededError, ServerUnavailableError
from gradloom.jobs import database
from gradloom.jobs.database import StoreUnusableError
from gradloom.jobs.schema import HEAD
from gradloom.jobs.store import Store
from gradloom.v1 import job_pb2
from tests.stores import STORES, Desk, a_job, after, epoch_ended, name_of, outcome, report, sqlite_url

Job = job_pb2.Job
ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("kind", STORES)
def test_many_threads_write_and_read_at_once_and_nothing_is_lost(kind, tmp_path):
    store = STORES[kind](tmp_path)
    writers, jobs_each, stop = 6, 12, threading.Event()

    def write(writer: int) -> None:
        for number in range(jobs_each):
            job = store.create_job(name_of(f"w{writer}-{number}"), a_job(), None, "", after(number))
            attempt = store.claim(job.uid, ["CPU:0"], job.uid, "server", after(number), artifact_root="/a")
            assert attempt is not None
            look = report(1)
            look.events.append(epoch_ended(1, loss=0.5))
            store.record_report(job.uid, 1, look, after(number))
            store.end_attempt(job.uid, 1, outcome(Job.TRAINER_RAISED), Job.FAILED, after(number))

    def read() -> int:
        pages = 0
        while not stop.is_set():
            listed, token = store.list_jobs("default", 10)
            for job in listed:
                numbers = [event.number for event in store.events_after(job.uid, 0)]
                assert numbers == list(range(1, len(numbers) + 1))
            pages += 1
            assert not token or store.list_jobs("default", 10, token)[0]
            store.renew_leases("server", pages)
        return pages

    with ThreadPoolExecutor(writers + 3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        writing = [pool.submit(write, writer) for writer in range(writers)]
        try:
            for future in writing:
                future.result(timeout=120)
        finally:
            stop.set()
        assert all(future.result(timeout=60) > 0 for future in readers)
    assert store.count_jobs_by_state()[Job.FAILED] == writers * jobs_each
    store.close()


def test_two_claims_of_one_job_at_the_same_time_give_one_attempt(tmp_path):
    store = STORES["sqlite"](tmp_path)
    other_server = STORES["sqlite"](tmp_path)
    uids = [store.create_job(name_of(f"j{number}"), a_job(), None, "", after(0)).uid for number in range(20)]

    def claim_all(which: int) -> int:
        mine = [store, other_server][which % 2]
        claims = [
            mine.claim(uid, ["CPU:0"], f"{which}-{uid}", f"server-{which}", after(1), artifact_root="/a")
            for uid in uids
        ]
        return sum(claim is not None for claim in claims)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(claim_all, range(4))) == len(uids)
    assert len(store.live_attempts()) == len(uids)
    other_server.close()
    store.close()


WRITER = """
import sys
from tests.stores import *
store = Store.open(sys.argv[1])
number = 0
while True:
    job = store.create_job(name_of(f"{sys.argv[2]}-{number}"), a_job(), None, "", after(number))
    attempt = store.claim(job.uid, ["CPU:0"], job.uid, "server", after(number), artifact_root="/a")
    store.record_report(job.uid, 1, report(1, step=number), after(number))
    store.record_checkpoint(job.uid, 1, a_checkpoint(number), after(number))
    print(job.uid, flush=True)
    number += 1
"""


def start_writer(tmp_path: Path, name: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-c", WRITER, sqlite_url(tmp_path), name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "service"},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_every_acknowledged_job_survives_a_kill_of_its_writer(tmp_path):
    acknowledged: list[str] = []
    for round_number in range(3):
        writer = start_writer(tmp_path, f"r{round_number}")
        assert writer.stdout is not None
        acknowledged += [writer.stdout.readline().strip() for _ in range(5 + 7 * round_number)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += writer.stdout.read().split("\n")[:-1]  # What follows the last line end is half a line.
        writer.wait()
        writer.stdout.close()

        store = Store.open(sqlite_url(tmp_path))
        for uid in acknowledged:
            snapshot = store.snapshot_by_uid(uid)
            assert snapshot.job.state == Job.RUNNING
            assert snapshot.job.progress.attempt == 1
            assert len(store.checkpoints_of(uid)) == 1
            assert [event.number for event in store.events_after(uid, 0)] == [1, 2, 3]
        store.close()
        with sqlite3.connect(tmp_path / "gradloom.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        connection.close()


FULL_DISK = """
import sys
from gradloom.errors import LimitExceededError, ServerUnavailableError
from tests.stores import *
store = Store.open(sys.argv[1])
attempt = Desk(store).run("running")
job, stored = a_job(), 1
job.spec.model.keras_config = "x" * 100_000
try:
    while True:
        store.create_job(name_of(f"j{stored}"), job, None, "", after(0))
        stored += 1
except LimitExceededError as error:
    assert error.subject == "disk", error.subject
    print(stored, error)
assert len(store.list_jobs("default", 1000)[0]) == stored
look = report(2)
look.events.append(epoch_ended(1, **{"x" * 100_000: 0.5}))
try:
    store.record_report(attempt.uid, 1, look, after(1))
except ServerUnavailableError as error:
    print(error)
try:
    store.record_checkpoint(attempt.uid, 1, a_checkpoint(10, path=f"checkpoints/{'x' * 100_000}.ckpt"), after(1))
except ServerUnavailableError as error:
    print(error)
assert store.checkpoints_of(attempt.uid) == []
store.close()
"""


def test_a_full_disk_is_told_and_what_was_acknowledged_is_still_there(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = f'mount -t tmpfs -o size=3m tmpfs {small} && exec "$@"'
    isolated = ["unshare", "--mount", "--map-root-user", "sh", "-c", mount, "sh"]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    writing = subprocess.run(
        [*isolated, sys.executable, "-c", FULL_DISK, sqlite_url(small)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "service"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert writing.returncode == 0, writing.stderr
    assert writing.stdout.count("the disk of the server's --data-dir is full (less than 1 MiB left") == 3
    assert int(writing.stdout.split()[0]) > 0


def test_a_disk_that_refuses_a_write_is_told_and_leaves_the_job_out(tmp_path):
    store = STORES["sqlite"](tmp_path)
    first = store.create_job(name_of("one"), a_job(), None, "", after(0))
    large = a_job()
    large.spec.model.keras_config = "x" * 1_000_000
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(ServerUnavailableError, match="nothing was stored"):
            store.create_job(name_of("two"), large, None, "", after(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert store.list_jobs("default")[0][0].uid == first.uid
    store.create_job(name_of("two"), large, None, "", after(0))
    store.close()


def test_a_database_that_another_process_holds_for_long_is_told_as_unavailable(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_SECONDS", 0.1)
    store = STORES["sqlite"](tmp_path)
    holder = sqlite3.connect(tmp_path / "gradloom.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServerUnavailableError, match="locked"):
        store.create_job(name_of("one"), a_job(), None, "", after(0))
    assert store.list_jobs("default") == ([], "")
    holder.execute("ROLLBACK")
    holder.close()
    store.create_job(name_of("one"), a_job(), None, "", after(0))
    store.close()


def a_read_only_database(directory: Path) -> str:
    STORES["sqlite"](directory).close()
    return f"sqlite:///file:{directory / 'gradloom.db'}?mode=ro&uri=true"


def a_newer_database(directory: Path) -> str:
    STORES["sqlite"](directory).close()
    with sqlite3.connect(directory / "gradloom.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    return sqlite_url(directory)


def a_foreign_database(directory: Path) -> str:
    with sqlite3.connect(directory / "gradloom.db") as connection:
        connection.execute("CREATE TABLE recipes (title TEXT)")
    connection.close()
    return sqlite_url(directory)


def a_text_file(directory: Path) -> str:
    (directory / "gradloom.db").write_text("no database" * 1000)
    return sqlite_url(directory)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (a_read_only_database, "readonly database"),
        (a_newer_database, f"newer Gradloom.*'9999'.*'{HEAD}'"),
        (a_foreign_database, "not Gradloom's: it holds recipes"),
        (a_text_file, "not a database"),
        (lambda directory: sqlite_url(directory / "missing"), "unable to open"),
        (lambda _: "sqlite://", "must be a file"),
        (lambda _: "postgresql://user:secret@host/name", r"must begin with sqlite.*\*\*\*"),
        (lambda _: "nonsense", "cannot read the database URL"),
    ],
)
def test_a_database_that_cannot_be_used_is_refused_with_the_cause(
    make: Callable[[Path], str], told: str, tmp_path: Path
):
    with pytest.raises(StoreUnusableError, match=told):
        Store.open(make(tmp_path))


def test_a_refused_database_is_left_as_it_was(tmp_path):
    url = a_newer_database(tmp_path)
    before = (tmp_path / "gradloom.db").read_bytes()
    with pytest.raises(StoreUnusableError):
        Store.open(url)
    assert (tmp_path / "gradloom.db").read_bytes() == before


def test_more_readers_than_connections_wait_their_turn(tmp_path):
    store = STORES["sqlite"](tmp_path)
    Desk(store).create("one")
    with ThreadPoolExecutor(3 * database.READERS) as pool:
        results = list(pool.map(lambda _: store.get_job(name_of("one")).state, range(300)))
    assert results == [Job.QUEUED] * 300
    store.close()


def test_readers_that_wait_too_long_are_told_so_and_not_left_hanging(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "READ_TIMEOUT_SECONDS", 0.1)
    store = STORES["sqlite"](tmp_path)
    Desk(store).create("one")
    with ExitStack() as held:
        for _ in range(database.READERS):
            held.enter_context(store._database.read())
        with pytest.raises(LimitExceededError, match="too many reads"):
            store.get_job(name_of("one"))
    assert store.get_job(name_of("one")).state == Job.QUEUED
    store.close()


def test_a_progress_report_does_not_wait_for_the_disk_and_an_event_does(tmp_path):
    """Counts the fsyncs that the kernel sees."""
    script = """
import sys
from tests.stores import *
store = Store.open(sys.argv[1])
desk = Desk(store)
attempt = desk.run("one")
looks = [report(beat, step=beat) for beat in range(2, 22)]
if sys.argv[2] == "events":
    for index, look in enumerate(looks):
        look.event_offset = index
        look.events.append(epoch_ended(index + 1, loss=1.0))
import os
os.write(1, b"counted from here")
for look in looks:
    store.record_report(attempt.uid, 1, look, desk.now())
os.write(1, b"to here")
"""
    if subprocess.run(["which", "strace"], capture_output=True, check=False).returncode:
        pytest.skip("strace is not installed")
    counts = {}
    for kind in ("progress", "events"):
        directory = tmp_path / kind
        directory.mkdir()
        traced = subprocess.run(
            [
                "strace",
                "-f",
                "-e",
                "trace=fsync,fdatasync,write",
                sys.executable,
                "-c",
                script,
                sqlite_url(directory),
                kind,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": "service"},
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        between = traced.split("counted from here")[1].split("to here")[0]
        counts[kind] = between.count("fsync(") + between.count("fdatasync(")
    assert counts["progress"] <= 2
    assert counts["events"] >= 20
