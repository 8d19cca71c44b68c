"""Which devices a server owns and what a job gets of them."""

import os
from pathlib import Path

import pytest

from gradloom.jobs.devices import Demand, Devices, find_devices, has_gpu_driver, parse_gpu_list

LISTING = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-11111111-2222-3333-4444-555555555555)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee)
  MIG 3g.20gb     Device  0: (UUID: MIG-c7384736-a75d-5afc-978f-d2f1294409fd)
  MIG 3g.20gb     Device  1: (UUID: MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d)
"""


def test_partitions_stand_in_the_place_of_their_gpu() -> None:
    assert parse_gpu_list(LISTING) == (
        "GPU-11111111-2222-3333-4444-555555555555",
        "MIG-c7384736-a75d-5afc-978f-d2f1294409fd",
        "MIG-a28ad590-3fda-56dd-84fc-0a0b96edc58d",
    )


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose driver tells of two GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA (UUID: GPU-a1)'\necho 'GPU 1: NVIDIA (UUID: GPU-b2)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("setting", "visible", "found"),
    [
        (None, None, ("GPU-a1", "GPU-b2")),
        (None, "1", ("1",)),
        (None, "1,0", ("1", "0")),
        (None, "", ()),
        (None, "-1", ()),
        (None, "0,7,1", ("0",)),
        ("none", None, ()),
        ("", None, ()),
        ("3,4", "0", ("3", "4")),
    ],
)
def test_gpus_are_found_within_what_the_server_may_see(
    setting: str | None, visible: str | None, found: tuple[str, ...]
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert find_devices(1, setting, environment).gpus == found


def test_a_machine_without_a_driver_has_no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_devices(2, None, {"CUDA_VISIBLE_DEVICES": "0"}) == Devices((), 2)


def test_a_device_node_or_the_tool_hints_at_a_gpu(tmp_path: Path) -> None:
    nowhere = {"PATH": str(tmp_path)}
    assert not has_gpu_driver(tmp_path, nowhere)
    (tmp_path / "nvidia0").touch()
    assert has_gpu_driver(tmp_path, nowhere)
    (tmp_path / "nvidia0").unlink()
    (tmp_path / "nvidia-smi").touch(0o755)
    assert has_gpu_driver(tmp_path / "dev", nowhere)


@pytest.mark.parametrize(
    ("gpus", "cpu_replicas", "on_gpu_server", "on_cpu_server"),
    [
        (None, None, Demand(2, 0), Demand(0, 1)),
        (1, None, Demand(1, 0), Demand(1, 0)),
        (0, None, Demand(0, 1), Demand(0, 1)),
        (None, 4, Demand(0, 1), Demand(0, 1)),
    ],
)
def test_a_job_takes_what_its_resources_say(
    gpus: int | None, cpu_replicas: int | None, on_gpu_server: Demand, on_cpu_server: Demand
) -> None:
    assert Devices(("a", "b"), 1).demand(gpus, cpu_replicas) == on_gpu_server
    assert Devices((), 1).demand(gpus, cpu_replicas) == on_cpu_server


def test_devices_are_picked_from_those_that_are_free() -> None:
    devices = Devices(("a", "b", "c"), 1)
    assert devices.pick_from(Demand(2, 0), ["GPU:1", "GPU:2", "CPU:0"]) == ("GPU:1", "GPU:2")
    assert devices.pick_from(Demand(2, 0), ["GPU:1", "CPU:0"]) is None
    assert devices.pick_from(Demand(0, 1), ["GPU:1", "CPU:0"]) == ("CPU:0",)
    assert devices.most_from(Demand(2, 0), ["GPU:1", "CPU:0"]) == ("GPU:1",)


def test_a_trainer_sees_its_devices_and_no_others() -> None:
    devices = Devices(("GPU-a1", "GPU-b2"), 1)
    assert devices.environment(["GPU:1"]) == {"CUDA_VISIBLE_DEVICES": "GPU-b2"}
    assert devices.environment(["CPU:0"]) == {"CUDA_VISIBLE_DEVICES": "-1"}
