"""Custom Keras objects, registered under the package `gradloom`: a spec names them `gradloom>Name`.

Each has a full `get_config`, so that a `.keras` file gives the same object back. A new one is exported here and enters
the catalogue with the next `python -m gradloom.trainer catalogue`.
"""

from gradloom.components.activity_regularization import ActivityRegularization
from gradloom.components.ada_belief import AdaBelief
from gradloom.components.cauchy import cauchy
from gradloom.components.centralize_gradient import CentralizeGradient
from gradloom.components.compute_sum import ComputeSum
from gradloom.components.dense import Dense
from gradloom.components.exponential import Exponential
from gradloom.components.gaussian_noise import GaussianNoise
from gradloom.components.glorot_normal import GlorotNormal
from gradloom.components.gradient_transformation import GradientTransformation
from gradloom.components.huber import Huber, HuberMetric
from gradloom.components.l1 import L1
from gradloom.components.layer_normalization import LayerNormalization
from gradloom.components.linear import Linear
from gradloom.components.multi_layer import MultiLayer
from gradloom.components.non_negative import NonNegative
from gradloom.components.normalize_gradient import NormalizeGradient
from gradloom.components.precision import Precision
from gradloom.components.reconstructing_regressor import ReconstructingRegressor
from gradloom.components.residual_block import ResidualBlock
from gradloom.components.residual_regressor import ResidualRegressor
from gradloom.components.sparse_mlp import SparseMLP
from gradloom.components.stable_softplus import stable_softplus
from gradloom.components.standardize import Standardize
from gradloom.components.wide_and_deep import WideAndDeep

__all__ = [
    "L1",
    "ActivityRegularization",
    "AdaBelief",
    "CentralizeGradient",
    "ComputeSum",
    "Dense",
    "Exponential",
    "GaussianNoise",
    "GlorotNormal",
    "GradientTransformation",
    "Huber",
    "HuberMetric",
    "LayerNormalization",
    "Linear",
    "MultiLayer",
    "NonNegative",
    "NormalizeGradient",
    "Precision",
    "ReconstructingRegressor",
    "ResidualBlock",
    "ResidualRegressor",
    "SparseMLP",
    "Standardize",
    "WideAndDeep",
    "cauchy",
    "stable_softplus",
]
