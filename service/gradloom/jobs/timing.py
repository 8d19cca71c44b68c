"""How long the parts of the scheduler wait for what."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """How long the scheduler waits for what."""

    stop_grace_seconds: float = 10.0
    """Between asking a trainer to end and killing it."""
    save_seconds: float = 60.0
    """What a trainer has to save a checkpoint that is to end, before it is signalled; a drain says it anew."""
    finish_grace_seconds: float = 30.0
    """A trainer that has reported its end and lives on is stopped after this."""
    launch_pause_seconds: float = 5.0
    """After a launch that failed, which is the machine's fault rather than the job's."""
    spare_pause_seconds: float = 20.0
    """The longest that the spare's imports are put off, so as not to slow an attempt that prepares."""
    report_timeout_seconds: float = 300.0
    """A trainer of which nothing is heard for so long is stopped."""
    reservation_seconds: float = 60.0
    """A job that has not fitted for so long has devices held back for it."""
