"""Streams that survive a restart of the server."""

import time
from collections.abc import Callable, Generator
from typing import Any, Final

import grpc

FIRST_DELAY_SECONDS: Final = 0.1
LONGEST_DELAY_SECONDS: Final = 2.0
UNREACHED_SECONDS: Final = 1.0
"""A server that has never answered may just be starting, but more likely its address is wrong."""


def is_away(error: grpc.RpcError) -> bool:
    """Whether there was no server to answer, so that asking again may help.

    That is UNAVAILABLE, and CANCELLED where nobody here cancelled: gRPC itself ends a call so that reaches a server in
    the moment in which it closes. A call that ends with its channel is CANCELLED with another text.
    """
    closing = error.code() is grpc.StatusCode.CANCELLED and error.details() == "CANCELLED"
    return closing or error.code() is grpc.StatusCode.UNAVAILABLE


class Patience:
    """Decides whether to ask again after UNAVAILABLE, and waits before it.

    The clock and the sleep are arguments: tests move them.
    """

    def __init__(
        self,
        seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ):
        self._seconds = seconds
        self._monotonic = monotonic
        self._sleep = sleep
        self._delay_seconds = FIRST_DELAY_SECONDS
        self._deadline: float | None = None

    def renew(self, seconds: float) -> None:
        """The server has answered: the next loss gets the whole of `seconds` again."""
        self._seconds = seconds
        self._deadline = None
        self._delay_seconds = FIRST_DELAY_SECONDS

    def wait(self) -> bool:
        """Waits a growing delay and returns True, or returns False once the time is up."""
        now = self._monotonic()
        if self._deadline is None:
            self._deadline = now + self._seconds
        if now >= self._deadline:
            return False
        self._sleep(min(self._delay_seconds, self._deadline - now))
        self._delay_seconds = min(2 * self._delay_seconds, LONGEST_DELAY_SECONDS)
        return True


def resumed_stream(
    start: Callable[[], Any],
    patience: Patience,
    reconnect_seconds: float,
    on_loss: Callable[[grpc.RpcError], None],
) -> Generator[Any, None, None]:
    """Yields the messages of the streams that `start` opens, opening another one whenever the server is away.

    `start` must ask for what follows the last message that the consumer took. `on_loss` hears of each loss. Raises
    grpc.RpcError for any other status, and for a server that is away when patience is at its end.
    """
    while True:
        call = start()
        try:
            for message in call:
                patience.renew(reconnect_seconds)
                yield message
            return
        except grpc.RpcError as error:
            if not is_away(error):
                raise
            on_loss(error)
            if not patience.wait():
                raise
        finally:
            # Also when the consumer goes away in the middle: the server then stops producing.
            call.cancel()
