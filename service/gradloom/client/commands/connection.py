"""The connection of a command to its server."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from gradloom.client import text
from gradloom.client.names import DEFAULT_PROJECT

if TYPE_CHECKING:
    from gradloom.client.client import Client

RECONNECT_MINUTES: Final = 2


@contextmanager
def connected(server: str | None, project: str = DEFAULT_PROJECT) -> Iterator["Client"]:
    """A client that asks again when the server is lost, and says so once."""
    from gradloom.client.client import Client
    from gradloom.errors import GradloomError

    told = False

    def on_reconnect(error: GradloomError) -> None:
        nonlocal told
        if not told:
            text.remark(f"{text.one_line(str(error))}; trying again for {RECONNECT_MINUTES} minutes")
        told = True

    with Client(
        server, project=project, reconnect_seconds=60.0 * RECONNECT_MINUTES, on_reconnect=on_reconnect
    ) as client:
        yield client
