"""The click group of all commands: what every command does alike with errors, streams and interrupts."""

import enum
import os
import sys
import traceback
from typing import IO, Any, Final

import click

from gradloom.client import text
from gradloom.client.names import shortest_reference
from gradloom.errors import (
    EtagMismatchError,
    GradloomError,
    InvalidRequestError,
    LimitExceededError,
    ServerUnavailableError,
)


class ExitCode(enum.IntEnum):
    """What a shell learns of a command."""

    DONE = 0
    JOB_FAILED = 1
    REFUSED = 2
    UNREACHABLE = 3
    OTHER_ERROR = 4
    INTERRUPTED = 130
    BROKEN_PIPE = 141


_EXIT_CODES: Final[dict[type[GradloomError], ExitCode]] = {
    InvalidRequestError: ExitCode.REFUSED,
    ServerUnavailableError: ExitCode.UNREACHABLE,
}


class Commands(click.Group):
    """A group that turns whatever a command raises into a message on stderr and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; raises click's own exceptions alone."""
        _prepare(sys.stdout)
        _prepare(sys.stderr)
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort):
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
        except BrokenPipeError:
            _discard(sys.stdout)
            raise click.exceptions.Exit(ExitCode.BROKEN_PIPE) from None
        except GradloomError as error:
            text.remark(told(error))
            raise click.exceptions.Exit(exit_code(error)) from None
        except OSError as error:
            named = f"{error.filename}: " if error.filename else ""
            text.remark(f"gradloom: {text.one_line(f'{named}{error.strerror or error}')}")
            raise click.exceptions.Exit(ExitCode.OTHER_ERROR) from None
        except Exception:
            # A fault of this program: its author needs the traceback, and 1 would say that the job failed.
            traceback.print_exc()
            raise click.exceptions.Exit(ExitCode.OTHER_ERROR) from None
        return result

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses; an option of commands that stands before the command is refused with where it goes."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            options = {option for command in self.commands.values() for each in command.params for option in each.opts}
            if error.option_name not in options:
                raise
            told = f"{error.option_name} goes behind the command, as in gradloom list --server HOST:PORT"
            raise click.UsageError(told, ctx) from None

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which a user meets them, not by the alphabet."""
        return sorted(self.commands, key="serve".__ne__)


def exit_code(error: GradloomError) -> ExitCode:
    """What a shell learns of a command that failed so."""
    return _EXIT_CODES.get(type(error), ExitCode.OTHER_ERROR)


def told(error: GradloomError) -> str:
    """An error as its reader needs it; what a server said is shown, not obeyed."""
    said = text.printable(str(error), keep="\n\t")
    if isinstance(error, InvalidRequestError):
        return f"refused: {said}"
    if isinstance(error, ServerUnavailableError) and not error.answered:
        return f"gradloom: {said}\nStart a server with `gradloom serve`, or name one with --server HOST:PORT."
    if isinstance(error, LimitExceededError) and error.retry_after_seconds is not None:
        return f"gradloom: {said}\nTry again in {text.span(error.retry_after_seconds)}."
    if isinstance(error, EtagMismatchError) and error.subject:
        return f"gradloom: {said}\nSee what it is now: gradloom get {text.one_line(shortest_reference(error.subject))}"
    return f"gradloom: {said}"


def _prepare(stream: IO[str]) -> None:
    """Makes a reader see each line when it is written, and a name in any script no reason to fail."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure:
        reconfigure(line_buffering=True, errors="backslashreplace")


def _discard(stream: IO[str]) -> None:
    """Sends what is still buffered nowhere, so that the interpreter does not complain when it closes the stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
