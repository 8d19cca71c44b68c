"""Checkpoint files: all state of a training in one file, which is whole or not there.

    gradloom checkpoint 1, a newline   what it is, and in which format
    8 bytes, 8 bytes                   little-endian: how long the header is, how long the arrays are
    header                             JSON: whose it is, how far it is, where each array lies
    arrays                             their bytes, C order, little-endian, without gaps
    32 bytes                           SHA-256 of everything before

Reading takes NumPy alone, so that whoever wants another job's weights needs nothing else.
"""

import hashlib
import json
import os
import struct
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from gradloom.trainer.durable import flush_to_disk

DIRECTORY: Final = "checkpoints"
"""Below the attempt's directory."""
MAGIC: Final = b"gradloom checkpoint 1\n"
LENGTHS: Final = struct.Struct("<QQ")
DIGEST_BYTES: Final = 32

assert sys.byteorder == "little", "arrays are written as they lie in memory"


class UnusableCheckpoint(Exception):
    """A checkpoint that a training cannot go on from; says why in words that follow its name."""


class DamagedCheckpoint(UnusableCheckpoint):
    """The file is missing, is no checkpoint, or does not hold what was written."""


class ForeignCheckpoint(UnusableCheckpoint):
    """The file is whole, but of another job, or of a training with other variables."""


@dataclass(frozen=True)
class Header:
    """Whose state a checkpoint holds, and what of it is not an array."""

    job_uid: str
    spec_sha256: str
    """Of the resolved spec."""
    attempt: int
    global_step: int
    epoch: int
    """In work, from 1."""
    state: Mapping[str, Any] = field(default_factory=dict)
    """What the training keeps beside its variables, as JSON has it."""


@dataclass(frozen=True)
class Written:
    """A file as it was written."""

    size_bytes: int
    sha256: str
    """Of the whole file, hex."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint as it was read; the arrays lie in the memory that the file was read into."""

    header: Header
    arrays: Mapping[str, np.ndarray]
    sha256: str

    def require_own(self, job_uid: str, spec_sha256: str) -> None:
        """Raises ForeignCheckpoint unless it is of this job, trained as this one is."""
        if self.header.job_uid != job_uid:
            raise ForeignCheckpoint(f"is of job {self.header.job_uid}, not of {job_uid}")
        if self.header.spec_sha256 != spec_sha256:
            raise ForeignCheckpoint("was written under another resolved spec")


def write(path: Path, aside: Path, header: Header, arrays: Mapping[str, np.ndarray]) -> Written:
    """Writes a checkpoint: aside, made durable, then given its name in one step.

    Args:
        path: Below an existing attempt's directory; its own parent is made.
        aside: On the same file system; nothing is left there, whatever happens.
        header: Of the state.
        arrays: By key; nobody may change them meanwhile.

    Raises:
        OSError: The disk is full, or the like; `path` is not there then.
    """
    try:
        written = _write_aside(aside, header, arrays)
        path.parent.mkdir(exist_ok=True)
        os.rename(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    flush_to_disk(path.parent)
    flush_to_disk(path.parent.parent)
    return written


def _write_aside(path: Path, header: Header, arrays: Mapping[str, np.ndarray]) -> Written:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for part in _parts(header, arrays):
            digest.update(part)
            file.write(part)
            size += part.nbytes
        closing = digest.digest()
        digest.update(closing)
        file.write(closing)
        file.flush()
        os.fsync(file.fileno())
    return Written(size + len(closing), digest.hexdigest())


def _parts(header: Header, arrays: Mapping[str, np.ndarray]) -> Iterator[memoryview]:
    """What comes before the digest, without a copy of the arrays."""
    entries, offset = [], 0
    for key, array in arrays.items():
        entries.append({"key": key, "dtype": array.dtype.name, "shape": array.shape, "offset": offset})
        offset += array.nbytes
    described = json.dumps(asdict(header) | {"entries": entries}).encode()
    yield memoryview(MAGIC + LENGTHS.pack(len(described), offset) + described)
    for array in arrays.values():
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read(path: Path) -> Saved:
    """Reads a checkpoint and checks every byte of it.

    Raises:
        DamagedCheckpoint: Naming what is wrong.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DamagedCheckpoint(f"cannot be read: {error.strerror}") from error
    described, arrays = _sections(memoryview(content))
    try:
        fields = json.loads(bytes(described))
        entries = fields.pop("entries")
        return Saved(
            Header(**fields),
            {entry["key"]: _array(arrays, entry) for entry in entries},
            hashlib.sha256(content).hexdigest(),
        )
    except (ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        raise DamagedCheckpoint(f"has a header that cannot be read: {type(error).__name__}: {error}") from error


def _sections(content: memoryview) -> tuple[memoryview, memoryview]:
    """Header and arrays of a file whose digest holds."""
    begin = len(MAGIC) + LENGTHS.size
    if bytes(content[: len(MAGIC)]) != MAGIC[: len(content)]:
        raise DamagedCheckpoint(f"is no checkpoint: it does not begin with {MAGIC.decode().strip()!r}")
    if len(content) < begin:
        raise DamagedCheckpoint(f"is truncated: it ends after {len(content)} bytes")
    header_bytes, array_bytes = LENGTHS.unpack_from(content, len(MAGIC))
    end = begin + header_bytes + array_bytes
    if len(content) != end + DIGEST_BYTES:
        what = "is truncated" if len(content) < end + DIGEST_BYTES else "is too long"
        raise DamagedCheckpoint(f"{what}: it has {len(content)} bytes in place of {end + DIGEST_BYTES}")
    if hashlib.sha256(content[:end]).digest() != bytes(content[end:]):
        raise DamagedCheckpoint("is damaged: its content does not have the digest that it ends with")
    return content[begin : begin + header_bytes], content[begin + header_bytes : end]


def _array(content: memoryview, entry: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = _dtype(entry["dtype"]), tuple(entry["shape"])
    count = int(np.prod(shape, dtype=np.int64))
    if count == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(content, dtype, count, entry["offset"]).reshape(shape)


def _dtype(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:
        # NumPy itself has no bfloat16 and the like; a file that has them was written where this package is.
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
