"""The SDK and the command line: what talks to a server. Needs only the base install."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradloom.client.client import Client as Client
    from gradloom.client.client import LogLine as LogLine

__all__ = ["Client", "LogLine"]


def __getattr__(name: str) -> object:
    """Imports the SDK when it is asked for, so that `gradloom --help` does not wait for gRPC."""
    if name in __all__:
        from gradloom.client import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
