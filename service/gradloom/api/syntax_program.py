"""A program of its own, run by its path: tells whether the text on stdin is Python. Runs none of it.

Python's compiler can take very long, much memory or the whole process on texts that are made for it: hence a process
with limits, standard library only. Says `{"line": n, "message": "..."}` on stdout, or `{}` for Python.
"""

import json
import os
import resource
import sys
import warnings

CPU_SECONDS = 5
MEMORY_BYTES = 1 << 30


def main() -> None:
    """Compiles what stdin holds, and throws it away."""
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    print(json.dumps(fault(sys.stdin.buffer.read().decode())))


def fault(source: str) -> dict[str, object]:
    """The first place where the text is not Python, if there is one."""
    try:
        compile(source, "<user_code>", "exec", dont_inherit=True)
    except SyntaxError as error:
        return {"line": error.lineno or 1, "message": error.msg}
    except ValueError as error:
        return {"line": 1, "message": str(error)}
    except (RecursionError, MemoryError):
        return {"line": 1, "message": "it is nested too deeply for Python's compiler"}
    return {}


if __name__ == "__main__":
    main()
