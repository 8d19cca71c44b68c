"""What it takes to make a Keras object again; imports nothing of Keras."""

import inspect
from typing import Any


def whole_config(value: Any) -> dict[str, Any]:
    """What the object's `get_config` gives, and the constructor's arguments that it forgets.

    Keras's own losses and metrics forget some, such as the `delta` of the Huber loss.
    """
    config: dict[str, Any] = value.get_config()
    held = {**vars(value), **getattr(value, "_fn_kwargs", {})}
    forgotten = {
        name: held[name]
        for name, parameter in inspect.signature(type(value).__init__).parameters.items()
        if name in held and name not in config and held[name] != parameter.default
    }
    return {**config, **forgotten}
