"""Processes killed and servers stopped at awkward moments: no job is lost, none runs twice, nothing is left."""

import os
import signal
import subprocess

from gradloom.v1 import job_pb2

from .server import Server, digits_job, is_running, processes_mentioning, serve_command, wait_until

LONG = 800


def start_training(server: Server, client, epochs: int = LONG):
    job = client.submit(digits_job(epochs=epochs))
    wait_until(lambda: client.get(job.name).progress.phase == job_pb2.Progress.TRAINING, 120, "training starts")
    return client.get(job.name)


def test_a_job_survives_kill_9_of_the_server_and_is_followed_again(new_server):
    server = new_server()
    with server.client() as client:
        job = start_training(server, client)
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


def test_a_trainer_that_dies_while_no_server_lives_is_known_with_its_signal(new_server):
    server = new_server()
    with server.client() as client:
        job = start_training(server, client)
        trainer = server.trainer_pid(job.uid, 1)
    server.kill()
    os.kill(trainer, signal.SIGKILL)
    server.start()
    with server.client() as client:
        wait_until(lambda: client.get(job.name).attempt_count == 2, 60, "a second attempt follows")
        first = next(iter(client.attempts(job.name)))
        assert (first.reason, first.signal) == (job_pb2.Job.KILLED_BY_SIGNAL, 9)
        assert first.counted
        client.cancel(job.name)
        assert client.wait(job.name, timeout=30).state == job_pb2.Job.CANCELLED


def test_a_job_whose_trainer_always_dies_fails_after_its_attempts(new_server):
    server = new_server()
    with server.client() as client:
        job = client.submit(digits_job(epochs=100_000, retry={"max_attempts": 2}))
        for attempt in (1, 2):
            wait_until(lambda n=attempt: client.get(job.name).attempt_count == n, 60, f"attempt {attempt}")
            wait_until(
                lambda n=attempt: (
                    (p := client.get(job.name).progress).phase == job_pb2.Progress.TRAINING and p.attempt == n
                ),
                120,
                "training starts",
            )
            os.kill(server.trainer_pid(job.uid, attempt), signal.SIGKILL)
        job = client.wait(job.name, timeout=30)
        assert (job.state, job.state_reason) == (job_pb2.Job.FAILED, job_pb2.Job.KILLED_BY_SIGNAL)
        assert "9" in job.state_message or "SIGKILL" in job.state_message


def test_kill_9_of_the_supervisor_ends_its_trainer_and_the_job_starts_again(new_server):
    server = new_server()
    with server.client() as client:
        job = start_training(server, client, epochs=400)
        trainer = server.trainer_pid(job.uid, 1)
        os.kill(server.supervisor_pid(job.uid, 1), signal.SIGKILL)
        wait_until(lambda: client.get(job.name).attempt_count == 2, 60, "a second attempt follows")
        assert not is_running(trainer)
        job = client.wait(job.name, timeout=120)
        assert job.state == job_pb2.Job.SUCCEEDED
        first, second = client.attempts(job.name)
        assert first.reason == job_pb2.Job.TRAINER_LOST
        assert not first.counted
        assert second.reason == job_pb2.Job.COMPLETED


def test_sigterm_drains_and_the_job_runs_again_after_the_next_start(new_server, tmp_path):
    server = new_server()
    with server.client() as client:
        job = start_training(server, client, epochs=400)
    assert server.terminate() == 0
    assert not processes_mentioning(str(tmp_path)), "nothing is left"
    server.start()
    with server.client() as client:
        job = client.wait(job.name, timeout=120)
        assert job.state == job_pb2.Job.SUCCEEDED
        first, second = client.attempts(job.name)
        assert (first.reason, first.counted) == (job_pb2.Job.SERVER_STOPPED, False)
        assert second.reason == job_pb2.Job.COMPLETED


def test_a_second_server_on_the_same_data_directory_is_refused_and_told_who_holds_it(new_server):
    server = new_server()
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
        assert list(client.list()) == []
