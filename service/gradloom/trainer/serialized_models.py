"""A model from `keras_config`: Keras's own JSON, rewritten so that it holds nothing but what the catalogue resolves."""

from typing import Any

import keras

from gradloom.spec.keras_config import rewritten
from gradloom.trainer.construction import refusing
from gradloom.v1 import spec_pb2

FIELD = "spec.model.keras_config"


def model_from_json(model: spec_pb2.ModelSpec, data_roots: tuple[str, ...]) -> keras.Model:
    """Builds the model of `keras_config` under the spec's own name and the process's dtype policy.

    Raises InvalidRequestError for what the catalogue does not resolve and for what Keras refuses.
    """
    config: dict[str, Any] = rewritten(model.keras_config, data_roots, keras.config.dtype_policy().name, FIELD)
    config["config"]["name"] = model.name
    with refusing(FIELD):
        built = keras.saving.deserialize_keras_object(config, safe_mode=True)
        if not built.built:
            raise ValueError("the model has no input shape: begin it with an InputLayer")
    return built
