"""Installed packages of components, for tests: one that is kept beside this file, and others made as a test says."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gradloom import catalogue
from gradloom.catalogue import Catalogue

PACKAGES = Path(__file__).parent / "packages"


def write_package(directory: Path, name: str, source: str, version: str = "0.1", value: str | None = None) -> None:
    """Installs a package of one module into a directory that is on the path; `value` is its entry point's."""
    (directory / f"{name}.py").write_text(source)
    about = directory / f"{name}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (about / "entry_points.txt").write_text(f"[gradloom.components]\nall = {value or name}\n")


@contextmanager
def own_catalogue() -> Iterator[None]:
    """Whatever is added to the catalogue of this process is gone afterwards."""
    before = list(catalogue._added)
    try:
        yield
    finally:
        catalogue._added[:] = before
        Catalogue.load.cache_clear()
