"""What it takes to make a Keras object again; imports nothing of Keras."""

import inspect
from typing import Any, Final

PLAIN: Final = (bool, int, float, str, list, tuple, dict, type(None))


def whole_config(value: Any) -> dict[str, Any]:
    """What the object's `get_config` gives, and the constructor's arguments that it forgets.

    Keras's own losses and metrics forget some, such as the `delta` of the Huber loss. Of those only plain values are
    added: another object may belong to somebody else.
    """
    config: dict[str, Any] = value.get_config()
    held = {**vars(value), **getattr(value, "_fn_kwargs", {})}
    forgotten = {
        name: held[name]
        for name, parameter in inspect.signature(type(value).__init__).parameters.items()
        if name in held
        and name not in config
        and isinstance(held[name], PLAIN)
        and (parameter.default is parameter.empty or held[name] != parameter.default)
    }
    return {**config, **forgotten}
