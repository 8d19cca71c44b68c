"""Which disk is taken for full."""

from pathlib import Path

from gradloom.jobs.disks import FULL_BYTES, Disks, free_bytes


def test_the_first_disk_without_room_is_named_with_what_is_left_of_it(tmp_path: Path) -> None:
    left = {Path("/artifacts"): FULL_BYTES, Path("/data"): FULL_BYTES - 1}
    told = Disks({"--artifact-root": Path("/artifacts"), "--data-dir": Path("/data")}, left.__getitem__).full()
    assert told == "the disk of the server's --data-dir is full (1,048,575 bytes left)"
    assert Disks({"--data-dir": tmp_path}).full() == "", "this one has room"
    assert free_bytes(tmp_path) > FULL_BYTES


def test_a_directory_that_is_gone_is_no_full_disk(tmp_path: Path) -> None:
    assert Disks({"--artifact-root": tmp_path / "gone"}).full() == ""
