"""What a spec must be, checked without TensorFlow; its defaults; its numbers; its variable groups."""

from gradloom.spec.defaults import layer_names, with_defaults
from gradloom.spec.numbers import struct_to_config
from gradloom.spec.patterns import assign_groups, matches

__all__ = ["assign_groups", "layer_names", "matches", "struct_to_config", "with_defaults"]
