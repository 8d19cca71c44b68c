"""Numbers, lists and devices as a person says them."""

from collections.abc import Sequence

from gradloom.jobs.devices import Demand
from gradloom.v1 import job_pb2


def span(seconds: float) -> str:
    """Such as `0.4 s`, `12 s`, `3 min 5 s`, `2 h 7 min`, `3 d 4 h`."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for size, unit, smaller, smaller_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"


def count(number: int, one: str) -> str:
    """`1 job`, `2 jobs`, `1,200 jobs`."""
    return f"{number:,} {one if number == 1 else one + 's'}"


def listed(parts: Sequence[str], most: int = 3) -> str:
    """`a, b and c`; of a long list the first, and how many more there are."""
    shown = list(parts[:most]) if len(parts) > most else list(parts[:-1])
    last = f"{len(parts) - most} more" if len(parts) > most else (parts[-1] if parts else "")
    return f"{', '.join(shown)} and {last}" if shown else last


def demanded(demand: Demand) -> str:
    """`2 GPUs`, `1 CPU slot`."""
    return count(demand.gpus, "GPU") if demand.gpus else count(demand.cpu_slots, "CPU slot")


def how_far(progress: job_pb2.Progress | None) -> str:
    """Such as `epoch 2 of 10, step 1,200 of 12,000`; what it does where that says more; empty before it has begun."""
    if progress is None:
        return ""
    if progress.phase in (job_pb2.Progress.EXPORTING, job_pb2.Progress.PROVING):
        return "trained, exports" if progress.phase == job_pb2.Progress.EXPORTING else "trained, proves its export"
    parts = []
    if progress.epoch:
        parts.append(f"epoch {progress.epoch:,} of {progress.epochs:,}")
    if progress.global_step:
        of = f" of {progress.total_steps:,}" if progress.total_steps else ""
        parts.append(f"step {progress.global_step:,}{of}")
    return ", ".join(parts) or "prepares"


def sentence(text: str) -> str:
    """The text with a capital at its beginning and a stop at its end."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
