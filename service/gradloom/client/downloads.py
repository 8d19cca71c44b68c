"""Files from a server that is not trusted to name them: nothing is written elsewhere, and nothing half."""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from gradloom.errors import DataLossError, ServerFaultError
from gradloom.v1 import job_pb2

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_READ_BYTES: Final = 1 << 20


def targets(artifacts: Sequence[job_pb2.Artifact], destination: Path) -> list[tuple[job_pb2.Artifact, Path]]:
    """Where below `destination` each artifact goes, before a byte is asked for.

    An export goes to its path, which its attempt's number makes its own. Every attempt has a log of the same path:
    anything but an export goes below `attempts/<number>`.

    Raises ServerFaultError for a path that would leave `destination`, also through a symlink that lies there, for one
    that holds what a terminal would obey, and for two artifacts of one path.
    """
    placed: dict[Path, job_pb2.Artifact] = {}
    root = destination.resolve()
    for artifact in artifacts:
        path = PurePosixPath(artifact.path)
        # PurePosixPath drops `.` and doubled slashes: what differs from its normal form is refused as well.
        if path.is_absolute() or ".." in path.parts or not path.parts or str(path) != artifact.path:
            raise ServerFaultError(
                f"the server named {artifact.path!r}, which is not a path below the destination; nothing was fetched"
            )
        if not artifact.path.isprintable():
            raise ServerFaultError(
                f"the server named {artifact.path!r}, which holds control characters; nothing was fetched"
            )
        if artifact.kind != job_pb2.Artifact.EXPORT:
            path = PurePosixPath("attempts", str(artifact.attempt), path)
        target = destination / path
        if not target.parent.resolve().is_relative_to(root) or target.is_symlink():
            raise ServerFaultError(f"{target} leads out of {destination} through a symlink; nothing was fetched")
        if target in placed:
            raise ServerFaultError(f"the server named {artifact.path!r} twice; nothing was fetched")
        placed[target] = artifact
    return [(artifact, target) for target, artifact in placed.items()]


def holds(target: Path, artifact: job_pb2.Artifact) -> bool:
    """Whether `target` is already the whole artifact, by size and digest."""
    if not target.is_file() or target.stat().st_size != artifact.size_bytes:
        return False
    digest = hashlib.sha256()
    with target.open("rb") as file:
        while block := file.read(_READ_BYTES):
            digest.update(block)
    return digest.hexdigest() == artifact.sha256


def write_whole(
    artifact: job_pb2.Artifact, target: Path, chunks: Iterable[bytes], on_bytes: Callable[[int], None]
) -> None:
    """Writes the artifact aside, checks size and digest, and renames it to `target`; leaves nothing when it fails.

    Raises DataLossError for contents that are not what the artifact's record says; OSError for what the file system
    refuses.
    """
    if not _DIGEST.fullmatch(artifact.sha256):
        raise DataLossError(f"{artifact.path}: the server keeps no digest of it")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{artifact.sha256[:16]}.part")
    digest, received = hashlib.sha256(), 0
    # Whatever lies at the name of the part is removed, not followed or added to: it is a rest of a killed download.
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    try:
        with part.open("xb") as file:
            for chunk in chunks:
                received += len(chunk)
                if received > artifact.size_bytes:
                    raise DataLossError(f"{artifact.path}: more than the recorded {artifact.size_bytes} bytes came")
                digest.update(chunk)
                file.write(chunk)
                on_bytes(len(chunk))
            if received != artifact.size_bytes:
                raise DataLossError(f"{artifact.path}: {received} bytes of the recorded {artifact.size_bytes} came")
            if digest.hexdigest() != artifact.sha256:
                raise DataLossError(f"{artifact.path}: sha256 is {digest.hexdigest()}, recorded is {artifact.sha256}")
            file.flush()
            os.fsync(file.fileno())
        part.rename(target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
