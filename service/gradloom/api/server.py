"""`gradloom serve`: puts the control plane together, runs it until it is told to stop, and drains it."""

import asyncio
import json
import logging
import os
import signal
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from prometheus_client import disable_created_metrics
from sqlalchemy import make_url

from gradloom.api.attempt_servicer import AttemptServicer
from gradloom.api.creation import Creation
from gradloom.api.health import HealthServicer
from gradloom.api.housekeeping import HousekeepingThread
from gradloom.api.installed import bring_in_packages
from gradloom.api.listeners import (
    HEALTH_SERVICE,
    PUBLIC_SERVICE,
    ListenError,
    MetricsListener,
    health_listener,
    public_listener,
    remove_socket_directory,
    trainer_listener,
)
from gradloom.api.offload import Offload
from gradloom.api.scheduling import SchedulerThread
from gradloom.api.servicer import TrainingServicer
from gradloom.api.stderr_log import log_to_stderr
from gradloom.api.validator import Validator
from gradloom.catalogue import Catalogue
from gradloom.jobs.database import StoreUnusableError, path_of
from gradloom.jobs.devices import Devices, find_devices, has_gpu_driver
from gradloom.jobs.disks import Disks
from gradloom.jobs.explain import Explainer
from gradloom.jobs.hearing import Hearing
from gradloom.jobs.housekeeping import Housekeeper
from gradloom.jobs.instruments import Instruments, ServerGauges
from gradloom.jobs.local_launcher import LocalLauncher
from gradloom.jobs.lock import DataDirectoryInUseError, DataDirectoryLock, hold_data_directory
from gradloom.jobs.reserve import NO_ROOM, Reserve
from gradloom.jobs.scheduler import Scheduler
from gradloom.jobs.server_beat import ServerBeat
from gradloom.jobs.store import Store
from gradloom.jobs.timing import Timing
from gradloom.settings import Settings, is_loopback
from gradloom.spec import OwnedDevices

log = logging.getLogger(__name__)

ADDRESSES_FILE: Final = "server.json"
BEAT_FILE: Final = "server.beat"
LAST_CALLS_SECONDS: Final = 1.0
"""What callers that are still served when the drain is over get to end in."""


class StartError(RuntimeError):
    """The server cannot start; the message says why and what may help."""


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, drains, and returns with nothing left behind; raises StartError."""
    log_to_stderr(settings.log_level)
    # The time at which each series began, as a series of its own: nobody asked for it.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    signals = _Signals()
    try:
        with hold_data_directory(settings.data_dir) as lock:
            _prove_writable(settings.artifact_root)
            _warn_of_user_code(settings)
            async with _running(settings, lock) as server:
                _say(settings, server.addresses)
                await signals.stop.wait()
                log.info("Draining: running jobs save a checkpoint and go back to the queue; a second signal hurries")
                await server.drain(settings.drain_timeout, signals.hurry.is_set)
                log.info("Drained")
                signals.ignore()
    except (DataDirectoryInUseError, StoreUnusableError, ListenError) as error:
        raise StartError(str(error)) from error
    except OSError as error:
        # A write that fails does not know its path; what has no setting of its own lies in the data directory.
        path = error.filename or f"--data-dir {settings.data_dir}"
        advice = "; make room on that disk, and start the server again" if error.errno in NO_ROOM else ""
        raise StartError(f"cannot start: {path}: {error.strerror or error}{advice}") from error


class _Signals:
    """SIGTERM and SIGINT: the first stops, the second hurries."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._received)

    def ignore(self) -> None:
        """From now on they do nothing: the exit code says that all is drained, however impatient somebody is."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _received(self) -> None:
        (self.hurry if self.stop.is_set() else self.stop).set()


@dataclass(frozen=True)
class _Server:
    """A running server, as far as stopping it goes."""

    addresses: Mapping[str, str]
    health: HealthServicer
    training: TrainingServicer
    scheduling: SchedulerThread

    async def drain(self, timeout_seconds: float, is_hurried: Callable[[], bool]) -> None:
        """Takes no more work and ends every stream; returns once no attempt runs. Trainers may report until then."""
        self.health.stop_serving()
        self.training.drain()
        await self.scheduling.drain(timeout_seconds, is_hurried)


@asynccontextmanager
async def _running(settings: Settings, lock: DataDirectoryLock) -> AsyncGenerator[_Server, None]:
    """Starts every part; at the end stops them in the opposite order."""
    async with AsyncExitStack() as stack:
        store = Store.open(settings.database_url, reserve=_reserve(settings))
        stack.callback(store.close)
        await asyncio.to_thread(bring_in_packages)
        offload = Offload(store.together)
        stack.callback(offload.close)
        instruments = Instruments(settings.finished_job_metrics_grace)
        devices = _devices(settings)
        addresses: dict[str, str] = {}

        # First the trainers' listener: those that an earlier server left call again and again.
        stack.callback(remove_socket_directory, settings.trainer_listen)
        hearing = Hearing(time.monotonic)
        attempts = AttemptServicer(
            store, offload, instruments, settings.data_roots, settings.dataset_directories, hearing
        )
        server, addresses["trainer_listen"] = trainer_listener(settings.trainer_listen, instruments, attempts)
        await _start(stack, server)
        disks = Disks(
            {"--artifact-root": settings.artifact_root, "--data-dir": settings.data_dir}, full_store=store.full_disk
        )
        scheduling = await _scheduling(stack, settings, store, devices, instruments, hearing, disks)
        housekeeping = HousekeepingThread(_housekeeper(settings, store, instruments))
        housekeeping.start()
        stack.push_async_callback(asyncio.to_thread, housekeeping.stop)

        explainer = Explainer(store, devices, scheduling.outlook, disks)
        training = _training_servicer(settings, store, offload, devices, instruments, explainer)
        health = HealthServicer((PUBLIC_SERVICE, HEALTH_SERVICE))
        server, addresses["listen"] = public_listener(settings.listen, instruments, training, health)
        await _start(stack, server)
        if settings.health_listen:
            server, addresses["health_listen"] = health_listener(settings.health_listen, instruments, health)
            await _start(stack, server)
        if settings.metrics_listen:
            metrics = MetricsListener(settings.metrics_listen, instruments.registry)
            stack.callback(metrics.close)
            addresses["metrics_listen"] = metrics.address

        lock.describe(addresses["listen"])
        _write_addresses(settings.data_dir, addresses)
        stack.callback((settings.data_dir / ADDRESSES_FILE).unlink, missing_ok=True)
        yield _Server(addresses, health, training, scheduling)


def _reserve(settings: Settings) -> Reserve:
    """Beside the database, wherever that is."""
    path = path_of(make_url(settings.database_url))
    is_own = path.resolve().is_relative_to(settings.data_dir.resolve())
    return Reserve(path, "--data-dir" if is_own else "--database-url")


def _prove_writable(artifact_root: Path) -> None:
    """Makes the directory if it is missing, and writes into it: every job would fail on it otherwise.

    A full disk is told, and that is all: with a server, jobs can be deleted.
    """
    try:
        artifact_root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=artifact_root, prefix=".probe-") as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        if error.errno not in NO_ROOM or not artifact_root.is_dir():
            raise StartError(f"--artifact-root: cannot write to {artifact_root}: {error.strerror or error}") from error
        log.warning("The disk of --artifact-root %s is full: no attempt is started until there is room", artifact_root)


def _devices(settings: Settings) -> Devices:
    """What the server owns: GPUs that are named are taken at their word, with a warning where there can be none."""
    if settings.gpus and not has_gpu_driver():
        log.warning(
            "--gpus %s names GPUs, but there is neither /dev/nvidia* nor nvidia-smi here: jobs on them will fail; "
            "--gpus none runs them on the CPU",
            ",".join(settings.gpus),
        )
    return find_devices(settings.cpu_slots, None if settings.gpus is None else ",".join(settings.gpus))


def _training_servicer(
    settings: Settings,
    store: Store,
    offload: Offload,
    devices: Devices,
    instruments: Instruments,
    explainer: Explainer,
) -> TrainingServicer:
    catalogue = Catalogue.load()
    owned = OwnedDevices(gpus=len(devices.gpus), cpu_slots=devices.cpu_slots)
    creation = Creation(
        catalogue,
        [str(root) for root in settings.data_roots],
        owned,
        store.find_initial_weights,
        settings.user_code,
    )
    validator = Validator(settings.data_roots, settings.dataset_directories, settings.validation_timeout)
    return TrainingServicer(store, offload, creation, validator, catalogue, instruments, explainer)


async def _scheduling(
    stack: AsyncExitStack,
    settings: Settings,
    store: Store,
    devices: Devices,
    instruments: Instruments,
    hearing: Hearing,
    disks: Disks,
) -> SchedulerThread:
    """Takes over what an earlier server left, and starts to schedule."""
    beat = ServerBeat(settings.data_dir / BEAT_FILE)
    stack.callback(beat.close)
    launcher = LocalLauncher(beat.path, settings.orphan_timeout)
    stack.callback(launcher.close)
    scheduler = Scheduler(
        store,
        launcher,
        devices,
        instruments,
        artifact_root=settings.artifact_root,
        trainer_address=settings.trainer_listen,
        timing=Timing(report_timeout_seconds=settings.report_timeout, reservation_seconds=settings.reservation_after),
        hearing=hearing,
        disks=disks,
    )
    gauges = ServerGauges(store.count_jobs_by_state, scheduler.device_counts, disks.left, store.full_disk)
    instruments.registry.register(gauges)
    await asyncio.to_thread(scheduler.adopt)
    scheduling = SchedulerThread(scheduler, store.hub)
    scheduling.start()
    stack.push_async_callback(scheduling.stop)
    return scheduling


def _housekeeper(settings: Settings, store: Store, instruments: Instruments) -> Housekeeper:
    """Elsewhere than in the data directory, which is locked, several servers may share an artifact root."""
    is_own = settings.artifact_root.resolve().is_relative_to(settings.data_dir.resolve())
    return Housekeeper(store, instruments, settings.artifact_root if is_own else None)


async def _start(stack: AsyncExitStack, server: grpc.aio.Server) -> None:
    """Starts a listener; at the end, calls under way get a moment."""
    await server.start()
    stack.push_async_callback(server.stop, LAST_CALLS_SECONDS)


def _write_addresses(data_dir: Path, addresses: Mapping[str, str]) -> None:
    """For programs on this machine that let the server choose its ports; whole or, on a full disk, not at all."""
    aside, file = data_dir / f"{ADDRESSES_FILE}.aside", data_dir / ADDRESSES_FILE
    try:
        aside.write_text(json.dumps({"pid": os.getpid(), **addresses}) + "\n")
        os.replace(aside, file)
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        log.warning("%s cannot be written, so nobody reads there where this server listens: %s", file, error.strerror)
        aside.unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _warn_of_user_code(settings: Settings) -> None:
    """Says at the start what the setting means, once."""
    if settings.user_code:
        who = "whoever reaches the listener" if not is_loopback(settings.listen) else "whoever is on this machine"
        log.warning("--user-code: %s can run any Python here, as this server's user", who)


def _say(settings: Settings, addresses: Mapping[str, str]) -> None:
    for name, address in sorted(addresses.items()):
        print(f"{name} {address}", flush=True)
    print(f"data_dir {settings.data_dir}", flush=True)
