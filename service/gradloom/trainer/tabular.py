"""Data sets of measurements that come with scikit-learn, in the units they were measured in."""

from typing import Final

import numpy as np

TRAIN_SHARE: Final = 0.8
NAMES: Final = ("breast_cancer", "diabetes", "iris", "wine")


def load_tabular(name: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, columns] float32, and labels [n]: int64 class numbers, or for diabetes the float32 score.

    scikit-learn lists examples class by class: they are shuffled, always in the same way, and the first four fifths are
    the train split.
    """
    from sklearn import datasets  # takes a second, and few jobs need it

    # By default diabetes comes with its columns scaled by all of its examples, those of the test split among them.
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    # RandomState's numbers are promised to stay; those of a Generator are not.
    order = np.random.RandomState(0).permutation(len(bunch.target))
    cut = int(len(order) * TRAIN_SHARE)
    rows = order[:cut] if split == "train" else order[cut:]
    labels = bunch.target[rows]
    kind = np.int64 if np.issubdtype(labels.dtype, np.integer) else np.float32
    return bunch.data[rows].astype(np.float32), labels.astype(kind)
