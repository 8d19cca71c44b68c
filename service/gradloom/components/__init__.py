"""Custom Keras objects, registered under the package `gradloom`: a spec names them `gradloom>Name`.

Each has a full `get_config`, so that a `.keras` file gives the same object back. A new one is exported here and enters
the catalogue with the next `python -m gradloom.trainer catalogue`.
"""

from gradloom.components.activity_regularization import ActivityRegularization
from gradloom.components.centralize_gradient import CentralizeGradient
from gradloom.components.gradient_transformation import GradientTransformation
from gradloom.components.layer_normalization import LayerNormalization
from gradloom.components.linear import Linear
from gradloom.components.normalize_gradient import NormalizeGradient
from gradloom.components.sparse_mlp import SparseMLP

__all__ = [
    "ActivityRegularization",
    "CentralizeGradient",
    "GradientTransformation",
    "LayerNormalization",
    "Linear",
    "NormalizeGradient",
    "SparseMLP",
]
