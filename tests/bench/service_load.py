"""What the service bears: many jobs, many watchers, many waiting, and what its promises cost.

    .venv/bin/python -m tests.bench.service_load [--jobs 100000] [--watchers 1000] [--queued 10000] [PART ...]

Parts: creates, reads, watchers, ticks, many, training; all of them by default. The server is the real one with all its
listeners, in a process of its own; its trainers are played, so that what is measured is the service; those of
`training` are real and take both cores.
Ends with 1 when a figure misses its target.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.bench import load_creates, load_many, load_reads, load_ticks, load_training, load_watchers
from tests.bench.load_server import Figure


def main() -> int:
    """Runs the parts and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000, help="in the store while it is read")
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--queued", type=int, default=10_000, help="while the scheduler ticks")
    parser.add_argument("--played", type=int, default=10_000, help="run while the memory is looked at")
    given = parser.parse_known_args()[0]
    parts: dict[str, Callable[[Path], list[Figure]]] = {
        "creates": load_creates.measure,
        "reads": lambda directory: load_reads.measure(directory, given.jobs),
        "watchers": lambda directory: load_watchers.measure(directory, given.watchers),
        "ticks": lambda directory: load_ticks.measure(directory, given.queued),
        "many": lambda directory: load_many.measure(directory, given.played),
        "training": load_training.measure,
    }
    parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART")
    figures = []
    for part in parser.parse_args().parts or parts:
        with tempfile.TemporaryDirectory() as directory:
            for figure in parts[part](Path(directory)):
                print(figure, flush=True)
                figures.append(figure)
    return int(any(figure.is_missed for figure in figures))


if __name__ == "__main__":
    raise SystemExit(main())
