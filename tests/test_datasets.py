"""Data sources: where they are looked for, what is refused, and what a missing one is answered with."""

import gzip
import hashlib
import os
import struct

import numpy as np
import pytest
import sklearn.datasets

from gradloom.catalogue import Catalogue
from gradloom.errors import InvalidRequestError
from gradloom.trainer import tabular
from gradloom.trainer.datasets import DataUnavailable, load
from gradloom.v1 import spec_pb2

FIELD = "spec.data.train"


def builtin(name, split="train", **limits):
    source = spec_pb2.DataSource(builtin=spec_pb2.BuiltinData(name=name, split=split))
    if limits:
        source.range.CopyFrom(spec_pb2.ExampleRange(**limits))
    return source


def npz(path, **names):
    return spec_pb2.DataSource(npz=spec_pb2.NpzData(path=str(path), **names))


def idx(array):
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def mnist_directory(tmp_path):
    """A dataset directory with seven images under Debian's name, compressed and not."""
    chance = np.random.default_rng(1)
    directory = tmp_path / "sets" / "fashion-mnist"
    directory.mkdir(parents=True)
    images, labels = chance.integers(0, 256, (7, 28, 28), np.uint8), chance.integers(0, 10, 7).astype(np.uint8)
    (directory / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (directory / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    return directory.parent, images, labels


def faults(raised):
    return {fault.field: fault.description for fault in raised.value.faults}


def test_a_dataset_directory_comes_before_every_other_place(mnist_directory):
    directory, images, labels = mnist_directory
    arrays = load(builtin("fashion_mnist"), FIELD, [], [str(directory)])
    np.testing.assert_array_equal(arrays.features, images[..., np.newaxis])
    np.testing.assert_array_equal(arrays.labels, labels)
    assert arrays.features.dtype == np.uint8
    assert arrays.sha256 == hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()


def test_a_range_takes_examples_by_position(mnist_directory):
    directory, images, _ = mnist_directory
    arrays = load(builtin("fashion_mnist", **{"from": 2, "to": 5}), FIELD, [], [str(directory)])
    np.testing.assert_array_equal(arrays.features[..., 0], images[2:5])
    assert arrays.sha256 != load(builtin("fashion_mnist"), FIELD, [], [str(directory)]).sha256


@pytest.mark.parametrize(
    ("limits", "field", "told"),
    [
        ({"to": 8}, "range.to", "must be at most the source's 7 examples; got 8"),
        ({"from": 7}, "range.from", "must be below the source's 7 examples; got 7"),
        ({"from": 3, "to": 3}, "range", "must hold at least one of the source's 7 examples; got [3, 3)"),
    ],
)
def test_a_range_beyond_the_source_is_refused_with_its_size(mnist_directory, limits, field, told):
    with pytest.raises(InvalidRequestError) as raised:
        load(builtin("fashion_mnist", **limits), FIELD, [], [str(mnist_directory[0])])
    assert faults(raised) == {f"{FIELD}.{field}": told}


def test_an_archive_without_examples_is_a_fault_of_its_path_and_not_of_a_range(tmp_path):
    np.savez(tmp_path / "data.npz", features=np.zeros((0, 3)), label=np.zeros(0))
    with pytest.raises(DataUnavailable) as raised:
        load(npz(tmp_path / "data.npz"), FIELD, [str(tmp_path)], [])
    assert faults(raised).keys() == {f"{FIELD}.npz.path"}


def test_a_damaged_file_is_named(mnist_directory):
    path = mnist_directory[0] / "fashion-mnist" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataUnavailable) as raised:
        load(builtin("fashion_mnist"), FIELD, [], [str(mnist_directory[0])])
    assert str(path.parent) in faults(raised)[f"{FIELD}.builtin"]


def test_a_missing_data_set_says_where_it_was_looked_for_and_what_supplies_it(tmp_path, monkeypatch):
    monkeypatch.setattr("gradloom.trainer.datasets.DEBIAN_DIRECTORY", str(tmp_path / "debian"))

    def refuse():
        raise OSError("no network")

    monkeypatch.setattr("keras.datasets.fashion_mnist.load_data", refuse)
    with pytest.raises(DataUnavailable) as raised:
        load(builtin("fashion_mnist"), FIELD, [], [str(tmp_path / "mine")])
    told = faults(raised)[f"{FIELD}.builtin"]
    for part in (str(tmp_path / "mine"), str(tmp_path / "debian"), ".keras", "dataset-fashion-mnist", "no network"):
        assert part in told


def test_cifar10_in_its_binary_version_becomes_rows_of_pixels(tmp_path):
    chance = np.random.default_rng(2)
    directory = tmp_path / "cifar-10-batches-bin"
    directory.mkdir()
    labels, planes = chance.integers(0, 10, 4).astype(np.uint8), chance.integers(0, 256, (4, 3, 32, 32), np.uint8)
    rows = np.concatenate([labels[:, np.newaxis], planes.reshape(4, -1)], axis=1)
    (directory / "test_batch.bin").write_bytes(rows.tobytes())
    arrays = load(builtin("cifar10", "test"), FIELD, [], [str(tmp_path)])
    assert arrays.features.shape == (4, 32, 32, 3)
    np.testing.assert_array_equal(arrays.features[2, 5, 6], planes[2, :, 5, 6])
    np.testing.assert_array_equal(arrays.labels, labels)


@pytest.mark.parametrize("name", tabular.NAMES)
def test_measurements_come_with_the_trainer_shuffled_and_split_as_the_catalogue_says(name):
    dataset = Catalogue.load().get("dataset", name).dataset
    train, test = (load(builtin(name, split), FIELD, [], []) for split in ("train", "test"))
    for arrays, split in ((train, "train"), (test, "test")):
        assert len(arrays) == dataset.splits[split]
        assert arrays.features.shape[1:] == dataset.feature_shape
        assert (arrays.features.dtype, arrays.labels.dtype) == (dataset.feature_dtype, dataset.label_dtype)
        if dataset.classes:
            # Every class is in both splits, in about its share.
            shares = np.bincount(arrays.labels, minlength=dataset.classes) / len(arrays)
            every = np.bincount(np.concatenate([train.labels, test.labels])) / (len(train) + len(test))
            np.testing.assert_allclose(shares, every, atol=0.15)
    whole = getattr(sklearn.datasets, f"load_{name}")(**({"scaled": False} if name == "diabetes" else {}))
    ours = np.concatenate([np.column_stack([arrays.features, arrays.labels]) for arrays in (train, test)])
    theirs = np.column_stack([whole.data.astype("float32"), whole.target])
    np.testing.assert_array_equal(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)])
    assert np.mean(train.labels[1:] == train.labels[:-1]) < 0.7


def test_digits_come_with_the_trainer_and_their_splits_are_disjoint():
    train, test = (load(builtin("digits", split), FIELD, [], []) for split in ("train", "test"))
    assert (train.features.shape, test.features.shape) == ((1437, 8, 8), (360, 8, 8))
    assert train.features.dtype == np.float32
    assert set(np.unique(train.labels)) == set(range(10))


def test_an_archive_gives_its_arrays_as_they_are(tmp_path):
    path = tmp_path / "data.npz"
    features, labels = np.arange(12, dtype=np.uint16).reshape(4, 3), np.arange(4, dtype=np.float64)
    np.savez(path, x=features, y=labels)
    arrays = load(npz(path, features="x", label="y"), FIELD, [str(tmp_path)], [])
    np.testing.assert_array_equal(arrays.features, features)
    assert (arrays.features.dtype, arrays.labels.dtype) == (np.uint16, np.float64)


def test_an_archive_outside_the_data_roots_is_refused_also_behind_a_link(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside.npz"
    root.mkdir()
    np.savez(outside, features=np.zeros((2, 3)), label=np.zeros(2))
    (root / "link.npz").symlink_to(outside)
    for path in (outside, root / ".." / "outside.npz", root / "link.npz", tmp_path / "rooted.npz"):
        with pytest.raises(InvalidRequestError) as raised:
            load(npz(path), FIELD, [str(root)], [])
        assert "data roots" in faults(raised)[f"{FIELD}.npz.path"]


def test_names_that_the_archive_lacks_are_told_with_those_it_has(tmp_path):
    np.savez(tmp_path / "data.npz", images=np.zeros((2, 3)), label=np.zeros(2))
    with pytest.raises(InvalidRequestError) as raised:
        load(npz(tmp_path / "data.npz", label="target"), FIELD, [str(tmp_path)], [])
    told = faults(raised)
    assert told.keys() == {f"{FIELD}.npz.features", f"{FIELD}.npz.label"}
    assert "images, label" in told[f"{FIELD}.npz.features"]


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"features": np.zeros((3, 2)), "label": np.zeros(4)}, "3 examples"),
        ({"features": np.array([{"a": 1}, None]), "label": np.zeros(2)}, "allow_pickle=False"),
        ({"features": np.array(["a", "b"]), "label": np.zeros(2)}, "numbers"),
        ({"features": np.zeros((2, 2), complex), "label": np.zeros(2)}, "numbers"),
        ({"features": np.zeros((2, 2)), "label": np.float64(1)}, "single number"),
    ],
)
def test_arrays_that_cannot_be_examples_are_refused_and_nothing_is_unpickled(tmp_path, arrays, told):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataUnavailable, match=told):
        load(npz(tmp_path / "data.npz"), FIELD, [str(tmp_path)], [])


@pytest.mark.parametrize("content", [b"", b"not an archive", b"PK\x03\x04 broken"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(DataUnavailable):
        load(npz(tmp_path / "data.npz"), FIELD, [str(tmp_path)], [])


def test_examples_that_are_not_finite_are_refused_with_the_first_position_within_the_range_alone(tmp_path):
    features, label = np.zeros((6, 2), np.float32), np.zeros(6)
    features[0, 0], features[3, 1], label[4] = np.nan, np.inf, np.nan
    np.savez(tmp_path / "data.npz", features=features, label=label)
    source = npz(tmp_path / "data.npz")
    setattr(source.range, "from", 1)
    with pytest.raises(DataUnavailable) as raised:
        load(source, FIELD, [str(tmp_path)], [])
    assert [fault.description.rpartition(" ")[2] for fault in raised.value.faults] == ["3", "4"]
    source.range.to = 3
    assert len(load(source, FIELD, [str(tmp_path)], [])) == 2


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "data.npz")
    with pytest.raises(DataUnavailable, match="not a regular file"):
        load(npz(tmp_path / "data.npz"), FIELD, [str(tmp_path)], [])


def test_a_single_array_is_no_archive(tmp_path):
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(DataUnavailable, match="archive"):
        load(npz(tmp_path / "data.npz"), FIELD, [str(tmp_path)], [])
