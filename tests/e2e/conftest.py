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
        if server.process and server.process.poll() is None:
            server.terminate()
    left = processes_mentioning(str(tmp_path))
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "processes outlived their server"
