"""The rules of how a job waits, how long it may have devices, and what is retried after how long a wait."""

from typing import Final

from gradloom.faults import Faults, child, shown
from gradloom.job import DEFAULT_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS, REASON_RULES, reason_name
from gradloom.spec.limits import between, duration_between, seconds_of
from gradloom.v1 import spec_pb2

MAX_MAX_ATTEMPTS: Final = 20
SHORTEST_LIMIT_SECONDS: Final = 1.0


def check_scheduling(scheduling: spec_pb2.SchedulingSpec, faults: Faults) -> None:
    """Notes every fault of `spec.scheduling`."""
    for name in ("max_run_duration", "max_queue_duration"):
        duration_between(scheduling, name, SHORTEST_LIMIT_SECONDS, None, "spec.scheduling", faults)


def check_retry(retry: spec_pb2.RetrySpec, faults: Faults) -> None:
    """Notes every fault of `spec.retry`."""
    field = "spec.retry"
    between(retry, "max_attempts", 1, MAX_MAX_ATTEMPTS, field, faults)
    _check_backoff(retry.backoff, child(field, "backoff"), faults)
    _check_retry_on(retry, child(field, "retry_on"), faults)


def _check_backoff(backoff: spec_pb2.RetryBackoff, field: str, faults: Faults) -> None:
    if not duration_between(backoff, "initial_duration", 0.0, LONGEST_BACKOFF_SECONDS, field, faults):
        return
    is_given = backoff.HasField("initial_duration")
    first = seconds_of(backoff.initial_duration) if is_given else DEFAULT_BACKOFF_SECONDS
    duration_between(backoff, "max_duration", first, LONGEST_BACKOFF_SECONDS, field, faults)


def _check_retry_on(retry: spec_pb2.RetrySpec, field: str, faults: Faults) -> None:
    if not retry.retry_on:
        return
    rules = {reason_name(reason): rule for reason, rule in REASON_RULES.items()}
    narrowable = [name for name, rule in rules.items() if rule.retried and rule.counted]
    if len(retry.retry_on) > len(rules):
        faults.add(field, f"must name each reason once; got {len(retry.retry_on)} names")
        return
    for position, name in enumerate(retry.retry_on):
        at = child(field, position)
        rule = rules.get(name)
        if rule is None:
            near = faults.did_you_mean(name, narrowable)
            faults.add(at, f"must be one of {', '.join(narrowable)}; got {shown(name)}{near}")
        elif not rule.retried:
            faults.add(at, f"must be a reason that is retried by itself; {name} never is")
        elif not rule.counted:
            faults.add(at, f"must be a reason that counts; after {name} another attempt follows in any case")
        elif name in retry.retry_on[:position]:
            faults.add(at, f"must be named once only; {name} is there already")
