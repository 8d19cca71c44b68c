"""Runs one supervisor.

python -m gradloom.supervisor --id UUID --server-beat FILE [--orphan-timeout SECONDS]
    [--log-file-bytes N] [--log-total-bytes N] [-- TRAINER COMMAND...]
"""

import os
import sys
from pathlib import Path

from gradloom.supervisor import processes
from gradloom.supervisor.attempt_log import DEFAULT_FILE_BYTES, DEFAULT_TOTAL_BYTES
from gradloom.supervisor.supervise import Options, supervise

_DEFAULT_ORPHAN_TIMEOUT_SECONDS = 300.0


def parse(arguments: list[str]) -> Options:
    """Reads the command line, by hand: argparse costs as much time as everything else here together."""
    command = [sys.executable, "-m", "gradloom.trainer"]
    if "--" in arguments:
        at = arguments.index("--")
        arguments, command = arguments[:at], arguments[at + 1 :]
    values = dict(zip(arguments[::2], arguments[1::2], strict=True))
    options = Options(
        supervisor_id=values.pop("--id"),
        server_beat=Path(values.pop("--server-beat")),
        orphan_timeout_seconds=float(values.pop("--orphan-timeout", _DEFAULT_ORPHAN_TIMEOUT_SECONDS)),
        command=command,
        log_file_bytes=int(values.pop("--log-file-bytes", DEFAULT_FILE_BYTES)),
        log_total_bytes=int(values.pop("--log-total-bytes", DEFAULT_TOTAL_BYTES)),
    )
    if values or not command:
        raise ValueError(f"unknown options: {', '.join(values)}" if values else "no trainer command after --")
    return options


def main() -> int:
    """Runs one supervisor to its end."""
    try:
        options = parse(sys.argv[1:])
    except (ValueError, KeyError) as error:
        print(f"gradloom.supervisor: {error}", file=sys.stderr)
        return 2
    os.environ[processes.MARK] = options.supervisor_id
    return supervise(options)


if __name__ == "__main__":
    sys.exit(main())
