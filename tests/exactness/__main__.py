"""The whole matrix: every optimizer with every option of groups, on 1, 2 and 4 replicas, in float64 and float32.

.venv/bin/python -m tests.exactness [OPTIMIZER...]
"""

import sys

from tests.exactness.differences import differences, optimizer_names


def main() -> int:
    """Prints a line for each; returns 1 when the number of replicas changes a result."""
    exact = True
    trials = sys.argv[1:] or ["optimizers", "SGD with momentum", *optimizer_names()]
    print(f"{'trial':<22}{'precision':<11}{'largest difference':>20}{'allowed':>10}  where")
    for trial in trials:
        for precision in ("FLOAT64", "FLOAT32"):
            (found,) = differences([trial], precision)
            exact &= found.exact
            _, run, what = found.where.split("|")
            where = f"{what}, {run} replicas" + ("" if found.exact else "   NOT EXACT")
            print(f"{trial:<22}{precision:<11}{found.largest:>20.1e}{found.allowed:>10.1e}  {where}", flush=True)
    return int(not exact)


if __name__ == "__main__":
    sys.exit(main())
