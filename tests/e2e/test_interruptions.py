"""Processes killed and servers stopped at awkward moments: no job is lost, none runs twice, nothing is left.

What goes on after an interruption ends with the same bits as what was left alone.
"""

import os
import signal
import subprocess

import pytest

from gradloom.v1 import job_pb2

from .server import Server, digits_job, is_running, processes_mentioning, serve_command, wait_until

LONG = 400
Progress = job_pb2.Progress


def random_job(**checkpoint):
    """A few seconds of training, whose result also depends on random numbers that are drawn meanwhile."""
    job = digits_job(epochs=8)
    job["spec"]["model"]["layers"].insert(4, {"type": "Dropout", "config": {"rate": 0.2}})
    checkpoint = checkpoint or {"every_seconds": 0.5}
    job["spec"]["training"] |= {"steps_per_epoch": 900, "scalars_every_steps": 40, "checkpoint": checkpoint}
    return job


@pytest.fixture(scope="module")
def undisturbed(servers_of_module: Server) -> dict[str, bytes]:
    """The final state of `random_job()` when nothing happens to it."""
    with servers_of_module.client() as client:
        job = client.wait(client.submit(random_job()).name, timeout=240)
    assert job.state == job_pb2.Job.SUCCEEDED, job
    assert job.attempt_count == 1
    state = servers_of_module.final_state(job)
    recorded = [key for key in state if key.startswith("scalars/")]
    assert len(recorded) == 8 + 8 * 900 // 40
    return state


def start_training(server: Server, client, document):
    job = client.submit(document)
    wait_until(lambda: client.get(job.name).progress.phase == Progress.TRAINING, 120, "training starts")
    return client.get(job.name)


def wait_for_checkpoint(client, job, attempt: int = 1) -> int:
    """Returns once the attempt has put a checkpoint on record and trained on; returns the checkpoint's step."""
    before = client.get(job.name).progress.checkpoint_step

    def trained_on() -> int:
        progress = client.get(job.name).progress
        saved = progress.attempt == attempt and before < progress.checkpoint_step < progress.global_step
        return progress.checkpoint_step if saved else 0

    return wait_until(trained_on, 120, f"attempt {attempt} saves a checkpoint and trains on")


def assert_undisturbed(server: Server, client, job, undisturbed, resumed_at: list[int]):
    """Waits for the job's success: it went on from those steps, told each epoch's end, and has the same final state."""
    job = client.wait(job.name, timeout=240)
    assert job.state == job_pb2.Job.SUCCEEDED, job
    uid_part = next(iter(client.watch(job.name))).cursor.rpartition(".")[0]
    events = [message.event for message in client.watch(job.name, cursor=f"{uid_part}.0")]
    notices = [event.message for event in events if event.kind == job_pb2.Event.NOTICE]
    resumed = [notice for notice in notices if notice.startswith("resumed from step")]
    assert [int(notice.split()[3]) for notice in resumed] == resumed_at
    ended = [event for event in events if event.kind == job_pb2.Event.EPOCH_ENDED]
    told = {event.epoch: dict(event.scalars) for event in ended}
    assert sorted(told) == list(range(1, job.progress.epochs + 1))
    assert all(event.scalars == told[event.epoch] for event in ended), "what is told again is the same"
    state = server.final_state(job)
    assert state.keys() == undisturbed.keys()
    assert [key for key, array in state.items() if array != undisturbed[key]] == []


def test_a_job_survives_kill_9_of_the_server_and_is_followed_again(server):
    with server.client() as client:
        job = start_training(server, client, digits_job(LONG))
        trainer = server.trainer_pid(job.uid, 1)
    server.kill()
    assert is_running(trainer)
    server.start()
    with server.client() as client:
        assert server.trainer_pid(job.uid, 1) == trainer
        step = client.get(job.name).progress.global_step
        wait_until(lambda: client.get(job.name).progress.global_step > step, 30, "progress is followed again")
        job = client.wait(job.name, timeout=240)
        assert job.state == job_pb2.Job.SUCCEEDED, job
        attempts = list(client.attempts(job.name))
        assert [(attempt.number, attempt.exit_code) for attempt in attempts] == [(1, 0)], "never twice"
        log = [line.text for line in client.logs(job.name)]
        ended = [line for line in log if f"/{LONG}" in line and "epoch" in line]
        assert len(ended) == len(set(ended)) == LONG, "the log is whole"


def test_kill_9_of_trainer_and_server_is_known_with_its_signal_and_the_job_goes_on(server, undisturbed):
    with server.client() as client:
        job = start_training(server, client, random_job())
        trainer = server.trainer_pid(job.uid, 1)
        wait_for_checkpoint(client, job)
    server.kill()
    os.kill(trainer, signal.SIGKILL)
    server.start()
    with server.client() as client:
        saved = client.get(job.name).progress.checkpoint_step
        assert_undisturbed(server, client, job, undisturbed, [saved])
        first, second = client.attempts(job.name)
        assert (first.reason, first.signal, first.counted) == (job_pb2.Job.KILLED_BY_SIGNAL, 9, True)
        assert second.reason == job_pb2.Job.COMPLETED


def test_kill_9_of_the_trainer_while_it_trains_and_again_while_it_exports(server, undisturbed):
    with server.client() as client:
        job = start_training(server, client, random_job())
        wait_for_checkpoint(client, job)
        os.kill(server.trainer_pid(job.uid, 1), signal.SIGKILL)
        wait_until(lambda: client.get(job.name).attempt_count == 2, 60, "a second attempt follows")
        first = client.get(job.name).progress.checkpoint_step

        def exports() -> bool:
            progress = client.get(job.name).progress
            exporting = progress.attempt == 2 and progress.phase in (Progress.EXPORTING, Progress.PROVING)
            # The final checkpoint is put on record while the export is being written.
            return exporting and progress.checkpoint_step == progress.total_steps

        wait_until(exports, 120, "the second attempt exports")
        os.kill(server.trainer_pid(job.uid, 2), signal.SIGKILL)
        assert_undisturbed(server, client, job, undisturbed, [first, client.get(job.name).progress.total_steps])
        assert [attempt.counted for attempt in client.attempts(job.name)] == [True, True, False]
        events = [message.event for message in client.watch(job.name, from_start=True)]
        trained = {event.attempt for event in events if event.kind == job_pb2.Event.EPOCH_ENDED}
        # The first may be killed before its first epoch ends.
        assert trained in ({1, 2}, {2}), "the third one exports alone"


def test_a_job_whose_trainer_always_dies_fails_after_its_attempts(server):
    with server.client() as client:
        job = client.submit(digits_job(epochs=100_000, retry={"max_attempts": 2}))
        for attempt in (1, 2):
            wait_until(lambda n=attempt: client.get(job.name).attempt_count == n, 60, f"attempt {attempt}")
            wait_until(
                lambda n=attempt: (p := client.get(job.name).progress).phase == Progress.TRAINING and p.attempt == n,
                120,
                "training starts",
            )
            os.kill(server.trainer_pid(job.uid, attempt), signal.SIGKILL)
        job = client.wait(job.name, timeout=30)
        assert (job.state, job.state_reason) == (job_pb2.Job.FAILED, job_pb2.Job.KILLED_BY_SIGNAL)
        assert "9" in job.state_message or "SIGKILL" in job.state_message


def test_kill_9_of_the_supervisor_ends_its_trainer_and_the_job_goes_on(server, undisturbed):
    with server.client() as client:
        job = start_training(server, client, random_job())
        trainer = server.trainer_pid(job.uid, 1)
        wait_for_checkpoint(client, job)
        os.kill(server.supervisor_pid(job.uid, 1), signal.SIGKILL)
        wait_until(lambda: client.get(job.name).attempt_count == 2, 60, "a second attempt follows")
        assert not is_running(trainer)
        saved = client.get(job.name).progress.checkpoint_step
        assert_undisturbed(server, client, job, undisturbed, [saved])
        first, second = client.attempts(job.name)
        assert (first.reason, first.counted) == (job_pb2.Job.TRAINER_LOST, False)
        assert second.reason == job_pb2.Job.COMPLETED


def test_sigterm_drains_and_the_job_goes_on_from_where_it_was_after_the_next_start(server, undisturbed):
    with server.client() as client:
        job = start_training(server, client, random_job(every_seconds=3600))
        step = wait_until(lambda: client.get(job.name).progress.global_step, 30, "the first steps")
    assert server.terminate() == 0
    assert not processes_mentioning(str(server.data_directory)), "nothing is left"
    server.start()
    with server.client() as client:
        saved = client.get(job.name).progress.checkpoint_step
        assert saved >= step, "saved because of the drain"
        assert_undisturbed(server, client, job, undisturbed, [saved])
        first, second = client.attempts(job.name)
        assert (first.reason, first.counted) == (job_pb2.Job.SERVER_STOPPED, False)
        assert second.reason == job_pb2.Job.COMPLETED


def test_a_job_that_is_paused_and_later_makes_room_for_another_ends_as_if_nothing_had_happened(server, undisturbed):
    with server.client() as client:
        document = random_job(every_seconds=3600)
        document["spec"]["scheduling"] = {"preemptible": True}
        job = start_training(server, client, document)
        wait_until(lambda: client.get(job.name).progress.global_step, 30, "the first steps")
        client.pause(job.name)
        wait_until(lambda: client.get(job.name).state == job_pb2.Job.PAUSED, 30, "its devices are given back")
        paused_at = client.get(job.name).progress.checkpoint_step
        assert not is_running(server.trainer_pid(job.uid, 1))
        client.resume(job.name)
        wait_until(lambda: client.get(job.name).progress.global_step > paused_at, 60, "it trains on")
        urgent = client.submit(digits_job(epochs=1) | {"priority": 1})
        wait_until(lambda: client.get(job.name).state == job_pb2.Job.QUEUED, 30, "it makes room")
        saved = client.get(job.name).progress.checkpoint_step
        assert saved > paused_at, "saved because it made room"
        assert client.wait(urgent.name, timeout=120).state == job_pb2.Job.SUCCEEDED
        assert_undisturbed(server, client, job, undisturbed, [paused_at, saved])
        ends = [(attempt.reason, attempt.counted) for attempt in client.attempts(job.name)]
        assert ends[:2] == [(job_pb2.Job.PAUSED_BY_USER, False), (job_pb2.Job.PREEMPTED, False)]


def test_a_second_server_on_the_same_data_directory_is_refused_and_told_who_holds_it(server):
    second = subprocess.run(
        serve_command(server.data_directory),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode != 0
    assert server.process is not None
    assert str(server.process.pid) in second.stderr
    with server.client() as client:
        # It still answers.
        list(client.list())
