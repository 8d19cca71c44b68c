"""What the server writes to stderr: one line an entry, times in UTC."""

import logging
import sys
import time
from typing import Final

GRPC_CORE_LOGGER: Final = "grpc._cython.cygrpc"
_CALLER_WENT_AWAY: Final = "ExecuteBatchError raised in core by servicer method ["


def log_to_stderr(level: str) -> None:
    """Sets up logging for this process."""
    formatter = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("alembic", "sqlalchemy"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger(GRPC_CORE_LOGGER).addFilter(is_not_a_caller_that_left)


def is_not_a_caller_that_left(record: logging.LogRecord) -> bool:
    """Drops what gRPC says, as an error with its traceback, when a caller goes away in the middle of an answer.

    Callers do that every day, and a failed batch tells nothing else: the stream under it is gone. gRPC itself
    keeps quiet about it only if it has heard of the cancel before the batch fails.
    """
    return not record.getMessage().startswith(_CALLER_WENT_AWAY)
