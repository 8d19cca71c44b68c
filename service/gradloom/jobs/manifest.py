"""What an attempt left, file by file: checked when it is told; an export goes on record when its job ends."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from gradloom.attempt.v1 import attempt_pb2
from gradloom.errors import FieldFault
from gradloom.v1 import job_pb2

CHECKPOINT_DIRECTORY: Final = "checkpoints"
"""Below the attempt's directory."""
_CHECKPOINT_PATH: Final = re.compile(rf"{CHECKPOINT_DIRECTORY}/([-A-Za-z0-9_]+)\.ckpt")
_CHECKPOINT_ID: Final = re.compile(r"([1-9][0-9]{0,8})-([-A-Za-z0-9_]+)")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def manifest_faults(files: Sequence[job_pb2.Artifact]) -> list[FieldFault]:
    """Every fault of a manifest: paths must be clean, relative and different, digests whole."""
    faults = []
    seen: set[str] = set()
    for index, file in enumerate(files):
        field = f"artifacts[{index}]"
        if file.path in seen:
            faults.append(FieldFault(f"{field}.path", f"must differ from every other; {file.path!r} came before"))
        faults += _file_faults(field, file)
        seen.add(file.path)
    return faults


def checkpoint_faults(checkpoint: attempt_pb2.Checkpoint) -> list[FieldFault]:
    """Every fault of a checkpoint that is told: as a file's, and that it lies where only checkpoints do."""
    field = "checkpoint"
    faults = _file_faults(field, checkpoint)
    if not _CHECKPOINT_PATH.fullmatch(checkpoint.path):
        rule = f"must be {CHECKPOINT_DIRECTORY}/NAME.ckpt, the name of letters, digits, - and _"
        faults.append(FieldFault(f"{field}.path", f"{rule}; got {checkpoint.path!r}"))
    for name, value in (("global_step", checkpoint.global_step), ("epoch", checkpoint.epoch)):
        if value < 0:
            faults.append(FieldFault(f"{field}.{name}", f"must not be negative; got {value}"))
    return faults


def _file_faults(field: str, file: job_pb2.Artifact | attempt_pb2.Checkpoint) -> list[FieldFault]:
    faults = []
    if not _is_clean(file.path):
        faults.append(
            FieldFault(f"{field}.path", f"must be relative, without empty or dotted parts; got {file.path!r}")
        )
    if not _DIGEST.fullmatch(file.sha256):
        faults.append(FieldFault(f"{field}.sha256", f"must be 64 lower-case hex digits; got {file.sha256!r}"))
    if file.size_bytes < 0:
        faults.append(FieldFault(f"{field}.size_bytes", f"must not be negative; got {file.size_bytes}"))
    return faults


def artifact_rows(uid: str, attempt: int, files: Iterable[job_pb2.Artifact]) -> list[dict[str, Any]]:
    """The rows of a manifest; the first of two files of one path stands."""
    by_path = {file.path: file for file in reversed(list(files))}
    return [
        {
            "job_uid": uid,
            "attempt": attempt,
            "path": path,
            "artifact_id": artifact_id(attempt, path),
            "kind": file.kind,
            "size_bytes": file.size_bytes,
            "sha256": file.sha256,
        }
        for path, file in by_path.items()
    ]


def artifact_id(attempt: int, path: str) -> str:
    """An id that fits into a resource name and tells the attempt; 64 bits of digest keep the paths of one apart."""
    return f"a{attempt}-{hashlib.sha256(path.encode()).hexdigest()[:16]}"


def checkpoint_id(attempt: int, path: str) -> str:
    """The id of an attempt's checkpoint within its job: `2-000007-step-90` for `checkpoints/000007-step-90.ckpt`."""
    return f"{attempt}-{PurePosixPath(path).stem}"


def checkpoint_place(checkpoint_id: str) -> tuple[int, str] | None:
    """The attempt and the path that have this id; None for what is no checkpoint's id."""
    match = _CHECKPOINT_ID.fullmatch(checkpoint_id)
    return None if match is None else (int(match[1]), f"{CHECKPOINT_DIRECTORY}/{match[2]}.ckpt")


def _is_clean(path: str) -> bool:
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))
