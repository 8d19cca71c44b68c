"""What a `.keras` file needs to be loaded: the registered classes that it names, and where they come from.

Said beside the file, in a README, with the source where a job brought its own.
"""

import json
import logging
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import keras
import tensorflow as tf

from gradloom.errors import InvalidRequestError
from gradloom.object_config import whole_config
from gradloom.trainer import installed, user_code
from gradloom.trainer.library_messages import on_one_line
from gradloom.trainer.plain_loss import PlainLoss
from gradloom.trainer.registered import module_of
from gradloom.v1 import spec_pb2
from gradloom.version import __version__

logger = logging.getLogger(__name__)

README: Final = "README.txt"
SOURCE: Final = "user_code.py"


def saved_whole(member: keras.losses.Loss | keras.metrics.Metric) -> Any:
    """The loss or metric, so that it is saved with all of its settings: Keras's own `get_config` forgets some."""
    if isinstance(member, PlainLoss):
        return member.function
    config = whole_config(member)
    member.get_config = lambda: config
    return member


def require_reloadable(spec: spec_pb2.JobSpec, members: Iterable[Any]) -> None:
    """Makes sure before the training that a `.keras` file of classes of the user's own could be loaded back.

    Args:
        spec: Of the job.
        members: What the file will hold: the exported model, losses and metrics as `saved_whole` gives them.

    Raises:
        InvalidRequestError: A class's `get_config` does not give what its constructor takes.
    """
    if spec_pb2.ExportSpec.KERAS not in spec.export.formats or not user_code.foreign_entries(spec):
        return
    try:
        with tf.device("/CPU:0"):
            for member in members:
                keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(member))
    except (MemoryError, tf.errors.ResourceExhaustedError):
        raise
    except Exception as error:
        told = user_code.fault("spec.export.formats", error, on_one_line(error), "KERAS could not be loaded back: ")
        raise InvalidRequestError([told]) from error


def needs_of(keras_file: Path) -> dict[str, list[str]]:
    """The registered names that the file holds, by what brings them, such as `acme-layers 1.4`; both sorted."""
    with zipfile.ZipFile(keras_file) as archive:
        config = json.loads(archive.read("config.json"))
    needs: dict[str, list[str]] = {}
    for name in sorted({text for text in _texts(config) if text in keras.saving.get_custom_objects()}):
        needs.setdefault(_bringer(name), []).append(name)
    return dict(sorted(needs.items()))


def _bringer(name: str) -> str:
    module = module_of(keras.saving.get_custom_objects()[name])
    if module == user_code.MODULE:
        return SOURCE
    for package in installed.packages():
        if any(entry.type == name for entry in package.entries):
            return f"{package.name} {package.version}"
    return f"gradloom {__version__}" if module == "gradloom" else module


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def write_readme(keras_file: Path) -> None:
    """Writes what the file needs beside it, and into the log; nothing when Keras alone loads it."""
    needs = needs_of(keras_file)
    if not needs:
        return
    told = ", ".join(f"{', '.join(names)} ({bringer})" for bringer, names in needs.items())
    logger.info("%s needs, to be loaded: %s", keras_file.name, told)
    lines = [f"{keras_file.name} names classes that must be registered before keras.saving.load_model reads it:", ""]
    lines += [f"  {', '.join(names)}: {_way(bringer, names)}" for bringer, names in needs.items()]
    lines += ["", "The SavedModel needs none of them.", ""]
    keras_file.with_name(README).write_text("\n".join(lines))
    if SOURCE in needs:
        keras_file.with_name(SOURCE).write_text(user_code.source())


def _way(bringer: str, names: list[str]) -> str:
    if bringer == SOURCE:
        return f"import {SOURCE}, which lies beside this file"
    registry = keras.saving.get_custom_objects()
    modules = sorted({registry[name].__module__ for name in names})
    imported = "gradloom.components" if modules[0].startswith("gradloom.") else ", ".join(modules)
    return f"install {bringer} and import {imported}"
