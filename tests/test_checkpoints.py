"""Checkpoint files: what is written comes back bit for bit, and whatever is not whole is named and refused."""

import hashlib
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from gradloom.trainer import checkpoints
from gradloom.trainer.checkpoints import DamagedCheckpoint, ForeignCheckpoint, Header

HEADER = Header("3f6b", "ab" * 32, attempt=2, global_step=70, epoch=3, state={"best": 0.1, "counters": [1, None]})
ARRAYS = {
    "model/0/hidden/kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
    "group/all/optimizer/0 iterations": np.array(7, np.int64),
    "seed": np.array([2**32 - 1, 5], np.uint32),
}
DTYPES = st.sampled_from(["float16", "float32", "float64", "int8", "int64", "uint32", "bool"]).map(np.dtype)
ANY_ARRAYS = st.dictionaries(
    st.text(min_size=1, max_size=20),
    DTYPES.flatmap(lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0))),
    max_size=5,
)


def write(directory: Path, header=HEADER, arrays=ARRAYS) -> Path:
    path = directory / "attempt" / "checkpoints" / "000001.ckpt"
    path.parent.parent.mkdir(exist_ok=True)
    written = checkpoints.write(path, directory / "aside", header, arrays)
    assert written.size_bytes == path.stat().st_size
    assert written.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    return path


def assert_same_bits(found, expected):
    assert list(found) == list(expected)
    for key, array in expected.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert found[key].tobytes() == array.tobytes()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ANY_ARRAYS)
def test_every_array_comes_back_bit_for_bit(tmp_path, arrays):
    saved = checkpoints.read(write(tmp_path, arrays=arrays))
    assert_same_bits(saved.arrays, arrays)
    assert saved.header == HEADER
    assert not (tmp_path / "aside").exists()


def test_types_that_numpy_lacks_and_numbers_that_are_none_keep_their_bits(tmp_path):
    arrays = {
        "bfloat16": np.array([1.5, -2, np.nan], ml_dtypes.bfloat16),
        "transposed": np.arange(6.0).reshape(2, 3).T,
        "nan with a payload": np.array([0x7FC00123], np.uint32).view(np.float32),
    }
    path = write(tmp_path, arrays=arrays)
    assert_same_bits(checkpoints.read(path).arrays, arrays)
    assert checkpoints.read(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found(tmp_path, at, bit):
    path = write(tmp_path)
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 1 << bit
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=r"no checkpoint|damaged|truncated|too long"):
        checkpoints.read(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_file_that_ends_too_early_anywhere_is_truncated(tmp_path, share):
    path = write(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DamagedCheckpoint, match="truncated"):
        checkpoints.read(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and so on, as an npz begins", "is no checkpoint"),
        (b"gradloom checkpoint 2\n" + bytes(100), "is no checkpoint: it does not begin with 'gradloom checkpoint 1'"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_what_is_no_checkpoint_is_called_that(tmp_path, content, words):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match=words):
        checkpoints.read(path)


def test_a_file_with_something_behind_its_end_is_too_long(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DamagedCheckpoint, match="too long"):
        checkpoints.read(path)


def test_a_checkpoint_of_another_job_or_another_resolved_spec_is_foreign(tmp_path):
    saved = checkpoints.read(write(tmp_path))
    saved.require_own("3f6b", "ab" * 32)
    with pytest.raises(ForeignCheckpoint, match="is of job 3f6b, not of 77aa"):
        saved.require_own("77aa", "ab" * 32)
    with pytest.raises(ForeignCheckpoint, match="another resolved spec"):
        saved.require_own("3f6b", "cd" * 32)


def test_a_write_that_fails_leaves_nothing_and_the_one_before_as_it_was(tmp_path):
    path = write(tmp_path)
    before = path.read_bytes()
    with pytest.raises(IsADirectoryError):
        checkpoints.write(path.parent, tmp_path / "aside", HEADER, ARRAYS)
    assert path.read_bytes() == before
    assert not (tmp_path / "aside").exists()


def test_reading_imports_no_tensorflow(tmp_path):
    path = write(tmp_path)
    code = (
        "import sys, pathlib; from gradloom.trainer import checkpoints; "
        f"checkpoints.read(pathlib.Path({str(path)!r})); sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
