"""Gradloom, a distributed training service for TensorFlow."""

from gradloom.version import __version__

__all__ = ["__version__"]
