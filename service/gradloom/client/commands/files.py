"""The files that jobs leave."""

import sys
from pathlib import Path

import click

from gradloom.client import text
from gradloom.client.commands.connection import connected
from gradloom.client.commands.options import client_command, job_argument
from gradloom.client.commands.printing import print_list


@client_command
@job_argument
def artifacts(server: str | None, output: str, job: str) -> None:
    """List the files that JOB left, with size and digest."""
    from gradloom.client import show

    with connected(server) as client:
        found = list(client.artifacts(job))
    print_list("artifacts", found, output, show.artifact_table, "It has left no files so far.")


@client_command
@job_argument
@click.argument("destination", metavar="DEST", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--kind", type=click.Choice(["export", "log", "all"], case_sensitive=False), default="export", show_default=True
)
@click.option("--overwrite", is_flag=True, help="Replace files of other contents that lie in DEST.")
def download(server: str | None, output: str, job: str, destination: Path, kind: str, overwrite: bool) -> None:
    """Fetch the files of JOB below the directory DEST.

    Each is checked against its digest and is there whole or not at all; run the command again to fetch what is
    missing.
    """
    from gradloom.client.transfer import transfer_bar

    with connected(server) as client, transfer_bar(sys.stderr) as on_bytes:
        paths = client.download(
            job, destination, kind=None if kind == "all" else kind, overwrite=overwrite, on_bytes=on_bytes
        )
    if output == "json":
        import json

        text.say(json.dumps({"files": [str(path) for path in paths]}, indent=2, ensure_ascii=False))
        return
    for path in paths:
        text.say(text.one_line(str(path)))
    if not paths:
        text.remark(f"{job} has no files of this kind; `gradloom artifacts {job}` lists what it has.")
