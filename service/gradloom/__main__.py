"""`gradloom`: wires a command to its parts, which are imported only when the command runs.

The one place that may import everything.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from gradloom.settings import TABLE, Settings


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command and exits with its code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["serve"]:
        # Without the client's imports: they would stay in the server's memory for as long as it runs.
        serve_command().main(given[1:], prog_name="gradloom serve")
    from gradloom.client.cli import cli

    cli.add_command(serve_command())
    cli.main(given, prog_name="gradloom")


def serve_command() -> click.Command:
    """The command `serve`, its flags from the table of settings."""
    return click.Command(
        "serve",
        callback=_serve,
        params=[
            click.Option(
                [setting.flag],
                is_flag=setting.is_switch,
                flag_value="true" if setting.is_switch else None,
                default=None,
                multiple=setting.repeated,
                metavar=None if setting.is_switch else setting.metavar,
                help=f"{setting.help} [{setting.variable}{_default_text(setting.default)}]",
            )
            for setting in TABLE
        ],
        help="Run the server until SIGTERM or SIGINT, then drain: running jobs save a checkpoint and go back to the "
        "queue. A second signal hurries. Exit codes: 0 drained; 2 a setting is refused; 4 it cannot start.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def _default_text(default: str) -> str:
    return f"; default {default}" if default not in ("", "false") else ""


def _serve(**flags: Any) -> None:
    from gradloom.errors import InvalidRequestError

    try:
        settings = Settings.load(flags, os.environ)
    except InvalidRequestError as error:
        click.echo(f"refused: {error}", err=True)
        sys.exit(2)
    try:
        import uvloop

        from gradloom.api.server import StartError, serve
    except ModuleNotFoundError as error:
        click.echo(
            f"gradloom: {error.name} is not installed; the server needs: pip install 'gradloom[server]'", err=True
        )
        sys.exit(4)
    try:
        uvloop.run(serve(settings))
    except StartError as error:
        click.echo(f"gradloom: {error}", err=True)
        sys.exit(4)
    sys.exit(0)


if __name__ == "__main__":
    main()
