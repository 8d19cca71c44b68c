"""`make chaos`: breaks things for minutes and says what it does; 1 when something was seen that must not be."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.chaos import Chaos, ChaosError
from tests.faults.disk import ISOLATED, may_mount


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long things are broken")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 31), help="what is broken follows from it")
    parser.add_argument("--isolated", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    directory = options.isolated
    if directory is None:
        directory = Path(tempfile.mkdtemp(prefix="gradloom-chaos-"))
        print(f"seed {options.seed}, {options.minutes:g} minutes, in {directory}", flush=True)
        if may_mount(directory):
            again = [sys.executable, "-m", "tests.faults", "--minutes", str(options.minutes), "--seed"]
            os.execvp(ISOLATED[0], [*ISOLATED, *again, str(options.seed), "--isolated", str(directory)])
        print("no disk gets full or read-only: this user may not mount one", flush=True)
    may_mount_here = options.isolated is not None
    chaos = Chaos(directory, options.seed, may_mount=may_mount_here, say=lambda text: print(text, flush=True))
    try:
        chaos.run(options.minutes * 60)
    except ChaosError as error:
        print(f"{error}\nagain: make chaos SEED={options.seed} MINUTES={options.minutes:g}", file=sys.stderr)
        return 1
    shutil.rmtree(directory)
    print(f"held: every invariant, with seed {options.seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
