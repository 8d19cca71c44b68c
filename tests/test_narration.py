"""What an attempt's log says."""

import logging

import pytest

from gradloom.trainer.narration import tell_resolved
from gradloom.v1 import spec_pb2


def test_data_are_told_with_the_labels_of_one_output_or_of_several(caplog: pytest.LogCaptureFixture) -> None:
    resolved = spec_pb2.ResolvedSpec(device_kind=spec_pb2.ResolvedSpec.CPU, replicas=1)
    common = {"examples": 5, "feature_shape": [4], "feature_dtype": "float32"}
    resolved.data.add(source="train", label_dtype="int64", **common)
    resolved.data.add(source="validation", **common)
    with caplog.at_level(logging.INFO):
        tell_resolved(resolved)
    assert "data train: 5 examples, features float32 [4], labels int64 []" in caplog.messages
    assert "data validation: 5 examples, features float32 [4], labels by output" in caplog.messages
