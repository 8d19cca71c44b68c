"""What is left on the machine and on the disk, seen from outside: by /proc, by the files, by SQLite's own reader.

Nothing here asks the service, nor reads anything with its code.
"""

import contextlib
import hashlib
import json
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ENDED = 4
"""Attempt.State, as the database has it."""
SUPERVISOR_ID = b"GRADLOOM_SUPERVISOR_ID="
SERVERS_OWN = {"gradloom.db", "gradloom.db-reserve", "server.beat", "server.lock", "artifacts"}
"""What a server that has drained leaves in its data directory."""
ATTEMPTS_OWN = {"log", "supervisor", "checkpoints", "export"}
SUPERVISORS_OWN = {"lock", "supervisor.json", "exit.json", "stop", "closed"}


@dataclass(frozen=True)
class Seen:
    """A living process of a server's data directory."""

    pid: int
    parent: int
    start_ticks: int
    supervisor_id: str
    """Of the attempt or the spare that it belongs to; empty for the server itself."""
    command: str

    @property
    def is_supervisor(self) -> bool:
        return "gradloom.supervisor" in self.command


def processes_of(directory: Path) -> list[Seen]:
    """Every living process whose command or environment names the directory."""
    return [seen for entry in os.listdir("/proc") if entry.isdigit() and (seen := _seen(int(entry), directory))]


def _seen(pid: int, directory: Path) -> Seen | None:
    if pid == os.getpid():
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        # The name in parentheses may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX" or os.fsencode(directory) not in command + environment:
        return None
    mark = next((line for line in environment.split(b"\0") if line.startswith(SUPERVISOR_ID)), SUPERVISOR_ID)
    text = command.replace(b"\0", b" ").decode(errors="replace")
    return Seen(pid, int(fields[1]), int(fields[19]), mark.removeprefix(SUPERVISOR_ID).decode(), text)


def attempts_by_supervisor(data_directory: Path) -> dict[str, tuple[str, int]]:
    """Job's uid and attempt's number by the id of the supervisor that keeps it."""
    found = {}
    for record in data_directory.glob("artifacts/*/*/supervisor/supervisor.json"):
        with contextlib.suppress(OSError, ValueError):  # Being written.
            supervisor_id = json.loads(record.read_bytes())["supervisor_id"]
            found[supervisor_id] = (record.parts[-4], int(record.parts[-3]))
    return found


def jobs_with_two_live_attempts(directory: Path, data_directory: Path) -> list[str]:
    """Uids of jobs of which processes of more than one attempt live at the same moment."""
    kept = attempts_by_supervisor(data_directory)
    live: dict[str, dict[int, list[Seen]]] = defaultdict(lambda: defaultdict(list))
    for seen in processes_of(directory):
        if seen.supervisor_id in kept:
            uid, number = kept[seen.supervisor_id]
            live[uid][number].append(seen)
    # A walk over /proc takes a while: what it saw first may have ended before the last began.
    still = {
        uid: [number for number, found in attempts.items() if any(map(_still_lives, found))]
        for uid, attempts in live.items()
        if len(attempts) > 1
    }
    return [uid for uid, numbers in still.items() if len(numbers) > 1]


def _still_lives(seen: Seen) -> bool:
    try:
        fields = Path(f"/proc/{seen.pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return fields[0] not in "ZX" and int(fields[19]) == seen.start_ticks


@contextlib.contextmanager
def read_only(data_directory: Path) -> Iterator[sqlite3.Connection]:
    """The database, as SQLite's own reader finds it."""
    connection = sqlite3.connect(f"file:{data_directory / 'gradloom.db'}?mode=ro", uri=True, timeout=30)
    try:
        yield connection
    finally:
        connection.close()


def devices_held(data_directory: Path) -> list[str]:
    """Devices of live attempts; one that more than one of them holds is there as often."""
    with read_only(data_directory) as connection:
        rows = connection.execute(
            "SELECT devices FROM attempts WHERE state <> ? AND NOT devices_released", (ENDED,)
        ).fetchall()
    return sorted(device for (devices,) in rows for device in json.loads(devices))


def damage(data_directory: Path) -> list[str]:
    """What SQLite itself finds wrong with the database."""
    with read_only(data_directory) as connection:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
        return found + [str(row) for row in connection.execute("PRAGMA foreign_key_check")]


def superfluous_files(data_directory: Path, temporary: Path) -> list[str]:
    """Files that no record accounts for, and records without their file, when the server has drained."""
    found = [f"{path}: nobody's" for path in data_directory.iterdir() if path.name not in SERVERS_OWN]
    found += [f"{path}: temporary" for path in temporary.iterdir()]
    with read_only(data_directory) as connection:
        attempts = {(uid, str(number)) for uid, number in connection.execute("SELECT job_uid, number FROM attempts")}
        recorded = {
            data_directory / "artifacts" / uid / str(number) / path: sha256
            for table in ("checkpoints", "artifacts")
            for uid, number, path, sha256 in connection.execute(f"SELECT job_uid, attempt, path, sha256 FROM {table}")
        }
    for path, sha256 in recorded.items():
        if not path.is_file():
            found.append(f"{path}: on record and not there")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            found.append(f"{path}: is not what is on record")
    for uid_directory in (data_directory / "artifacts").iterdir():
        for directory in uid_directory.iterdir():
            if (uid_directory.name, directory.name) not in attempts:
                found.append(f"{directory}: no attempt's")
            else:
                found += _superfluous_files_of(directory, set(recorded))
    return found


def _superfluous_files_of(directory: Path, recorded: set[Path]) -> list[str]:
    found = [f"{path}: left over" for path in directory.iterdir() if path.name not in ATTEMPTS_OWN]
    found += [f"{path}: left over" for path in (directory / "supervisor").glob("*") if path.name not in SUPERVISORS_OWN]
    for place in ("checkpoints", "export", "log"):
        files = [path for path in (directory / place).rglob("*") if path.is_file()]
        found += [f"{path}: on no record" for path in files if path not in recorded]
    return found
