"""Data sources of a spec as arrays in memory.

    train = load(spec.data.train, "spec.data.train", data_roots, dataset_directories)

Built-in data sets are looked for in the server's dataset directories, in Debian's, in Keras's cache, and are then
downloaded by Keras.
"""

import gzip
import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import keras
import numpy as np

from gradloom.errors import FieldFault, InvalidRequestError, refusal
from gradloom.faults import child, shown
from gradloom.trainer import tabular
from gradloom.v1 import spec_pb2

DEBIAN_DIRECTORY: Final = "/usr/share/datasets"
DIGITS_TRAIN_EXAMPLES: Final = 1437

_IDX_FILES: Final = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
_IDX_UNSIGNED_BYTES: Final = 8
_CIFAR_FILES: Final = {"train": [f"data_batch_{index}.bin" for index in range(1, 6)], "test": ["test_batch.bin"]}
_CIFAR_SHAPE: Final = (3, 32, 32)
_KIND_OF_DTYPE: Final = "buif"


class DataUnavailable(Exception):
    """A data source is missing, unreadable or does not fit the model; `faults` say where and what would help."""

    def __init__(self, faults: Sequence[FieldFault]):
        self.faults = tuple(faults)
        super().__init__("; ".join(f"{fault.field}: {fault.description}" for fault in self.faults))


@dataclass(frozen=True)
class Arrays:
    """The examples of one source in its order, as they were found."""

    features: np.ndarray
    """[n, ...]."""
    labels: np.ndarray | Mapping[str, np.ndarray]
    """[n, ...], those of every output; or by the output's name."""
    weights: np.ndarray | None = None
    """What each example counts in the loss, [n]; None when all count alike."""

    def __len__(self) -> int:
        return len(self.features)

    def labels_of(self, output: str) -> np.ndarray:
        """The labels of an output."""
        return self.labels[output] if isinstance(self.labels, Mapping) else self.labels

    def named(self) -> dict[str, np.ndarray]:
        """All arrays by what they hold: features, labels (those by name in its order), then weights."""
        if isinstance(self.labels, Mapping):
            labels = {f"labels of {shown(name)}": self.labels[name] for name in sorted(self.labels)}
        else:
            labels = {"labels": self.labels}
        weights = {} if self.weights is None else {"sample weights": self.weights}
        return {"features": self.features, **labels, **weights}

    def part(self, begin: int, end: int) -> "Arrays":
        """The examples at positions [begin, end)."""
        if isinstance(self.labels, Mapping):
            labels: Any = {name: array[begin:end] for name, array in self.labels.items()}
        else:
            labels = self.labels[begin:end]
        return Arrays(self.features[begin:end], labels, None if self.weights is None else self.weights[begin:end])

    @cached_property
    def sha256(self) -> str:
        """Hex digest of the bytes of the arrays, in the order of `named`."""
        digest = hashlib.sha256()
        for array in self.named().values():
            digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        return digest.hexdigest()


def load(
    source: spec_pb2.DataSource,
    field: str,
    data_roots: Sequence[str],
    dataset_directories: Sequence[str],
) -> Arrays:
    """Reads the examples of a source within its range.

    Args:
        source: With defaults.
        field: The source's path in the job, for faults, such as `spec.data.train`.
        data_roots: Directories that an npz file may lie in, absolute.
        dataset_directories: Where built-in data sets are looked for first, absolute.

    Raises:
        DataUnavailable: The source is missing or unreadable, or holds numbers that are not finite.
        InvalidRequestError: The spec asks for what the source does not hold.
    """
    if source.HasField("npz"):
        arrays = _load_npz(source.npz, f"{field}.npz", data_roots)
    else:
        arrays = _load_builtin(
            source.builtin.name, source.builtin.split or "train", f"{field}.builtin", dataset_directories
        )
    if not len(arrays):
        place = f"{field}.npz.path" if source.HasField("npz") else f"{field}.builtin"
        raise DataUnavailable([FieldFault(place, "must hold an example at least; its arrays are empty")])
    arrays = _within_range(arrays, source.range, f"{field}.range")
    _check_finite(arrays, field, getattr(source.range, "from"))
    return arrays


def _within_range(arrays: Arrays, wanted: spec_pb2.ExampleRange, field: str) -> Arrays:
    begin = getattr(wanted, "from")
    end = wanted.to if wanted.HasField("to") else len(arrays)
    size = f"the source's {len(arrays)} examples"
    faults = []
    if end > len(arrays):
        faults.append(FieldFault(f"{field}.to", f"must be at most {size}; got {end}"))
    if begin >= len(arrays):
        faults.append(FieldFault(f"{field}.from", f"must be below {size}; got {begin}"))
    elif not 0 <= begin < end:
        faults.append(FieldFault(field, f"must hold at least one of {size}; got [{begin}, {end})"))
    if faults:
        raise InvalidRequestError(faults)
    return arrays.part(begin, end)


def _load_npz(source: spec_pb2.NpzData, field: str, data_roots: Sequence[str]) -> Arrays:
    real = os.path.realpath(source.path)
    roots = [os.path.realpath(root) for root in data_roots]
    if not any(os.path.commonpath([real, root]) == root for root in roots):
        raise refusal(f"{field}.path", f'"{source.path}" does not lie within the server\'s data roots')
    names = _array_names(source)
    if os.path.exists(real) and not os.path.isfile(real):
        # A pipe, say: opening it would wait for a writer for ever.
        raise DataUnavailable([FieldFault(f"{field}.path", f'"{source.path}" is not a regular file')])
    try:
        # np.load would take a bare array too, and leaves a damaged archive open.
        with open(real, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise DataUnavailable([FieldFault(f"{field}.path", f'"{source.path}" is not an .npz archive')])
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            _check_names(archive.files, names, field)
            loaded = {name: archive[name] for name in dict.fromkeys(names.values())}
            found = {key: loaded[name] for key, name in names.items()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataUnavailable([FieldFault(f"{field}.path", f'"{source.path}" cannot be read: {error}')]) from error
    _check_arrays(found, names, field)
    labels = {name: found[_label_key(name)] for name in source.labels} or found["label"]
    return Arrays(found["features"], labels, found.get("sample_weight"))


def _array_names(source: spec_pb2.NpzData) -> dict[str, str]:
    """The names of the arrays in the file, by the path of the source's field that gives them."""
    names = {"features": source.features or "features"}
    if source.labels:
        names |= {_label_key(output): array for output, array in sorted(source.labels.items())}
    else:
        names["label"] = source.label or "label"
    if source.HasField("sample_weight"):
        names["sample_weight"] = source.sample_weight
    return names


def _label_key(output: str) -> str:
    return child("labels", output)


def _check_finite(arrays: Arrays, field: str, begin: int) -> None:
    """Refuses examples that hold a NaN or an infinity, which would spread to every weight; tells the first of each."""
    faults = []
    for what, array in arrays.named().items():
        if array.dtype.kind != "f":
            continue
        broken = ~np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
        if broken.any():
            first = begin + int(broken.argmax())
            count = int(broken.sum())
            faults.append(
                FieldFault(
                    field, f"{what} must be finite; those of {count} examples are not, the first at position {first}"
                )
            )
    if faults:
        raise DataUnavailable(faults)


def _check_names(held: Sequence[str], names: dict[str, str], field: str) -> None:
    faults = [
        FieldFault(f"{field}.{key}", f'the file has no array "{name}"; it has {", ".join(sorted(held)[:20]) or "none"}')
        for key, name in names.items()
        if name not in held
    ]
    if faults:
        raise InvalidRequestError(faults)


def _check_arrays(arrays: Mapping[str, np.ndarray], names: Mapping[str, str], field: str) -> None:
    """Checks what the file holds, by the field that names it."""
    faults = []
    for key, array in arrays.items():
        if array.dtype.kind not in _KIND_OF_DTYPE or array.dtype.itemsize > 8:
            faults.append(
                FieldFault(f"{field}.{key}", f'array "{names[key]}" is {array.dtype}; numbers of at most 64 bits train')
            )
        if array.ndim == 0:
            faults.append(
                FieldFault(
                    f"{field}.{key}", f'array "{names[key]}" is a single number; its first axis must be the examples'
                )
            )
    if not faults:
        faults += _length_faults(arrays, names, field)
        if "sample_weight" in arrays:
            faults += _weight_faults(arrays["sample_weight"], names["sample_weight"], f"{field}.sample_weight")
    if faults:
        raise DataUnavailable(faults)


def _length_faults(arrays: Mapping[str, np.ndarray], names: Mapping[str, str], field: str) -> Iterator[FieldFault]:
    count = len(arrays["features"])
    for key, array in arrays.items():
        if len(array) != count:
            what = "weights" if key == "sample_weight" else "labels"
            sides = f'"{names["features"]}" has {count} examples, "{names[key]}" {len(array)}'
            yield FieldFault(field, f"features and {what} must be of equal length; {sides}")


def _weight_faults(weights: np.ndarray, name: str, field: str) -> Iterator[FieldFault]:
    if weights.ndim != 1:
        yield FieldFault(field, f'array "{name}" has shape {list(weights.shape)}; it must be [n], a number an example')
    elif (weights < 0).any():
        count, first = int((weights < 0).sum()), int((weights < 0).argmax())
        told = f'array "{name}" must hold weights of at least 0'
        yield FieldFault(field, f"{told}; {count} are not, the first at position {first}: {weights[first]}")


def _load_builtin(name: str, split: str, field: str, dataset_directories: Sequence[str]) -> Arrays:
    if name == "digits":
        return _digits(split)
    if name in tabular.NAMES:
        return Arrays(*tabular.load_tabular(name, split))
    readers = {"fashion_mnist": _mnist_like, "mnist": _mnist_like, "cifar10": _cifar10}
    if name not in readers:
        raise refusal(f"{field}.name", f'"{name}" is no data set of this version')
    looked = [*_places(name, dataset_directories)]
    for directory in looked:
        try:
            arrays = readers[name](directory, split)
        except (OSError, ValueError, EOFError, zlib.error) as error:
            raise DataUnavailable([FieldFault(field, f"{name} in {directory} cannot be read: {error}")]) from error
        if arrays is not None:
            return arrays
    return _from_keras(name, split, field, looked)


def _places(name: str, dataset_directories: Sequence[str]) -> Iterator[Path]:
    """Directories that may hold the files of a data set, under the names that are in use for it."""
    for root in (*dataset_directories, DEBIAN_DIRECTORY):
        for directory in (name.replace("_", "-"), name, "cifar-10-batches-bin" if name == "cifar10" else name):
            yield Path(root, directory)


def _digits(split: str) -> Arrays:
    """The 8x8 digits of scikit-learn, values 0 to 16; the last 360 of the 1,797 are the test split."""
    from sklearn.datasets import load_digits  # takes a second, and few jobs need it

    bunch = load_digits()
    part = slice(None, DIGITS_TRAIN_EXAMPLES) if split == "train" else slice(DIGITS_TRAIN_EXAMPLES, None)
    return Arrays(bunch.images[part].astype(np.float32), bunch.target[part].astype(np.int64))


def _mnist_like(directory: Path, split: str) -> Arrays | None:
    paths = [_first_file(directory, name) for name in _IDX_FILES[split]]
    if None in paths:
        return None
    images, labels = (_read_idx(path) for path in paths if path is not None)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"images of shape {images.shape} and labels of shape {labels.shape} do not belong together")
    return Arrays(images[..., np.newaxis], labels)


def _first_file(directory: Path, name: str) -> Path | None:
    return next((path for path in (directory / f"{name}.gz", directory / name) if path.is_file()), None)


def _read_idx(path: Path) -> np.ndarray:
    """Reads the idx format: two zero bytes, the type, the rank, the sizes big-endian, the elements."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if content[:3] != bytes([0, 0, _IDX_UNSIGNED_BYTES]) or len(content) < 4:
        raise ValueError(f"{path.name} is not an idx file of unsigned bytes")
    rank = content[3]
    shape = tuple(np.frombuffer(content, ">u4", rank, 4).tolist())
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)


def _cifar10(directory: Path, split: str) -> Arrays | None:
    """The binary version of CIFAR-10: rows of a label and the red, green and blue planes."""
    paths = [directory / name for name in _CIFAR_FILES[split]]
    if not all(path.is_file() for path in paths):
        return None
    rows = np.concatenate([np.frombuffer(path.read_bytes(), np.uint8) for path in paths]).reshape(
        -1, 1 + np.prod(_CIFAR_SHAPE)
    )
    images = rows[:, 1:].reshape(-1, *_CIFAR_SHAPE).transpose(0, 2, 3, 1)
    return Arrays(np.ascontiguousarray(images), np.ascontiguousarray(rows[:, 0]))


def _from_keras(name: str, split: str, field: str, looked: Sequence[Path]) -> Arrays:
    """From Keras's cache, which Keras fills from the network when it must."""
    module = getattr(keras.datasets, name)
    try:
        loaded = dict(zip(("train", "test"), module.load_data(), strict=True))
    except Exception as error:
        places = ", ".join(str(path) for path in dict.fromkeys(looked))
        cache = Path(os.environ.get("KERAS_HOME", "~/.keras"), "datasets")
        remedy = "; Debian's package dataset-fashion-mnist supplies it" if name == "fashion_mnist" else ""
        text = f"{name} is neither in {places} nor in Keras's cache {cache}, and its download failed ({error}){remedy}"
        raise DataUnavailable([FieldFault(field, text)]) from error
    features, labels = loaded[split]
    if features.ndim == 3:
        features = features[..., np.newaxis]
    return Arrays(features, labels.reshape(len(labels)).astype(np.uint8))
