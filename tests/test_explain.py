"""Why a job is where it is: the sentences, over a real store and real logs; only what the scheduler knows is given."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from gradloom.errors import NotFoundError
from gradloom.job import MAX_UNCOUNTED_ATTEMPTS
from gradloom.jobs.devices import Devices
from gradloom.jobs.disks import Disks
from gradloom.jobs.explain import Explainer
from gradloom.jobs.records import AttemptRow
from gradloom.jobs.stories import ENDING_LINES
from gradloom.supervisor.attempt_log import LogWriter
from gradloom.v1 import job_pb2, service_pb2
from tests.api_server import api_server, refusal
from tests.stage import Stage
from tests.stores import STORES, Desk, a_job, after, completed, name_of, outcome, report

Job = job_pb2.Job
Progress = job_pb2.Progress


@dataclass
class Known:
    """What the scheduler knows."""

    silent: float = 0.3
    kept: dict[str, str] = field(default_factory=dict)

    def silent_seconds(self, uid: str, number: int) -> float:
        return self.silent

    def backoff_seconds_left(self, uid: str) -> float | None:
        return None

    def queue_seconds_left(self, uid: str) -> float | None:
        return None

    def run_seconds_left(self, uid: str) -> float | None:
        return None

    def kept_devices(self) -> Mapping[str, str]:
        return self.kept


class Place:
    """A store with its devices and disks, and who explains."""

    def __init__(self, directory: Path, devices: Devices):
        self.directory = directory
        self.desk = Desk(STORES["sqlite"](directory))
        self.store = self.desk.store
        self.devices = devices
        self.known = Known()
        self.free_bytes = 1 << 40

    def explain(self, job_id: str) -> service_pb2.ExplainJobResponse:
        disks = Disks({"--artifact-root": self.directory}, lambda path: self.free_bytes)
        explainer = Explainer(self.store, self.devices, self.known, disks, lambda: after(self.desk.seconds))
        return explainer.explain(name_of(job_id))

    def create(self, job_id: str, priority: int = 0, **resources: int) -> str:
        """Returns the uid."""
        job = a_job(**resources)
        job.priority = priority
        return self.desk.submit(job_id, job).uid

    def claim(self, job_id: str, *devices: str) -> AttemptRow:
        self.desk.tokens += 1
        uid = self.store.snapshot(name_of(job_id)).uid
        root = str(self.directory / "artifacts")
        claimed = self.store.claim(
            uid, devices or ["CPU:0"], f"token-{self.desk.tokens}", "server", self.desk.now(), artifact_root=root
        )
        assert claimed is not None
        return claimed

    def report(self, attempt: AttemptRow, phase: int = Progress.TRAINING, **progress: Any) -> None:
        request = report(1, phase)
        request.progress.MergeFrom(Progress(**progress))
        self.store.record_report(attempt.uid, attempt.number, request, self.desk.now())

    def train(self, job_id: str, *devices: str, **progress: Any) -> AttemptRow:
        """Claims a job and has it train."""
        attempt = self.claim(job_id, *devices)
        told = {"epoch": 2, "epochs": 10, "global_step": 1200, "total_steps": 12000} | progress
        self.report(attempt, **told)
        return attempt

    def end(self, attempt: AttemptRow, reason: int, state: int = Job.QUEUED, **observed: Any) -> None:
        how = outcome(reason, error=job_pb2.JobError(**observed) if observed else None)
        self.desk.end(attempt, how, state)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path, Devices((), 1))
    yield made
    made.store.close()


@pytest.fixture
def gpus(tmp_path: Path) -> Iterator[Place]:
    """A server with two GPUs, and one CPU slot beside them."""
    made = Place(tmp_path, Devices(("0", "1"), 1))
    yield made
    made.store.close()


# Jobs that wait


def test_a_job_whose_devices_are_free_is_about_to_start(place: Place) -> None:
    place.create("digits")
    told = place.explain("digits")
    assert told.summary == (
        "digits waits for 1 CPU slot, first in the queue: its devices are free, and it is about to start."
    )
    assert (told.hint, told.job.state, told.job.HasField("spec")) == ("", Job.QUEUED, False)


def test_a_job_is_told_who_holds_its_device_and_how_far_that_is(place: Place) -> None:
    place.create("first")
    place.train("first")
    place.create("digits")
    told = place.explain("digits")
    assert told.summary == (
        "digits waits for 1 CPU slot, first in the queue: the only CPU slot is taken by first "
        "(epoch 2 of 10, step 1,200 of 12,000)."
    )
    frees = "`gradloom cancel` or `gradloom pause` of a job that holds the devices frees them."
    assert told.hint == frees
    place.create("behind")
    moves_up = "`gradloom update behind --priority N` with an N above the others' moves it up; "
    assert place.explain("behind").hint == moves_up + frees
    (holder,) = told.waiting.holders
    assert (holder.name, holder.devices, holder.state) == ("projects/default/jobs/first", "CPU:0", Job.RUNNING)
    assert holder.progress == "epoch 2 of 10, step 1,200 of 12,000"
    assert told.waiting.missing.startswith("The only CPU slot is taken by first ")


def test_a_place_in_the_queue_is_by_priority_then_age_among_jobs_for_devices_of_one_kind(gpus: Place) -> None:
    gpus.create("holder")
    gpus.train("holder", "GPU:0", "GPU:1")
    gpus.create("old", gpus=1)
    gpus.create("wide")
    gpus.create("urgent", priority=5, gpus=2)
    gpus.create("young", gpus=1)
    gpus.create("on-the-cpu", cpu_replicas=2)
    positions = {job_id: gpus.explain(job_id).waiting.position for job_id in ("urgent", "old", "wide", "young")}
    assert positions == {"urgent": 1, "old": 2, "wide": 3, "young": 4}
    assert gpus.explain("on-the-cpu").waiting.position == 1
    ahead = gpus.explain("young").waiting.ahead
    assert [(each.name.rpartition("/")[2], each.priority, each.devices) for each in ahead] == [
        ("urgent", 5, "2 GPUs"),
        ("old", 0, "1 GPU"),
        ("wide", 0, "2 GPUs"),
    ]
    assert gpus.explain("young").summary.startswith("young waits for 1 GPU, number 4 in the queue: ")


def test_of_a_long_queue_the_first_are_told_and_the_position_is_exact(place: Place) -> None:
    for number in range(25):
        place.create(f"job-{number}")
    told = place.explain("job-24").waiting
    assert told.position == 25
    assert [each.name.rpartition("/")[2] for each in told.ahead] == [f"job-{number}" for number in range(20)]


def test_a_job_for_several_gpus_is_told_which_are_free_and_who_has_the_others(gpus: Place) -> None:
    gpus.create("one", gpus=1)
    gpus.train("one", "GPU:1", global_step=0, epoch=0)
    gpus.create("wide", gpus=2)
    told = gpus.explain("wide").waiting
    assert told.demand == "2 GPUs"
    assert told.missing == "1 of 2 GPUs is free; GPU:1 is taken by one (prepares)."


def test_a_device_that_is_held_back_for_a_job_before_it_is_told_with_that_job(gpus: Place) -> None:
    gpus.create("one", gpus=1)
    gpus.train("one", "GPU:1")
    wide = gpus.create("wide", gpus=2)
    gpus.create("small", gpus=1)
    gpus.known.kept = {"GPU:0": wide}
    missing = gpus.explain("small").waiting.missing
    assert missing.startswith("1 of 2 GPUs is free; GPU:0 is kept for wide, which comes first; GPU:1 is taken by one")
    assert "is kept" not in gpus.explain("wide").waiting.missing, "for that one it is no obstacle"


def test_a_job_that_asks_for_more_than_the_server_has_is_told_that_it_cannot_start(place: Place) -> None:
    place.create("wide", gpus=4)
    told = place.explain("wide")
    assert told.summary == (
        "wide waits for 4 GPUs, first in the queue: this server has 0 GPUs, fewer than it asks for, so that it cannot "
        "start here."
    )
    assert told.hint.startswith("`gradloom cancel wide`, and submit it again with fewer devices in spec.resources")


def test_a_job_that_waits_for_a_full_disk_says_so_with_what_to_do(place: Place) -> None:
    place.create("digits")
    place.free_bytes = 0
    told = place.explain("digits")
    assert told.waiting.missing == (
        "Its devices are free, but the disk of the server's --artifact-root is full (0 bytes left)."
    )
    assert told.hint.startswith("`df -h`")


def test_how_long_a_job_waits_is_counted_from_when_it_last_came_into_the_queue(place: Place) -> None:
    place.create("digits")
    place.end(place.claim("digits"), Job.SERVER_STOPPED)
    place.desk.seconds += 90
    waited = place.explain("digits").waiting.waited_duration
    assert (waited.ToSeconds(), place.explain("digits").waiting.HasField("backoff_duration")) == (90, False)


# Jobs that live


def test_an_attempt_whose_trainer_has_not_reported_is_told_as_such(place: Place) -> None:
    place.create("digits")
    place.claim("digits")
    place.desk.seconds += 5
    told = place.explain("digits")
    assert told.summary == "digits starts: attempt 1 has CPU:0, and its trainer has not reported yet."
    assert (told.running.attempt, list(told.running.devices)) == (1, ["CPU:0"])
    assert told.running.running_duration.ToSeconds() == 5
    assert not told.running.HasField("silent_duration")


@pytest.mark.parametrize(
    ("phase", "summary"),
    [
        ("PREPARING", "digits prepares model and data: attempt 1 on CPU:0."),
        ("TRAINING", "digits trains on CPU:0: epoch 2 of 10, step 1,200 of 12,000."),
        ("EVALUATING", "digits evaluates on CPU:0: epoch 2 of 10, step 1,200 of 12,000."),
        ("EXPORTING", "digits has trained and writes its export."),
        (
            "PROVING",
            "digits has trained, and its export is loaded in a clean process and compared with the trained model.",
        ),
    ],
)
def test_each_phase_of_a_running_attempt_has_its_sentence(place: Place, phase: str, summary: str) -> None:
    place.create("digits")
    place.train("digits", phase=Progress.Phase.Value(phase))
    told = place.explain("digits")
    assert (told.summary, told.hint) == (summary, "")
    assert told.running.silent_duration.ToMilliseconds() == 300


def test_who_prepares_for_long_is_told_as_such_with_what_ends_it(place: Place) -> None:
    place.create("digits")
    place.train("digits", phase=Progress.PREPARING)
    place.desk.seconds += 150
    told = place.explain("digits")
    assert told.summary.startswith("digits prepares model and data: attempt 1 on CPU:0; it has not trained yet after ")
    assert "spec.training.stage_timeout_seconds, or at once by `gradloom cancel digits`" in told.hint


def test_a_silent_trainer_a_full_disk_and_a_checkpoint_without_room_are_told(place: Place) -> None:
    place.create("digits")
    place.train("digits")
    place.known.silent = 125.0
    trains = "digits trains on CPU:0: epoch 2 of 10, step 1,200 of 12,000; "
    told = place.explain("digits")
    assert told.summary == trains + "its trainer has said nothing for 2 min 5 s."
    assert told.hint == "`gradloom logs digits -f` shows what it does."
    place.known.silent, place.free_bytes = 0.2, 4096
    told = place.explain("digits")
    assert told.summary == trains + "the disk of the server's --artifact-root is full (4,096 bytes left)."
    trouble = "the checkpoint of step 1100 could not be written: No space left on device"
    place.report(place.store.live_attempts()[0], trouble=trouble, global_step=1200)
    told = place.explain("digits")
    assert told.summary.endswith(f"; {trouble}.")
    assert "`df -h`" in told.hint


def test_an_attempt_that_is_being_ended_is_told_with_why(place: Place) -> None:
    place.create("digits")
    attempt = place.train("digits")
    place.store.mark_stopping(attempt.uid, 1, Job.SERVER_STOPPED, "the server was stopped")
    told = place.explain("digits")
    assert told.summary == (
        "digits is being stopped (SERVER_STOPPED: the server was stopped); attempt 1 saves what it can and ends."
    )
    assert told.running.stopping_reason == Job.SERVER_STOPPED
    place.desk.cancel("digits")
    summary = place.explain("digits").summary
    assert summary == "digits is being cancelled: the processes of attempt 1 are being ended."


def test_a_pause_is_told_until_it_is_over_with_where_the_job_goes_on(place: Place) -> None:
    place.create("digits")
    attempt = place.train("digits")
    place.desk.save(attempt, 1100, epoch=1)
    place.store.pause_job(name_of("digits"), "", None, "", place.desk.now())
    assert place.explain("digits").summary == "digits is being paused: attempt 1 saves a checkpoint and ends."
    place.end(attempt, Job.PAUSED_BY_USER, Job.PAUSED)
    told = place.explain("digits")
    assert told.summary == (
        "digits is paused and holds no devices; it goes on from epoch 1 of 10, step 1,100 of 12,000 when it is resumed."
    )
    assert told.hint == "`gradloom resume digits` puts it back into the queue."
    assert told.attempts[0].consequence == (
        "It does not count against retry.max_attempts. Attempt 2 follows when it is resumed."
    )


# Jobs that have ended


def test_a_success_says_what_was_proven_and_how_to_fetch_it(place: Place) -> None:
    place.create("digits")
    attempt = place.train("digits")
    place.store.finish_attempt(attempt.uid, 1, completed(1), place.desk.now())
    place.desk.end(attempt, outcome(), Job.SUCCEEDED)
    told = place.explain("digits")
    assert told.summary == f"digits succeeded in 1 attempt: ended for reason {Job.COMPLETED}."
    assert told.hint == "`gradloom download digits DEST` fetches the export."
    (ended,) = told.attempts
    assert (ended.reason, ended.consequence) == (Job.COMPLETED, "The export is proven: the job succeeded.")


def test_a_cancelled_job_says_whether_it_had_started(place: Place) -> None:
    place.create("early")
    place.desk.cancel("early")
    assert place.explain("early").summary == "early was cancelled by a user before it had started."
    place.create("late")
    attempt = place.train("late")
    place.desk.cancel("late")
    place.end(attempt, Job.CANCELLED_BY_USER, Job.CANCELLED)
    told = place.explain("late")
    assert told.summary == "late was cancelled by a user in attempt 1."
    assert told.attempts[0].consequence == "A user cancelled the job; nothing follows."
    place.create("between")
    place.end(place.train("between"), Job.TRAINER_LOST)
    place.desk.cancel("between")
    assert place.explain("between").summary == "between was cancelled by a user after attempt 1."


def test_a_failure_tells_reason_exception_hint_and_why_nothing_follows(place: Place) -> None:
    place.create("digits")
    place.end(place.train("digits"), Job.TRAINER_LOST)
    place.end(place.train("digits"), Job.STEP_HUNG)
    place.end(place.train("digits"), Job.LOSS_NOT_FINITE, Job.FAILED, exception_type="a.B", log_lines=["last"])
    told = place.explain("digits")
    assert (
        told.summary == f"digits failed after 3 attempts with LOSS_NOT_FINITE: ended for reason {Job.LOSS_NOT_FINITE}."
    )
    assert "Lower the learning rate" in told.hint
    assert [each.attempt for each in told.attempts] == [3, 2, 1]
    newest = told.attempts[0]
    assert (newest.exception_type, list(newest.log_lines)) == ("a.B", ["last"])
    assert [each.consequence for each in told.attempts] == [
        "LOSS_NOT_FINITE is never tried again: another attempt would end the same way.",
        "It counts: 1 of 3 (retry.max_attempts). Attempt 3 followed.",
        "It does not count against retry.max_attempts. Attempt 2 followed.",
    ]


def test_the_last_attempt_that_may_count_says_so(place: Place) -> None:
    place.create("digits")
    for state in (Job.QUEUED, Job.QUEUED, Job.FAILED):
        place.end(place.train("digits"), Job.STEP_HUNG, state)
    consequence = place.explain("digits").attempts[0].consequence
    assert consequence == "It was the last of the 3 attempts that may count (retry.max_attempts)."


def test_what_user_code_raised_before_the_first_step_is_told_as_not_worth_another_attempt(place: Place) -> None:
    place.create("digits")
    place.end(place.claim("digits"), Job.USER_CODE_RAISED, Job.FAILED)
    consequence = place.explain("digits").attempts[0].consequence
    assert consequence == "It was raised before the attempt's first step: another attempt would raise it again."


def test_a_reason_that_the_spec_does_not_want_retried_says_so(place: Place) -> None:
    job = a_job()
    job.spec.retry.retry_on.append("KILLED_BY_SIGNAL")
    place.desk.submit("digits", job)
    place.end(place.train("digits"), Job.STEP_HUNG, Job.FAILED)
    consequence = place.explain("digits").attempts[0].consequence
    assert consequence == "It is not tried again, because spec.retry.retry_on does not name STEP_HUNG."


def test_the_last_attempt_that_may_be_lost_says_so(place: Place) -> None:
    place.create("digits")
    for state in (*[Job.QUEUED] * (MAX_UNCOUNTED_ATTEMPTS - 1), Job.FAILED):
        place.end(place.claim("digits"), Job.TRAINER_LOST, state)
    lost = "It was the last of 20 attempts that the server or the machine lost without a new checkpoint; none follows."
    assert place.explain("digits").attempts[0].consequence == lost


def test_an_ended_attempt_of_a_job_that_waits_again_says_that_another_follows(place: Place) -> None:
    place.create("digits")
    place.end(place.train("digits"), Job.OUT_OF_HOST_MEMORY)
    (ended,) = place.explain("digits").attempts
    assert (
        ended.consequence == "It counts: 1 of 3 (retry.max_attempts). Attempt 2 follows when devices are free for it."
    )


def test_of_many_attempts_the_newest_twenty_are_told(place: Place) -> None:
    place.create("digits")
    for _ in range(23):
        place.end(place.claim("digits"), Job.TRAINER_LOST)
    place.claim("digits")
    assert [each.attempt for each in place.explain("digits").attempts] == list(range(23, 3, -1))


def test_a_job_that_is_not_there_is_not_found(place: Place) -> None:
    with pytest.raises(NotFoundError):
        place.explain("nobody")


# What the scheduler knows, from the scheduler itself


@pytest.fixture
def staged(tmp_path: Path) -> Iterator[Callable[..., Stage]]:
    """Opens a stage with so many GPUs."""
    stages: list[Stage] = []

    def make(gpus: int = 0) -> Stage:
        stages.append(Stage(tmp_path, Devices(tuple(map(str, range(gpus))), 1)))
        return stages[-1]

    yield make
    for stage in stages:
        stage.store.close()


def explain(stage: Stage, job_id: str) -> service_pb2.ExplainJobResponse:
    clock = lambda: after(stage.desk.seconds)  # noqa: E731
    return Explainer(stage.store, stage.devices, stage.scheduler, stage.disks, clock).explain(name_of(job_id))


def test_a_backoff_is_told_with_what_is_left_of_it(staged: Callable[..., Stage]) -> None:
    stage = staged()
    stage.submit("digits", first_backoff=60)
    stage.tick()
    stage.end("digits", exit_code=1)
    stage.tick()
    stage.tick(21.0)
    told = explain(stage, "digits")
    assert told.summary == (
        "digits waits for 1 CPU slot, first in the queue: attempt 1 ended with TRAINER_EXITED, and the next one may "
        "start in 40 s."
    )
    assert told.waiting.backoff_duration.ToSeconds() == 40
    assert told.hint.startswith("Something ended the process without an exception")
    stage.tick(60.0)
    assert not explain(stage, "digits").HasField("waiting")


def test_a_device_that_is_held_back_is_told_by_the_job_that_it_is_for(staged: Callable[..., Stage]) -> None:
    stage = staged(gpus=2)
    stage.submit("one", gpus=1)
    stage.tick()
    stage.submit("wide", gpus=2)
    stage.tick(70.0)
    stage.submit("small", gpus=1)
    stage.tick()
    missing = explain(stage, "small").waiting.missing
    assert missing.startswith("1 of 2 GPUs is free; GPU:1 is kept for wide, which comes first; GPU:0 is taken by one")


def test_limits_are_told_with_what_is_left_of_them(staged: Callable[..., Stage]) -> None:
    stage = staged()
    stage.submit("first", max_run=3600)
    stage.submit("second", max_queue=600)
    stage.tick(61.0)
    stage.report("first")
    told = explain(stage, "first").summary
    assert told.endswith("; it may hold its devices for another 59 min (max_run_duration).")
    told = explain(stage, "second").summary
    assert told.endswith("; it fails if it has not started in 8 min 59 s (max_queue_duration).")


def test_while_a_disk_is_full_no_attempt_is_spent_and_events_and_explanation_say_so(
    staged: Callable[..., Stage],
) -> None:
    stage = staged()
    stage.free_bytes = 0
    stage.submit("digits")
    stage.tick(30.0)
    full = "the disk of the server's --artifact-root is full (0 bytes left)"
    assert explain(stage, "digits").waiting.missing == f"Its devices are free, but {full}."
    notices = [event.message for event in stage.store.events_after(stage.job("digits").uid, 0) if event.message]
    assert notices == [f"waits, because {full}"], "once"
    stage.free_bytes = 1 << 40
    stage.tick()
    assert (stage.states(), stage.job("digits").attempt_count) == ({"digits": "STARTING"}, 1)


# On the wire


async def test_the_log_cursor_is_one_that_streaming_logs_goes_on_from(tmp_path: Path) -> None:
    async with api_server(tmp_path) as api:
        name = api.create()
        attempt = api.claim(name)
        log = LogWriter(attempt.directory / "log" / "attempt.log", file_bytes=5_000, total_bytes=100_000)
        log.write(b"".join(b"line %d\n" % number for number in range(2_000)))
        api.end(attempt, Job.TRAINER_EXITED, Job.FAILED)
        told = await api.stub.ExplainJob(service_pb2.ExplainJobRequest(name=str(name)))
        (ended,) = told.attempts
        assert list(ended.log_lines) == [f"line {number}" for number in range(1_990, 2_000)]
        request = service_pb2.StreamLogsRequest(name=str(name), cursor=ended.log_cursor)
        streamed = [line async for message in api.stub.StreamLogs(request) for line in message.lines]
        assert streamed == [f"line {number}" for number in range(2_000 - ENDING_LINES, 2_000)]
        assert ended.log_offset_bytes == sum(len(f"line {number}\n") for number in range(2_000 - ENDING_LINES))


async def test_odd_names_are_refused_and_unknown_ones_not_found(tmp_path: Path) -> None:
    async with api_server(tmp_path) as api:
        refused = await refusal(api.stub.ExplainJob(service_pb2.ExplainJobRequest(name="x")))
        assert (refused.code, refused.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["name"])
        request = service_pb2.ExplainJobRequest(name=str(name_of("nobody")))
        assert (await refusal(api.stub.ExplainJob(request))).code is grpc.StatusCode.NOT_FOUND
