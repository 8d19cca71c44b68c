"""What a spec must be, checked without TensorFlow; its defaults; its numbers; its variable groups."""

from gradloom.spec.checks import MAX_SPEC_BYTES, OwnedDevices, check_job
from gradloom.spec.defaults import layer_names, metric_name, with_defaults, without_derived_defaults
from gradloom.spec.numbers import struct_to_config
from gradloom.spec.paths import resolve_within
from gradloom.spec.patterns import assign_groups, matches
from gradloom.spec.task import SoundTasks

__all__ = [
    "MAX_SPEC_BYTES",
    "OwnedDevices",
    "SoundTasks",
    "assign_groups",
    "check_job",
    "layer_names",
    "matches",
    "metric_name",
    "resolve_within",
    "struct_to_config",
    "with_defaults",
    "without_derived_defaults",
]
