"""`python -m gradloom.trainer [export | validate | catalogue]`: the data plane's programs, each in its own process.

Without a word: one attempt of one job, as a spare until it is told which (`attempt`). `export`: what is left
of an attempt once its GPUs are released. `validate`: what only TensorFlow can tell about a spec. `catalogue`:
prints every component's description.
"""

import sys
from collections.abc import Sequence

from gradloom.trainer import standby

USAGE = "usage: python -m gradloom.trainer [export | validate | catalogue]"


def main(arguments: Sequence[str]) -> int:
    """Runs the program that the arguments name and returns its exit code; 2 for a bad usage."""
    match list(arguments):
        case []:
            standby.prepare_process()
            with standby.noise_held_back():
                from gradloom.trainer import attempt
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
    print(USAGE, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
