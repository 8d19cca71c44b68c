"""Custom Keras objects, registered under the package `gradloom`: a spec names them `gradloom>Name`.

Each has a full `get_config`, so that a `.keras` file gives the same object back. A new one is exported here and enters
the catalogue with the next `python -m gradloom.trainer catalogue`.
"""

from gradloom.components.layer_normalization import LayerNormalization

__all__ = ["LayerNormalization"]
