"""The devices of a server: which it owns, what a job asks of them, and which of them an attempt sees."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LIST_SECONDS = 30.0
_NO_GPU = ("", "-1", "none")


@dataclass(frozen=True)
class Demand:
    """How many devices of each kind a job takes."""

    gpus: int
    cpu_slots: int

    @property
    def kind(self) -> str:
        """What the names of the devices begin with that it takes."""
        return "GPU:" if self.gpus else "CPU:"


@dataclass(frozen=True)
class Devices:
    """What a server owns. Its devices are named `GPU:0`, `GPU:1`, ..., `CPU:0`, ..."""

    gpus: tuple[str, ...]
    """What CUDA calls them: the values of CUDA_VISIBLE_DEVICES, `GPU:<n>` is the n-th."""
    cpu_slots: int

    @property
    def names(self) -> tuple[str, ...]:
        """Every device."""
        return tuple(f"GPU:{n}" for n in range(len(self.gpus))) + tuple(f"CPU:{n}" for n in range(self.cpu_slots))

    def demand(self, gpus: int | None, cpu_replicas: int | None) -> Demand:
        """Tells what a job with these `resources` takes: unset, every GPU the server owns, else one CPU slot."""
        if cpu_replicas:
            return Demand(0, 1)
        wanted = len(self.gpus) if gpus is None else gpus
        return Demand(wanted, 0) if wanted else Demand(0, 1)

    def pick_from(self, demand: Demand, available: Sequence[str]) -> tuple[str, ...] | None:
        """Picks the first of the available devices that meet a demand; None when they are too few."""
        picked = self.most_from(demand, available)
        return picked if len(picked) == demand.gpus + demand.cpu_slots else None

    def most_from(self, demand: Demand, available: Sequence[str]) -> tuple[str, ...]:
        """Picks as many of the available devices as a demand can use."""
        gpus = [name for name in available if name.startswith("GPU:")][: demand.gpus]
        slots = [name for name in available if name.startswith("CPU:")][: demand.cpu_slots]
        return (*gpus, *slots)

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        """The variables by which a trainer sees these devices and no others."""
        picked = [self.gpus[int(name.removeprefix("GPU:"))] for name in names if name.startswith("GPU:")]
        return {"CUDA_VISIBLE_DEVICES": ",".join(picked) or "-1"}


def find_devices(cpu_slots: int, gpus: str | None = None, environment: Mapping[str, str] = os.environ) -> Devices:
    """Finds what the server owns, without TensorFlow.

    `gpus` is the setting, indices or UUIDs between commas as CUDA_VISIBLE_DEVICES takes them; None to look, which
    respects the server's own CUDA_VISIBLE_DEVICES. A GPU server has its CPU slots beside its GPUs.
    """
    if gpus is not None:
        return Devices(_listed(gpus), cpu_slots)
    present = _gpus_of_nvidia_smi() or _gpus_of_proc()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not present:
        return Devices(present, cpu_slots)
    # The server's own tokens mean the same to its trainers, whatever order the driver counts in.
    found: list[str] = []
    for token in _listed(visible):
        if token.isdigit() and int(token) >= len(present):
            break  # CUDA ignores an invalid entry and all that follow.
        found.append(token)
    return Devices(tuple(found), cpu_slots)


def has_gpu_driver(device_nodes: Path = Path("/dev"), environment: Mapping[str, str] = os.environ) -> bool:
    """Whether anything hints at an NVIDIA GPU here: a device node, or nvidia-smi."""
    found = next(device_nodes.glob("nvidia*"), None) or shutil.which("nvidia-smi", path=environment.get("PATH"))
    return found is not None


def _listed(text: str) -> tuple[str, ...]:
    if text.strip().lower() in _NO_GPU:
        return ()
    return tuple(token.strip() for token in text.split(",") if token.strip())


def parse_gpu_list(text: str) -> tuple[str, ...]:
    """Reads `nvidia-smi -L`: the UUIDs of the GPUs, and of a partitioned one those of its parts in its place."""
    found: list[str] = []
    for line in text.splitlines():
        match = re.search(r"UUID:\s*([-/\w]+)", line)
        if match is None:
            continue
        if line.lstrip().startswith("MIG"):
            if found and found[-1].startswith("GPU-"):
                found.pop()
            found.append(match.group(1))
        elif line.startswith("GPU"):
            found.append(match.group(1))
    return tuple(found)


def _gpus_of_nvidia_smi() -> tuple[str, ...]:
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=_LIST_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return parse_gpu_list(listing.stdout)


def _gpus_of_proc() -> tuple[str, ...]:
    found: list[str] = []
    with contextlib.suppress(OSError):
        for card in sorted(Path("/proc/driver/nvidia/gpus").iterdir()):
            match = re.search(r"GPU UUID:\s*(GPU-\S+)", (card / "information").read_text())
            if match is not None:
                found.append(match.group(1))
    return tuple(found)
