"""Gradloom, a distributed training service for TensorFlow."""

from typing import TYPE_CHECKING

from gradloom.version import __version__

if TYPE_CHECKING:
    from gradloom.client.client import Client as Client

__all__ = ["Client", "__version__"]


def __getattr__(name: str) -> object:
    """Imports the SDK when it is asked for: the trainer and the control plane have no use for it."""
    if name == "Client":
        from gradloom.client.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
