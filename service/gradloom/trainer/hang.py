"""How an attempt ends in which something hangs: with the place where it does, while that goes on hanging."""

import faulthandler
import logging
import sys
from typing import NoReturn

from gradloom.attempt.v1 import attempt_pb2
from gradloom.trainer import outcome, user_code
from gradloom.trainer.session import Session
from gradloom.trainer.watchdog import Hang
from gradloom.v1 import job_pb2

logger = logging.getLogger(__name__)


def end(attempt: Session, hang: Hang) -> NoReturn:
    """Ends the attempt from the watchdog's thread, while TensorFlow does whatever it does."""
    logger.error("%s: these are the stacks of all threads", hang.message)
    sys.stdout.flush()
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    place, stack = user_code.at_work()
    message = f"{hang.message}; {place}" if place else hang.message
    # Last, where a reader looks first.
    logger.error("%s", "\n".join(["this is where it hangs:", *stack, message]))
    error = job_pb2.JobError(message=message, log_lines=stack[-outcome.MOST_LOG_LINES :])
    attempt.fail_at_once(attempt_pb2.FinishAttemptRequest(reason=hang.reason, message=message, error=error))
