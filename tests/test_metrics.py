"""What Prometheus sees: names and labels as promised, and no series of a job beyond its grace."""

import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gradloom.api.listeners import MetricsListener
from gradloom.attempt.v1 import attempt_pb2
from gradloom.job import JobName
from gradloom.jobs.instruments import Instruments, ServerGauges
from gradloom.v1 import job_pb2

NAME = JobName("vision", "digits")
UID = "3f1c"
LABELS = {"project": "vision", "job_id": "digits"}
PER_JOB = {
    "gradloom_job_examples",
    "gradloom_job_steps",
    "gradloom_job_epoch",
    "gradloom_job_scalar",
    "gradloom_job_learning_rate",
    "gradloom_job_gradient_norm",
    "gradloom_job_update_ratio",
    "gradloom_checkpoint_save_seconds",
    "gradloom_checkpoint_bytes",
    "gradloom_trainer_heartbeat_age_seconds",
}


class Clock:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def instruments(clock: Clock) -> Instruments:
    return Instruments(60.0, clock)


def report(beat: int, *, steps: int = 10, step: int = 10) -> attempt_pb2.ReportRequest:
    progress = job_pb2.Progress(epoch=2, global_step=step, scalars={"loss": 0.5, "val_accuracy": 0.9})
    progress.groups["all"].learning_rate = 0.001
    progress.groups["all"].gradient_norm = 2.0
    progress.groups["all"].update_ratio = 0.01
    progress.first_step_duration.FromMilliseconds(1500)
    return attempt_pb2.ReportRequest(
        beat=beat, progress=progress, steps=steps, examples=32 * steps, mean_step_seconds=0.003
    )


def saved(seconds: float, size_bytes: int) -> attempt_pb2.RecordCheckpointRequest:
    checkpoint = attempt_pb2.Checkpoint(size_bytes=size_bytes)
    return attempt_pb2.RecordCheckpointRequest(checkpoint=checkpoint, save_seconds=seconds)


def lived(instruments: Instruments) -> None:
    """One of everything."""
    instruments.job_created()
    instruments.job_claimed(0.2)
    instruments.attempt_reached("assigned", 0.1)
    instruments.attempt_reported(UID, NAME, 1, report(1))
    instruments.checkpoint_recorded(UID, NAME, saved(0.2, 1000))
    instruments.rpc_handled("gradloom.v1.TrainingService", "GetJob", "OK", 0.001)
    counts = {job_pb2.Job.QUEUED: 4}
    gauges = ServerGauges(lambda: counts, lambda: {"free": 1, "claimed": 0}, dict, str)
    instruments.registry.register(gauges)
    instruments.attempt_ended(UID, 1, job_pb2.Job.COMPLETED)


def families(instruments: Instruments) -> dict[str, object]:
    listener = MetricsListener("127.0.0.1:0", instruments.registry)
    try:
        with urllib.request.urlopen(f"http://{listener.address}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        listener.close()
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_no_label_is_named_job_or_instance(instruments: Instruments) -> None:
    lived(instruments)
    for family in families(instruments).values():
        for sample in family.samples:
            assert not {"job", "instance"} & sample.labels.keys(), sample.name


def test_the_promised_names_are_there(instruments: Instruments) -> None:
    lived(instruments)
    instruments.job_finished(UID, job_pb2.Job.SUCCEEDED, job_pb2.Job.COMPLETED)
    assert families(instruments).keys() >= PER_JOB | {
        "gradloom_jobs",
        "gradloom_jobs_created",
        "gradloom_jobs_finished",
        "gradloom_job_attempts",
        "gradloom_queue_wait_seconds",
        "gradloom_job_startup_seconds",
        "gradloom_step_seconds",
        "gradloom_devices",
        "gradloom_disk_full",
        "gradloom_build_info",
        "grpc_server_handled",
        "grpc_server_handling_seconds",
    }


def test_a_jobs_own_series_carry_its_project_and_id(instruments: Instruments) -> None:
    lived(instruments)
    value = instruments.registry.get_sample_value
    assert value("gradloom_job_steps_total", LABELS) == 10
    assert value("gradloom_job_examples_total", LABELS) == 320
    assert value("gradloom_job_epoch", LABELS) == 2
    assert value("gradloom_job_scalar", LABELS | {"name": "val_accuracy"}) == 0.9
    assert value("gradloom_job_learning_rate", LABELS | {"group": "all"}) == 0.001
    assert value("gradloom_job_startup_seconds_sum", {"phase": "first_step"}) == 1.5
    assert value("gradloom_jobs", {"state": "QUEUED"}) == 4
    assert value("gradloom_jobs", {"state": "RUNNING"}) == 0


def test_a_jobs_own_series_live_for_the_grace_after_it_and_counters_for_ever(
    instruments: Instruments, clock: Clock
) -> None:
    lived(instruments)
    instruments.job_finished(UID, job_pb2.Job.SUCCEEDED, job_pb2.Job.COMPLETED)
    clock.now += 59
    assert instruments.registry.get_sample_value("gradloom_job_epoch", LABELS) == 2
    clock.now += 1
    left = families(instruments)
    assert not [sample for name in PER_JOB for sample in left[name].samples]
    finished = {"state": "SUCCEEDED", "reason": "COMPLETED"}
    assert instruments.registry.get_sample_value("gradloom_jobs_finished_total", finished) == 1
    assert instruments.registry.get_sample_value("gradloom_step_seconds_count") == 10


def test_jobs_that_ended_take_no_memory_beyond_the_grace_though_nobody_scrapes(
    instruments: Instruments, clock: Clock
) -> None:
    for number in range(100):
        uid, name = f"uid-{number}", JobName("default", f"job-{number}")
        instruments.attempt_reported(uid, name, 1, report(1))
        instruments.job_finished(uid, job_pb2.Job.SUCCEEDED, job_pb2.Job.COMPLETED)
        clock.now += 10
    # Those of the last minute.
    assert len(instruments.jobs._jobs) == len(instruments.jobs._ended) == 6


def test_the_next_user_of_a_jobs_id_has_series_of_its_own(instruments: Instruments, clock: Clock) -> None:
    lived(instruments)
    instruments.job_finished(UID, job_pb2.Job.SUCCEEDED, job_pb2.Job.COMPLETED)
    for end in (lambda: None, lambda: instruments.job_deleted(UID), lambda: setattr(clock, "now", clock.now + 60)):
        end()
        instruments.attempt_reported("the next", NAME, 1, report(1, steps=0))
        assert instruments.registry.get_sample_value("gradloom_job_steps_total", LABELS) == 0


@pytest.mark.parametrize("end", ["ended", "deleted"])
def test_what_is_on_its_way_when_a_job_ends_revives_none_of_its_series(
    instruments: Instruments, clock: Clock, end: str
) -> None:
    if end == "ended":
        instruments.job_finished(UID, job_pb2.Job.CANCELLED, job_pb2.Job.CANCELLED_BY_USER)
    else:
        instruments.job_deleted(UID)
    clock.now += 30
    instruments.attempt_reported(UID, NAME, 1, report(1))
    instruments.checkpoint_recorded(UID, NAME, saved(0.2, 1000))
    assert not [sample for name in PER_JOB for sample in families(instruments)[name].samples]
    clock.now += 30
    families(instruments)
    assert not instruments.jobs._jobs


def test_each_step_counts_once_in_the_histogram(instruments: Instruments) -> None:
    for beat, steps in ((1, 1000), (2, 500), (3, 0)):
        instruments.attempt_reported(UID, NAME, 1, report(beat, steps=steps))
    value = instruments.registry.get_sample_value
    assert value("gradloom_step_seconds_count") == 1500
    assert value("gradloom_step_seconds_sum") == pytest.approx(4.5)
    assert value("gradloom_step_seconds_bucket", {"le": "0.0025"}) == 0
    assert value("gradloom_step_seconds_bucket", {"le": "0.005"}) == 1500


def test_what_checkpoints_cost_is_told_by_job(instruments: Instruments) -> None:
    value = instruments.registry.get_sample_value
    instruments.attempt_reported(UID, NAME, 1, report(1))
    assert value("gradloom_checkpoint_save_seconds_count", LABELS) is None
    for seconds, size in ((0.2, 1000), (3.0, 2000)):
        instruments.checkpoint_recorded(UID, NAME, saved(seconds, size))
    assert value("gradloom_checkpoint_save_seconds_sum", LABELS) == pytest.approx(3.2)
    assert value("gradloom_checkpoint_save_seconds_bucket", LABELS | {"le": "0.25"}) == 1
    assert value("gradloom_checkpoint_save_seconds_count", LABELS) == 2
    assert value("gradloom_checkpoint_bytes", LABELS) == 2000


def test_a_heartbeat_ages_until_the_counter_moves(instruments: Instruments, clock: Clock) -> None:
    value = instruments.registry.get_sample_value
    instruments.attempt_reported(UID, NAME, 1, report(1))
    clock.now += 7
    assert value("gradloom_trainer_heartbeat_age_seconds", LABELS) == 7
    instruments.attempt_reported(UID, NAME, 1, report(1, steps=0))
    assert value("gradloom_trainer_heartbeat_age_seconds", LABELS) == 7
    instruments.attempt_reported(UID, NAME, 1, report(2))
    assert value("gradloom_trainer_heartbeat_age_seconds", LABELS) == 0


def test_no_heartbeat_is_expected_between_attempts(instruments: Instruments, clock: Clock) -> None:
    value = instruments.registry.get_sample_value
    instruments.attempt_reported(UID, NAME, 1, report(1))
    instruments.attempt_ended(UID, 1, job_pb2.Job.PAUSED_BY_USER)
    # One that was on its way.
    instruments.attempt_reported(UID, NAME, 1, report(2))
    clock.now += 3600
    assert value("gradloom_trainer_heartbeat_age_seconds", LABELS) is None
    instruments.attempt_reported(UID, NAME, 2, report(1))
    assert value("gradloom_trainer_heartbeat_age_seconds", LABELS) == 0


def test_a_second_attempt_counts_on_and_tells_its_first_step_again(instruments: Instruments) -> None:
    instruments.attempt_reported(UID, NAME, 1, report(5))
    instruments.attempt_reported(UID, NAME, 1, report(6))
    instruments.attempt_reported(UID, NAME, 2, report(1))
    value = instruments.registry.get_sample_value
    assert value("gradloom_job_steps_total", LABELS) == 30
    assert value("gradloom_job_startup_seconds_count", {"phase": "first_step"}) == 2
