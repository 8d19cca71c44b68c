"""A server, its clients and its trainers, and somebody who breaks things: what is broken when follows from the seed.

Moments are those of the machine it runs on, so that the same seed does the same things in the same order and with
the same pauses, but not at the same instruction.
"""

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gradloom.job import state_name
from gradloom.v1 import job_pb2, service_pb2
from tests.e2e.server import Server, wait_until
from tests.faults import census
from tests.faults.clerk import Clerk
from tests.faults.disk import mount_disk, unmount
from tests.faults.harms import HARMS, send_signal
from tests.faults.kinds import HANG_VARIABLE, KINDS
from tests.faults.readers import IdleReaders
from tests.faults.witness import CALL_SECONDS, Promise, Witness

Job = job_pb2.Job
FLAGS = ("--cpu-slots", "2", "--report-timeout", "30s", "--user-code")
DISK_BYTES = 1 << 30
SETTLE_SECONDS = 300.0
CLOCK = Path(__file__).parent / "clock"
"""On the path of every process below: its wall clock is a file's."""
_LONGEST_PAUSE_SECONDS = 3.0
_LOOK_SECONDS = 0.5
_NO_STEP = 1 << 31


class ChaosError(AssertionError):
    """Something was seen that must not be; names the seed with which it can be tried again."""


@dataclass
class Chaos:
    """One run: a data directory, the servers that follow each other over it, and what their clients were told."""

    directory: Path
    seed: int
    kinds: Sequence[str] = tuple(KINDS)
    jobs_at_once: int = 3
    may_mount: bool = False
    """This process has a mount namespace of its own: the data directory gets a disk of its own, which may be filled."""
    say: Callable[[str], None] = lambda text: None
    journal: list[str] = field(default_factory=list)
    references: dict[str, dict[str, bytes]] = field(default_factory=dict)
    submitted: int = 0

    def __post_init__(self) -> None:
        self.temporary = self.directory / "tmp"
        self.temporary.mkdir(parents=True)
        self.clock = self.directory / "clock"
        self.clock.write_text("0")
        self.hang = self.directory / "hang"
        address = f"127.0.0.1:{_free_port()}"
        environment = {
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": os.pathsep.join((str(CLOCK), os.environ.get("PYTHONPATH", ""))).rstrip(os.pathsep),
            "GRADLOOM_TEST_CLOCK": str(self.clock),
            HANG_VARIABLE: str(self.hang),
        }
        self.server = Server(self.directory, "--listen", address, *FLAGS, environment=environment)
        if self.may_mount:
            mount_disk(self.server.data_directory, DISK_BYTES)
        self.witness = Witness(address)
        self.readers = IdleReaders(address)
        self.clerk = Clerk(self.witness, random.Random(f"{self.seed} clerk"))
        self._begun = time.monotonic()

    def run(self, seconds: float) -> None:
        """Breaks things for so long, then lets everything end and looks at what is left; raises ChaosError."""
        try:
            self.server.start()
            self._make_references()
            self.clerk.start()
            self._break_things(seconds)
            self.clerk.stop()
            self._settle()
            self._stop()
        except AssertionError as error:
            self._end_everything()
            if self.may_mount:
                # The disk goes with this process. Sockets cannot be copied.
                kept = self.directory / "what-was-on-the-disk"
                shutil.copytree(self.server.data_directory, kept, ignore=shutil.ignore_patterns("*.sock"))
            raise ChaosError(self._report(error)) from error
        finally:
            self._end_everything()
            if self.may_mount:
                unmount(self.server.data_directory)

    def note(self, text: str) -> None:
        """Adds to the journal."""
        line = f"{time.monotonic() - self._begun:7.2f} s  {text}"
        self.journal.append(line)
        self.say(line)

    # What the run is made of

    def _make_references(self) -> None:
        """Trains one job of each kind that nobody disturbs."""
        promises = [self._submit(kind) for kind in self.kinds]
        self._wait_for_ends(promises)
        for promise in promises:
            assert promise.final is not None
            self.references[promise.kind] = self.server.final_state(promise.final)
        self.note(f"trained undisturbed: {', '.join(self.kinds)}")

    def _break_things(self, seconds: float) -> None:
        deadline, step = time.monotonic() + seconds, 0
        while time.monotonic() < deadline:
            step += 1
            # Each step draws from its own source: what one step draws more or less changes nothing of the next.
            draw = random.Random(f"{self.seed} {step}")
            self._keep_busy(draw)
            names = [name for name, harm in HARMS.items() if self.may_mount or not harm.needs_disk]
            (name,) = draw.choices(names, [HARMS[name].weight for name in names])
            self.note(f"{step}: {name}")
            HARMS[name].do(self, draw)
            time.sleep(draw.uniform(0.0, 1.0) ** 2 * _LONGEST_PAUSE_SECONDS)
            self.look()

    def _keep_busy(self, draw: random.Random) -> None:
        while sum(not promise.ended for promise in self.trained()) < self.jobs_at_once:
            self._submit(draw.choice(list(self.kinds)))

    def new_job_id(self, kind: str) -> str:
        """Of the next job of a kind."""
        self.submitted += 1
        return f"{kind}-{self.submitted}"

    def _submit(self, kind: str) -> Promise:
        """Submits a job and does not let go before it is acknowledged."""
        with self.server.client() as client:
            job = client.submit(KINDS[kind](), job_id=self.new_job_id(kind))
        self.note(f"submitted {job.name} ({job.uid})")
        return self.witness.acknowledged(job, kind)

    def look(self) -> None:
        """Holds what can be seen against what must hold at any moment."""
        self.witness.look()
        data = self.server.data_directory
        faults = [f"two attempts of {uid} live" for uid in census.jobs_with_two_live_attempts(self.directory, data)]
        held = census.devices_held(data)
        faults += [f"{device} is held twice" for device in set(held) if held.count(device) > 1]
        self._compare_ended()
        self._raise(faults)

    def _compare_ended(self) -> None:
        """The results of what has ended since the last look are those of the undisturbed job."""
        for promise in self.trained():
            if promise.final is None or promise.final.state != Job.SUCCEEDED or promise.compared:
                continue
            promise.compared = True
            reference = self.references.get(promise.kind)
            if reference is not None:
                state = self.server.final_state(promise.final)
                wanted = [key for key in reference if scalars_step(key) > promise.begun_at]
                different = [key for key in wanted if state.get(key) != reference[key]]
                self._raise([f"{promise.name}: {different} differ from the undisturbed run"] if different else [])

    def _settle(self) -> None:
        """Every job comes to its end now, and every watch tells it."""
        self.note("lets everything end")
        self._wait_for_ends(list(self.witness.promises.values()))
        self.witness.wait_for_watches(30.0)
        wait_until(self._deleted_is_gone, 60.0, "the files of deleted jobs are gone")
        for promise in self.witness.promises.values():
            states = [event.state for event in promise.events if event.state]
            if promise.final is not None and states[-1] != promise.final.state:
                self.witness.faults.append(f"{promise.name}: the last event tells of {state_name(states[-1])}")
        self.witness.read_everything()
        held = census.devices_held(self.server.data_directory)
        self._raise([f"still held when every job has ended: {held}"] if held else [])
        self.look()

    def _deleted_is_gone(self) -> bool:
        artifacts = self.server.data_directory / "artifacts"
        return not any((artifacts / promise.uid).exists() for promise in self.witness.gone)

    def _wait_for_ends(self, promises: Sequence[Promise]) -> None:
        def ended() -> bool:
            time.sleep(_LOOK_SECONDS)
            for promise in promises:
                if not promise.ended and self.witness.look_at(promise) and promise.state == Job.PAUSED:
                    self.witness.stub.ResumeJob(service_pb2.ResumeJobRequest(name=promise.name), timeout=CALL_SECONDS)
            return all(promise.ended for promise in promises)

        wait_until(ended, SETTLE_SECONDS, "every job ends")
        self.look()

    def _stop(self) -> None:
        """After a drain nothing is left but what is on record."""
        addresses = [address for key, address in self.server.addresses.items() if key in ("listen", "metrics_listen")]
        code = self.server.terminate()
        faults = [] if code == 0 else [f"the drained server ended with {code}"]
        faults += [f"left: {seen}" for seen in census.processes_of(self.directory)]
        faults += [f"{address} still answers" for address in addresses if _answers(address)]
        # In this order: SQLite's reader leaves files of its own.
        faults += census.superfluous_files(self.server.data_directory, self.temporary)
        faults += census.damage(self.server.data_directory)
        faults += [line for line in self.server.log_path.read_text().splitlines() if line.startswith("Traceback")]
        self._raise(faults)
        self.note(f"nothing is left of {len(self.witness.promises)} jobs but what is on record")

    def _raise(self, faults: Sequence[str]) -> None:
        found = [*faults, *self.witness.faults]
        assert not found, "\n".join(found[:20])

    def _report(self, error: AssertionError) -> str:
        log = self.server.log_path.read_text().splitlines() if self.server.log_path.exists() else []
        parts = [f"{error}", f"seed {self.seed}, in {self.directory}", "what was done:", *self.journal[-40:]]
        return "\n".join([*parts, "the end of the server's log:", *log[-60:]])

    def _end_everything(self) -> None:
        for seen in census.processes_of(self.directory):
            send_signal(seen.pid, signal.SIGKILL)
        self.readers.close()
        self.clerk.abandon()
        self.witness.close()
        if self.server.process is not None:
            self.server.process.wait(10)

    def trained(self) -> list[Promise]:
        """The jobs that are to train to their end, unless a harm cancels them."""
        return [promise for promise in list(self.witness.promises.values()) if promise.kind]

    # What can be broken

    def victims(self) -> dict[str, list[int]]:
        """Pids by what they are: `server`, `supervisor`, `trainer`, `spare` (its supervisor) and `spare trainer`."""
        kept = census.attempts_by_supervisor(self.server.data_directory)
        found: dict[str, list[int]] = {
            name: [] for name in ("server", "supervisor", "trainer", "spare", "spare trainer")
        }
        for seen in sorted(census.processes_of(self.directory), key=lambda seen: (seen.start_ticks, seen.pid)):
            if not seen.supervisor_id:
                if self.server.process is not None and seen.pid == self.server.process.pid:
                    found["server"].append(seen.pid)
            elif seen.supervisor_id in kept:
                found["supervisor" if seen.is_supervisor else "trainer"].append(seen.pid)
            else:
                found["spare" if seen.is_supervisor else "spare trainer"].append(seen.pid)
        return found


def scalars_step(key: str) -> int:
    """The step of a key of a final state; beyond all steps for what is not recorded by step."""
    return int(key.split("/")[1]) if key.startswith("scalars/") else _NO_STEP


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with socket.socket() as caller:
        return caller.connect_ex((host, int(port))) == 0
