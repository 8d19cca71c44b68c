"""DownloadArtifact: one recorded file, proven against its digest while it is sent."""

import hashlib
import os
import stat
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO, Final

from gradloom.api.convert import artifact_name
from gradloom.api.offload import Offload
from gradloom.errors import CursorExpiredError, DataLossError, refusal
from gradloom.jobs.records import StoredArtifact
from gradloom.jobs.store import Store
from gradloom.v1 import service_pb2

CHUNK_BYTES: Final = 1 << 20


async def download_artifact(
    store: Store, offload: Offload, request: service_pb2.DownloadArtifactRequest
) -> AsyncGenerator[service_pb2.DownloadArtifactResponse, None]:
    """Yields the artifact, then its bytes from the offset on.

    The last chunk is held back until the digest of the whole file is known to be right: a download that ends OK is
    whole. Raises DataLossError, NotFoundError, CursorExpiredError for an offset beyond the file.
    """
    name, artifact_id = artifact_name(request.name)
    offset = request.offset_bytes
    if offset < 0:
        raise refusal("offset_bytes", f"must be 0 or more; got {offset}")
    stored = await offload.read(store.get_artifact, name, artifact_id)
    size = stored.artifact.size_bytes
    if offset > size:
        raise CursorExpiredError(f"the file has {size} bytes; the offset is {offset}", "offset_bytes")
    file = await offload.read(_open, stored)
    with file:
        yield service_pb2.DownloadArtifactResponse(artifact=stored.artifact)
        digest = hashlib.sha256()
        position, held_back = 0, b""
        while chunk := await offload.read(_read, file, digest):
            if held_back:
                yield service_pb2.DownloadArtifactResponse(chunk=held_back)
            wanted_from = max(0, min(len(chunk), offset - position))
            position += len(chunk)
            held_back = chunk[wanted_from:]
        if position != size or digest.hexdigest() != stored.artifact.sha256:
            raise _lost(stored, "no longer has the size and the digest that were recorded")
        if held_back:
            yield service_pb2.DownloadArtifactResponse(chunk=held_back)


def _open(stored: StoredArtifact) -> BinaryIO:
    """Opens the file, which must lie below its attempt's directory with every link resolved."""
    directory = Path(os.path.realpath(stored.directory))
    path = Path(os.path.realpath(directory / stored.artifact.path))
    if not path.is_relative_to(directory):
        raise _lost(stored, "no longer lies in its attempt's directory")
    try:
        # Not blocking, should a pipe have been put in its place.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _lost(stored, f"cannot be read any more: {error.strerror}") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_size != stored.artifact.size_bytes:
        os.close(handle)
        raise _lost(stored, "is no longer a file of the size that was recorded")
    return os.fdopen(handle, "rb")


def _lost(stored: StoredArtifact, what: str) -> DataLossError:
    return DataLossError(f"{stored.artifact.path} {what}", stored.artifact.name)


def _read(file: BinaryIO, digest: "hashlib._Hash") -> bytes:
    chunk = file.read(CHUNK_BYTES)
    digest.update(chunk)
    return chunk
