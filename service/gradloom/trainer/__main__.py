"""`python -m gradloom.trainer [export | validate | catalogue [--installed]]`: the data plane's programs.

Each runs in a process of its own.

Without a word: one attempt of one job, as a spare until it is told which (`attempt`). `export`: what is left
of an attempt once its GPUs are released. `validate`: what only TensorFlow can tell about a spec. `catalogue`:
prints every component's description; with `--installed` those of the installed packages, one package a line.
"""

import os
import sys
from collections.abc import Sequence

from gradloom.trainer import standby

USAGE = "usage: python -m gradloom.trainer [export | validate | catalogue [--installed]]"


def main(arguments: Sequence[str]) -> int:
    """Runs the program that the arguments name and returns its exit code; 2 for a bad usage."""
    match list(arguments):
        case []:
            standby.prepare_process()
            with standby.noise_held_back():
                from gradloom.trainer import attempt, installed

                installed.packages()
            return attempt.main()
        case ["export"]:
            standby.prepare_process()
            from gradloom.trainer import handover

            return handover.main()
        case ["validate"]:
            from gradloom.trainer import validator

            return validator.main()
        case ["catalogue"]:
            with standby.noise_held_back():
                from gradloom.trainer import catalogue
            sys.stdout.write(catalogue.generate())
            return 0
        case ["catalogue", "--installed"]:
            # The answer has a descriptor of its own: a package prints what it likes.
            with os.fdopen(os.dup(1), "w") as answers:
                os.dup2(2, 1)
                from gradloom.trainer import installed

                installed.describe(answers)
                answers.flush()
                # A thread that a package has started would keep the process.
                os._exit(0)
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
