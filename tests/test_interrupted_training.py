"""Trainers that are killed, stopped or cannot write: what is left goes on as if nothing had been.

So does a job that RetryJob makes from a checkpoint of another one.
"""

import fcntl
import os
import random
import select
import signal
import time
from pathlib import Path

import pytest

from gradloom.attempt.v1 import attempt_pb2
from gradloom.trainer import checkpoints
from gradloom.v1 import job_pb2
from tests.attempt_service import attempt_server_of
from tests.trainer_process import TrainerProcess

SPEC = """
spec:
  model:
    name: tiny
    layers:
      - {type: Input, config: {shape: [8, 8]}}
      - {type: Flatten}
      - {type: Dense, name: hidden, config: {units: 16, activation: relu}}
      - {type: BatchNormalization, name: norm}
      - {type: Dropout, name: drop, config: {rate: 0.3}}
      - {type: Dense, name: classifier, config: {units: 10}}
  data:
    train: {builtin: {name: digits}, range: {to: 300}}
    validation: {builtin: {name: digits}, range: {from: 300, to: 400}}
    test: {builtin: {name: digits, split: test}}
  loss: {type: SparseCategoricalCrossentropy, config: {from_logits: true}}
  metrics: [{type: SparseCategoricalAccuracy, name: accuracy}]
  variable_groups:
    - {name: body, match: ["hidden/**", "norm/**"], optimizer: {type: Adam}, ema_momentum: 0.9}
    - name: head
      match: ["classifier/**"]
      optimizer: {type: SGD, config: {learning_rate: 0.05, momentum: 0.9}}
      reduce_on_plateau: {patience: 3, factor: 0.7}
  training:
    epochs: 100
    seed: 7
    steps_per_epoch: 12
    scalars_every_steps: 5
    early_stopping: {min_delta: 1000, patience: 55}
    checkpoint: {every_seconds: 0.15}
"""
FOREVER = 1_000_000
LAST_STEP = 672
"""Of the job that is left alone: it stops early, after epoch 56."""
PIPE_BYTES = 4096
"""The least that a pipe can hold; a checkpoint has 22 KiB."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The job left alone; every checkpoint that it wrote is still there."""
    with attempt_server_of(SPEC, tmp_path_factory.mktemp("alone"), "attempt-1") as server:
        # Some in the middle of an epoch, however fast the machine is.
        server.assignment.spec.training.checkpoint.every_steps = 31
        with start(server) as trainer:
            assert trainer.wait() == 0, trainer.log
        yield server


@pytest.fixture
def server(tmp_path):
    with attempt_server_of(SPEC, tmp_path, "attempt-1") as server:
        yield server


def start(server) -> TrainerProcess:
    directory = Path(server.assignment.attempt_directory)
    trainer = TrainerProcess(directory.with_suffix(".log"))
    trainer.wait_ready()
    trainer.use(directory, server.address)
    return trainer


def notices(events) -> list[str]:
    return [event.message for event in events if event.kind == job_pb2.Event.NOTICE]


def training_seen(server):
    """Whether this attempt has told of steps of its own."""
    return any(report.steps for report in server.reports)


def killed_at_random(server, chance):
    """While it trains, some time after a step of the first two thirds."""
    drawn, delay = chance.randint(1, LAST_STEP * 2 // 3), chance.uniform(0, 0.15)
    with start(server) as trainer:
        server.wait_until(lambda: any(checkpoint.global_step >= drawn for checkpoint in server.checkpoints))
        time.sleep(delay)
        trainer.process.kill()
        trainer.wait()
    assert not server.checkpoints[0].final, f"meant to be killed after step {drawn}, it had trained to its end"


def killed_in_a_checkpoint_write(server, chance):
    """With a part of the file written: it is a pipe that takes no more until somebody reads."""
    drawn = chance.randrange(1, PIPE_BYTES)
    aside = Path(server.assignment.attempt_directory, "work", "checkpoint")
    aside.parent.mkdir()
    os.mkfifo(aside)
    with open(os.open(aside, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        assert fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES) == PIPE_BYTES
        with start(server) as trainer:
            begun = select.poll()
            begun.register(pipe, select.POLLIN)
            assert begun.poll(60_000), trainer.log
            half = pipe.read(drawn)
            trainer.process.kill()
            trainer.wait()
    # What a kill leaves of a file.
    aside.unlink()
    aside.write_bytes(half)


def killed_in_the_export(server, chance):
    with start(server) as trainer:
        server.wait_until(lambda: server.reports and server.reports[-1].progress.phase == job_pb2.Progress.EXPORTING)
        server.wait_until(lambda: server.checkpoints[0].final)
        trainer.process.kill()
        trainer.wait()
        assert server.finished is None, trainer.log


def outcome_of(server) -> dict:
    """All that a finished job leaves, but for the times and attempts."""
    assert server.finished.reason == job_pb2.Job.COMPLETED, server.finished
    (final, *_) = [checkpoint for checkpoint in server.checkpoints if checkpoint.final]
    saved = checkpoints.read(Path(final.path))
    epochs = {}
    for event in [*server.events_of_earlier_attempts, *server.events]:
        if event.kind == job_pb2.Event.EPOCH_ENDED:
            # What was done again gave the same again.
            assert epochs.setdefault(event.epoch, dict(event.scalars)) == dict(event.scalars)
    points = {}
    for point in [*server.points_of_earlier_attempts, *server.points]:
        assert points.setdefault((point.global_step, point.epoch_end), point) == point
    progress = server.finished.progress
    return {
        "arrays": {key: (array.dtype, array.shape, array.tobytes()) for key, array in saved.arrays.items()},
        "state": saved.header.state,
        "epochs": dict(sorted(epochs.items())),
        "points": dict(sorted(points.items())),
        "progress": (progress.epoch, progress.global_step, progress.total_steps, dict(progress.scalars)),
        "export": server.finished.export.largest_difference,
    }


def test_a_job_that_is_left_alone_stops_early_and_exports_its_best_epoch(alone):
    outcome = outcome_of(alone)
    # Only the first epoch improves by so much.
    assert list(outcome["epochs"]) == list(range(1, 57))
    assert outcome["progress"][:3] == (56, LAST_STEP, LAST_STEP)
    assert [step for step, ended in outcome["points"] if not ended] == list(range(5, LAST_STEP + 1, 5))
    ends = [point for point in outcome["points"].values() if point.epoch_end]
    assert {point.epoch: dict(point.scalars) for point in ends} == outcome["epochs"]
    assert [point.global_step for point in ends] == list(range(12, LAST_STEP + 1, 12))
    assert outcome["state"]["ends"]["stopped"]
    told = notices(alone.events)
    assert any(notice.startswith("group 'head': the learning rate is ") for notice in told)
    assert any(notice.startswith("stopped early after epoch 56: val_loss has not improved") for notice in told)
    best = min(outcome["epochs"], key=lambda epoch: outcome["epochs"][epoch]["val_loss"])
    assert best == 56 or told[-1] == f"the weights of epoch {best} are tested and exported"


@pytest.mark.parametrize("seed", [23])
def test_an_attempt_that_is_killed_at_any_moment_goes_on_bit_for_bit(alone, tmp_path, seed):
    chance = random.Random(seed)
    moments = [killed_at_random, killed_in_a_checkpoint_write, killed_in_the_export]
    with attempt_server_of(SPEC, tmp_path, "attempt-1") as server:
        for moment in moments:
            moment(server, chance)
            server.begin_next_attempt()
        (newest, before, *_) = server.checkpoints
        assert newest.final
        damaged = bytearray(Path(newest.path).read_bytes())
        damaged[len(damaged) // 2] ^= 4
        Path(newest.path).write_bytes(damaged)
        # The best one and the one before are what is left, as with `keep: 1`.
        with start(server) as trainer:
            assert trainer.wait() == 0, trainer.log
        told = notices(server.events)
        assert any("is skipped" in notice and "does not have the digest" in notice for notice in told)
        assert any(f"resumed from step {before.global_step}" in notice for notice in told)
        server.checkpoints.remove(newest)
        expected, killed = outcome_of(alone), outcome_of(server)
    for what in expected:
        assert killed[what] == expected[what], what


def left_by(alone) -> attempt_pb2.Retry:
    """Where the job was in the middle of an epoch, as RetryJob has another one go on, with the best one as of then."""
    name, uid = alone.assignment.job, alone.assignment.job_uid
    checkpoint = next(one for one in alone.checkpoints if one.global_step % 12)
    best = next(one for one in alone.checkpoints if one.best and one.global_step < checkpoint.global_step)
    retry = attempt_pb2.Retry(checkpoint=checkpoint, best=best, resolved_spec=alone.resolved)
    for one in (retry.checkpoint, retry.best):
        one.job, one.job_uid, one.name = name, uid, f"{name}/checkpoints/1-{one.global_step}"
    return retry


def test_a_job_that_goes_on_from_anothers_checkpoint_ends_bit_for_bit_as_that_one(alone, tmp_path):
    retry = left_by(alone)
    step, epoch = retry.checkpoint.global_step, retry.checkpoint.epoch
    with attempt_server_of(SPEC, tmp_path, "attempt-1") as server:
        server.assignment.job, server.assignment.job_uid = "projects/default/jobs/again", "77aa"
        server.assignment.retry.CopyFrom(retry)
        with start(server) as trainer:
            server.wait_until(lambda: any(one.global_step > step for one in server.checkpoints))
            trainer.process.send_signal(signal.SIGKILL)
            trainer.wait()
        assert f"goes on from step {step} (epoch {epoch}) of attempt 1 of {retry.checkpoint.job}" in notices(
            server.events
        )
        assert any(report.checkpoint_in == retry.checkpoint.name for report in server.reports)
        # What it needs of the other job in the end is its own now: the copy of the best one, older than where it began.
        copies = [(one.best, one.global_step) for one in server.checkpoints if one.global_step < step]
        assert copies == [(True, retry.best.global_step)]
        server.begin_next_attempt()
        server.assignment.retry.best.path = "/gone"
        with start(server) as trainer:
            assert trainer.wait() == 0, trainer.log
        assert any(notice.startswith("resumed from step") for notice in notices(server.events))
        expected, again = outcome_of(alone), outcome_of(server)
    expected["epochs"] = {number: scalars for number, scalars in expected["epochs"].items() if number >= epoch}
    expected["points"] = {key: point for key, point in expected["points"].items() if key[0] > step}
    for what in expected:
        assert again[what] == expected[what], what


def test_a_stop_after_a_checkpoint_loses_no_step(server):
    server.assignment.spec.training.checkpoint.every_seconds = 1000
    server.assignment.spec.training.epochs = 2000
    with start(server) as trainer:
        server.wait_until(lambda: training_seen(server))
        assert [checkpoint for checkpoint in server.checkpoints if not checkpoint.best] == []
        told = server.reports[-1].progress.global_step
        server.directive = attempt_pb2.ReportResponse.CHECKPOINT_AND_STOP
        assert trainer.wait() == 3, trainer.log
    (newest, *_) = server.checkpoints
    assert newest.global_step >= told
    assert server.finished is None
    server.directive = attempt_pb2.ReportResponse.CONTINUE
    server.begin_next_attempt()
    server.assignment.resolved_spec.CopyFrom(server.resolved)
    with start(server) as trainer:
        server.wait_until(lambda: training_seen(server))
        first = next(report for report in server.reports if report.steps)
        assert first.progress.global_step == newest.global_step + first.steps
        assert any(f"resumed from step {newest.global_step}" in notice for notice in notices(server.events))


def test_a_checkpoint_that_cannot_be_written_costs_a_notice_and_is_tried_again(server):
    server.assignment.spec.training.epochs = FOREVER
    directory = Path(server.assignment.attempt_directory)
    obstacle = directory / "checkpoints"
    obstacle.write_text("in the way")
    with start(server) as trainer:
        server.wait_until(lambda: notices(server.events))
        trouble, _, then = notices(server.events)[0].rpartition("; ")
        assert "could not be written: " in trouble
        assert then == "it is tried again"
        step = server.reports[-1].progress.global_step
        server.wait_until(lambda: server.reports[-1].progress.global_step > step)
        assert server.reports[-1].progress.trouble == trouble, "as long as it lasts"
        obstacle.unlink()
        server.wait_until(lambda: server.checkpoints)
        server.wait_until(lambda: not server.reports[-1].progress.trouble)
        told = notices(server.events)
        assert [notice.partition(", ")[0] for notice in told[1:]] == ["a checkpoint could be written again"]
        assert trainer.process.poll() is None
