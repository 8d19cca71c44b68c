"""The bar of a download, on a terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from gradloom.client import text


@contextmanager
def transfer_bar(stream: Any) -> Iterator[Callable[[int, int], None] | None]:
    """Gives what hears of bytes so far and in all; None where nobody would see a bar."""
    if not text.is_terminal(stream):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
