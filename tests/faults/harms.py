"""What goes wrong on purpose: each harm is done once, at a moment and to a process that the draw decides."""

import contextlib
import os
import random
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from gradloom.supervisor.attempt_directory import write_whole
from gradloom.v1 import job_pb2, service_pb2
from tests.faults import census
from tests.faults.disk import full, read_only
from tests.faults.kinds import STEP_TIMEOUT_SECONDS
from tests.faults.witness import CALL_SECONDS, Promise

if TYPE_CHECKING:
    from tests.faults.chaos import Chaos

Job = job_pb2.Job
_YEARS_SECONDS = 20 * 365 * 86400.0


@dataclass(frozen=True)
class Harm:
    """Something that goes wrong, and how often among others."""

    weight: int
    do: Callable[["Chaos", random.Random], None]
    needs_disk: bool = False
    """Only where the data directory has a disk of its own."""


def _kill(kind: str) -> Callable[["Chaos", random.Random], None]:
    def kill(chaos: "Chaos", draw: random.Random) -> None:
        send_signal(_one_of(chaos.victims()[kind], draw.random()), signal.SIGKILL)

    return kill


def _kill_server(chaos: "Chaos", draw: random.Random) -> None:
    chaos.server.kill()
    time.sleep(draw.uniform(0.0, 1.0))
    chaos.server.start()


def _kill_server_while_it_starts(chaos: "Chaos", draw: random.Random) -> None:
    chaos.server.kill()
    for _ in range(draw.randint(1, 3)):
        chaos.server.spawn()
        time.sleep(draw.uniform(0.1, 2.0))
        chaos.server.kill()
    chaos.server.start()


def _kill_several(chaos: "Chaos", draw: random.Random) -> None:
    victims = [pid for kind in chaos.victims().values() for pid in kind]
    chosen = [pid for pid in victims if draw.random() < 0.5]
    draw.shuffle(chosen)
    for pid in chosen:
        send_signal(pid, signal.SIGKILL)
    assert chaos.server.process is not None
    if chaos.server.process.pid in chosen:
        chaos.server.process.wait(10)
        chaos.server.start()


def _drain(chaos: "Chaos", draw: random.Random) -> None:
    code = chaos.server.terminate()
    assert code == 0, f"the drained server ended with {code}"
    left = census.processes_of(chaos.directory)
    assert not left, f"left after a drain: {left}"
    chaos.server.start()


def _kill_during_drain(chaos: "Chaos", draw: random.Random) -> None:
    assert chaos.server.process is not None
    chaos.server.process.send_signal(signal.SIGTERM)
    time.sleep(draw.uniform(0.0, 2.0))
    chaos.server.kill()
    chaos.server.start()


def _stall(chaos: "Chaos", draw: random.Random) -> None:
    """Stops a process for a while, as a machine does that swaps."""
    found = chaos.victims()
    pid = _one_of(found[draw.choice(list(found))], draw.random())
    send_signal(pid, signal.SIGSTOP)
    time.sleep(draw.uniform(0.0, 3.0))
    send_signal(pid, signal.SIGCONT)


def _refuse_writes(chaos: "Chaos", draw: random.Random) -> None:
    """Has the kernel refuse every write of a process to a file for a while, as a disk does that fails."""
    found = chaos.victims()
    pid = _one_of(found[draw.choice(("server", "supervisor", "trainer"))], draw.random())
    if pid is None:
        return
    try:
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
        time.sleep(draw.uniform(0.1, 2.0))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
    except ProcessLookupError:
        pass  # It has ended meanwhile.


def _fill_disk(chaos: "Chaos", draw: random.Random) -> None:
    """Leaves no room for a while, in which a trainer may die as well."""
    with full(chaos.server.data_directory):
        time.sleep(draw.uniform(0.5, 4.0))
        if draw.random() < 0.5:
            _kill("trainer")(chaos, draw)
            time.sleep(draw.uniform(0.0, 2.0))


def _kill_server_on_a_full_disk(chaos: "Chaos", draw: random.Random) -> None:
    """The next one starts there; before and after, what a user wants of a job is stored."""
    promise = _unended(chaos, draw)
    with full(chaos.server.data_directory):
        for _ in range(2):
            with chaos.server.client() as client:
                priority = draw.randint(0, 3)
                assert client.update(promise.name, priority=priority).priority == priority
            chaos.server.kill()
            chaos.server.start()


def _make_artifacts_read_only(chaos: "Chaos", draw: random.Random) -> None:
    with read_only(chaos.server.data_directory / "artifacts"):
        time.sleep(draw.uniform(0.5, 4.0))


def _move_clock(chaos: "Chaos", draw: random.Random) -> None:
    """Sets the wall clock of every process of the service forwards or backwards, by years or by little."""
    write_whole(chaos.clock, draw.choice((1.0, 3600.0, _YEARS_SECONDS)) * draw.uniform(-1.0, 1.0))


def _freeze(chaos: "Chaos", draw: random.Random) -> None:
    """Stops a trainer, or a spare one, for good: somebody must find out."""
    send_signal(_one_of(chaos.victims()[draw.choice(("trainer", "spare trainer"))], draw.random()), signal.SIGSTOP)


def _hang_in_a_step(chaos: "Chaos", draw: random.Random) -> None:
    """Lets no unruly job end its step, perhaps for longer than a step may take."""
    chaos.hang.touch()
    time.sleep(draw.uniform(0.0, 2 * STEP_TIMEOUT_SECONDS))
    chaos.hang.unlink()


def _read_idly(chaos: "Chaos", draw: random.Random) -> None:
    for _ in range(3):
        chaos.readers.add(_unended(chaos, draw).name, draw)


def _cancel(chaos: "Chaos", draw: random.Random) -> None:
    """Cancels a job that trains or waits; it never succeeds after that."""
    promise = _unended(chaos, draw)
    request = service_pb2.CancelJobRequest(name=promise.name)
    if _accepted(chaos.witness.stub.CancelJob, request):
        promise.expected_ends = {Job.CANCELLED}


def _pause(chaos: "Chaos", draw: random.Random) -> None:
    promise = _unended(chaos, draw)
    _accepted(chaos.witness.stub.PauseJob, service_pb2.PauseJobRequest(name=promise.name))


def _resume(chaos: "Chaos", draw: random.Random) -> None:
    promise = _unended(chaos, draw)
    _accepted(chaos.witness.stub.ResumeJob, service_pb2.ResumeJobRequest(name=promise.name))


def _reorder(chaos: "Chaos", draw: random.Random) -> None:
    """Gives a job another priority, so that it may take the devices of another one, or lose its own.

    None below that of the clerk's jobs: one of these comes twice a second, and a job that makes room for them twenty
    times without a checkpoint fails, as it should.
    """
    promise = _unended(chaos, draw)
    job = job_pb2.Job(name=promise.name, priority=draw.randint(0, 3))
    _accepted(chaos.witness.stub.UpdateJob, service_pb2.UpdateJobRequest(job=job))


def _retry(chaos: "Chaos", draw: random.Random) -> None:
    """Makes a new job of one that has ended, from scratch or from one of its checkpoints; it must end alike."""
    ended = [promise for promise in chaos.trained() if promise.ended]
    if not ended:
        return
    old = ended[int(draw.random() * len(ended))]
    stub, patience = chaos.witness.stub, {"timeout": CALL_SECONDS, "wait_for_ready": True}
    listed = stub.ListCheckpoints(service_pb2.ListCheckpointsRequest(parent=old.name), **patience)
    chosen = draw.choice([None, *listed.checkpoints])
    retry = service_pb2.RetryJobRequest(name=old.name, job_id=chaos.new_job_id(old.kind))
    if chosen is not None:
        retry.checkpoint = chosen.name
    promise = chaos.witness.acknowledged(stub.RetryJob(retry, **patience), old.kind)
    promise.begun_at = chosen.global_step if chosen is not None else 0


def _delete(chaos: "Chaos", draw: random.Random) -> None:
    """Deletes a job, whatever it does; nothing of it is to be seen any more."""
    promises = chaos.trained()
    promise = promises[int(draw.random() * len(promises))]
    if _accepted(chaos.witness.stub.DeleteJob, service_pb2.DeleteJobRequest(name=promise.name, force=True)):
        chaos.witness.deleted(promise)


def _unended(chaos: "Chaos", draw: random.Random) -> Promise:
    promises = [promise for promise in chaos.trained() if not promise.ended]
    return promises[int(draw.random() * len(promises))]


def _accepted(method: Any, request: Any) -> bool:
    """Asks; False when the job's state does not allow it (any more)."""
    try:
        method(request, timeout=CALL_SECONDS, wait_for_ready=True)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
            raise
        return False
    return True


HARMS: dict[str, Harm] = {
    "kill -9 of a trainer": Harm(6, _kill("trainer")),
    "kill -9 of a supervisor": Harm(4, _kill("supervisor")),
    "kill -9 of the spare's supervisor": Harm(2, _kill("spare")),
    "kill -9 of the spare trainer": Harm(2, _kill("spare trainer")),
    "kill -9 of the server": Harm(4, _kill_server),
    "kill -9 of the server while it starts": Harm(2, _kill_server_while_it_starts),
    "kill -9 of several": Harm(4, _kill_several),
    "SIGTERM to the server": Harm(2, _drain),
    "kill -9 of the server while it drains": Harm(2, _kill_during_drain),
    "a process that stalls": Harm(3, _stall),
    "a disk that refuses writes": Harm(3, _refuse_writes),
    "a disk that is full": Harm(3, _fill_disk, needs_disk=True),
    "kill -9 of the server on a full disk": Harm(2, _kill_server_on_a_full_disk, needs_disk=True),
    "artifacts that are read-only": Harm(2, _make_artifacts_read_only, needs_disk=True),
    "a clock that jumps": Harm(4, _move_clock),
    "a trainer that freezes": Harm(1, _freeze),
    "a step that hangs": Harm(2, _hang_in_a_step),
    "clients that read nothing": Harm(2, _read_idly),
    "a cancel": Harm(1, _cancel),
    "a pause": Harm(3, _pause),
    "the end of a pause": Harm(4, _resume),
    "another priority": Harm(3, _reorder),
    "a retry": Harm(2, _retry),
    "a deletion": Harm(1, _delete),
}


def _one_of(pids: Sequence[int], at: float) -> int | None:
    return pids[int(at * len(pids))] if pids else None


def send_signal(pid: int | None, number: int) -> None:
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
