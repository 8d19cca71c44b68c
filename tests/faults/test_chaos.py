"""The short form of `make chaos`."""

from pathlib import Path

from .chaos import Chaos

SEED = 20
SECONDS = 15.0


def test_whatever_is_killed_every_acknowledged_job_ends_as_if_nothing_had_happened_and_nothing_is_left(tmp_path: Path):
    Chaos(tmp_path, SEED, kinds=("dropout",), jobs_at_once=2).run(SECONDS)
