"""Servers for the end-to-end tests."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .server import Server, processes_mentioning


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers; whatever happened, none of their processes outlives the test."""
    servers: list[Server] = []

    def make(*flags: str) -> Server:
        servers.append(Server(tmp_path, *flags))
        return servers[-1].start()

    yield make
    for server in servers:
        if server.is_up:
            server.terminate()
    end_what_is_left(tmp_path)


@pytest.fixture(scope="module")
def servers_of_module(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Those that follow each other over one data directory, with the module's SERVER_FLAGS.

    One for all its tests: a start, and the imports of a spare that nobody uses, cost seconds of a core.
    """
    directory = tmp_path_factory.mktemp("shared")
    server = Server(directory, *getattr(request.module, "SERVER_FLAGS", ())).start()
    yield server
    if server.is_up:
        server.terminate()
    end_what_is_left(directory)


@pytest.fixture
def server(servers_of_module: Server) -> Iterator[Server]:
    """A server on which other tests have run jobs before, of which none is left."""
    yield servers_of_module
    if not servers_of_module.is_up:
        servers_of_module.start()
    with servers_of_module.client() as client:
        for job in [job for job in client.list() if not job.HasField("end_time")]:
            client.cancel(job.name)
            client.wait(job.name, timeout=60)


def end_what_is_left(directory: Path) -> None:
    """Fails when any process of a server is left, and ends it."""
    left = processes_mentioning(str(directory))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes outlived their server"
