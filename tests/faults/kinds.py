"""What is trained while things break: of each kind, every job that trains to its end has the same results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.server import digits_job

HANG_VARIABLE = "GRADLOOM_TEST_HANG"
"""Names the file during whose existence a step of an unruly job does not end."""
UNRULY = (Path(__file__).parent / "unruly.py").read_text()
STEP_TIMEOUT_SECONDS = 2.0


def dropout_job() -> dict[str, Any]:
    """Some seconds of training whose result depends on random numbers drawn meanwhile."""
    retry = {"max_attempts": 20, "backoff": {"max_duration": "2s"}}
    job = digits_job(epochs=6, retry=retry, scheduling={"preemptible": True})
    job["spec"]["model"]["layers"].insert(4, {"type": "Dropout", "config": {"rate": 0.2}})
    job["spec"]["training"] |= {"steps_per_epoch": 400, "checkpoint": {"every_seconds": 0.5}}
    return job


def replicated_job() -> dict[str, Any]:
    """The same on two logical devices."""
    job = dropout_job()
    job["spec"]["resources"] = {"cpu_replicas": 2}
    job["spec"]["training"] |= {"steps_per_epoch": 200}
    return job


def unruly_job() -> dict[str, Any]:
    """Ignores SIGTERM, leaves children behind, writes more than it should, and may hang in a step."""
    job = dropout_job()
    job["spec"]["user_code"] = {"source": UNRULY}
    job["spec"]["model"]["layers"].insert(2, {"type": "chaos>Hanging"})
    job["spec"]["training"] |= {"steps_per_epoch": 200, "step_timeout_seconds": STEP_TIMEOUT_SECONDS}
    return job


KINDS: dict[str, Callable[[], dict[str, Any]]] = {
    "dropout": dropout_job,
    "replicated": replicated_job,
    "unruly": unruly_job,
}
