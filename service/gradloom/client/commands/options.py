"""The options and arguments that commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from gradloom.client.names import DEFAULT_PROJECT, DEFAULT_SERVER, SERVER_VARIABLE

_Command = TypeVar("_Command", bound=Callable[..., Any])

JSON_HELP: Final = "text for people, or json: proto JSON with the proto's field names."

server_option: Final = click.option(
    "--server",
    metavar="HOST:PORT",
    help=f"The server; also unix:PATH. Default: {SERVER_VARIABLE}, else {DEFAULT_SERVER}.",
)
output_option: Final = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help=JSON_HELP
)
project_option: Final = click.option(
    "--project", default=DEFAULT_PROJECT, show_default=True, metavar="ID", help="The project of the jobs."
)
user_code_option: Final = click.option(
    "--user-code",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python source of the job's own classes, for spec.user_code.",
)
priority_option: Final = click.option(
    "--priority", type=int, metavar="N", help="Jobs of a higher one are given devices first; -1000 to 1000."
)
job_argument: Final = click.argument("job", metavar="JOB")
jobs_argument: Final = click.argument("jobs", metavar="JOB...", nargs=-1, required=True)


def client_command(function: _Command) -> click.Command:
    """A command that talks to a server."""
    return click.command()(server_option(output_option(function)))
