"""Python source that came with a job: run once, in the job's trainer alone, as a module of its own.

Its lines are known to tracebacks and to `inspect`, as if it were a file.
"""

import inspect
import linecache
import logging
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType
from typing import Final

import keras

from gradloom.catalogue import Catalogue, Entry
from gradloom.errors import FieldFault, InvalidRequestError
from gradloom.spec.user_code import REGISTERED, SOURCE_FIELD
from gradloom.trainer import installed
from gradloom.trainer.library_messages import on_one_line
from gradloom.trainer.python_state import Finding, findings
from gradloom.trainer.registered import RegistrationError, entries_registered_by, module_of
from gradloom.v1 import spec_pb2

MODULE: Final = "gradloom_user_code"
FILE: Final = "<user_code>"

logger = logging.getLogger(__name__)


def bring_in(spec: spec_pb2.JobSpec) -> None:
    """Makes every component known that the spec may name besides Keras's and ours; before anything is constructed.

    Raises InvalidRequestError when the job's source fails or registers what it may not.
    """
    for problem in installed.problems():
        logger.warning(problem)
    if spec.HasField("user_code"):
        Catalogue.add(run(spec.user_code.source))


def run(source: str) -> tuple[Entry, ...]:
    """Runs the source and gives what it registers; raises InvalidRequestError, with the line where it failed."""
    module = ModuleType(MODULE)
    module.__file__ = FILE
    linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)
    # Keras, pickle and dataclasses look a class's module up by its name.
    sys.modules[MODULE] = module

    def execute() -> None:
        exec(compile(source, FILE, "exec", dont_inherit=True), vars(module))

    try:
        entries = entries_registered_by(execute)
    except RegistrationError as error:
        raise InvalidRequestError([FieldFault(SOURCE_FIELD, str(error))]) from None
    except (Exception, SystemExit) as error:
        raise InvalidRequestError([FieldFault(SOURCE_FIELD, told(error) or on_one_line(error))]) from error
    if not entries:
        raise InvalidRequestError(
            [
                FieldFault(
                    SOURCE_FIELD,
                    "must register a component at least, with keras.saving.register_keras_serializable(package=...)",
                )
            ]
        )
    return entries


def foreign_entries(spec: spec_pb2.JobSpec) -> list[Entry]:
    """What the job's source registers, and what a spec names of packages."""
    named = set(REGISTERED.findall(str(spec)))
    entries = (entry for entry in Catalogue.load().entries() if entry.is_registered)
    return [entry for entry in entries if not entry.distribution or entry.type in named]


def python_state(spec: spec_pb2.JobSpec) -> list[Finding]:
    """What is found in the job's source, and in the classes of packages that the spec names."""
    names: dict[str, list[str]] = {}
    for entry in foreign_entries(spec):
        # Initializers draw their numbers before anything is traced.
        if entry.kind != "initializer":
            member = keras.saving.get_registered_object(entry.type)
            names.setdefault(member.__module__, []).append(member.__qualname__)
    return [finding for module, owners in sorted(names.items()) for finding in _python_state_of(module, owners)]


def _python_state_of(module: str, owners: list[str]) -> list[Finding]:
    try:
        file = inspect.getsourcefile(sys.modules[module]) or module
        return findings(source() if module == MODULE else inspect.getsource(sys.modules[module]), file, owners)
    except (KeyError, OSError, TypeError, SyntaxError, RecursionError):
        # Without readable source there is nothing to see.
        return []


def source() -> str:
    """The source that `run` has run."""
    return "".join(linecache.getlines(FILE))


def told(error: BaseException) -> str:
    """As `described`; says it in the log too, with the traceback, which a fault of the spec has no room for."""
    text = described(error)
    if text:
        logger.error(text, exc_info=error)
    return text


def described(error: BaseException) -> str:
    """`user code raised ValueError in line 12, in call: ...` for what user code or a package raised; else nothing."""
    for link in _chain(error):
        frame = _innermost_frame(link)
        if frame is not None:
            file, line, function = frame
            place = f"line {line}" if file == FILE else f"{file}, line {line}"
            within = "" if function == "<module>" else f", in {function}"
            return f"user code raised {type(link).__name__} in {place}{within}: {on_one_line(link)}"
    return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from; of those that Keras raises anew with its own words, the one it found."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        found = link.__context__
        if not (link.__suppress_context__ and link.__cause__ is None and type(found) is type(link)):
            yield link
        link = link.__cause__ or found


def _innermost_frame(error: BaseException) -> tuple[str, int, str] | None:
    """File, line and function of the last frame of the exception that is of user code."""
    modules = foreign_modules()
    frames = [
        (frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] in modules
    ]
    return frames[-1] if frames else None


def foreign_modules() -> set[str]:
    """Top-level names of the modules whose classes are registered here and neither Keras's nor ours.

    A function of TensorFlow, NumPy or Python that somebody has registered does not make these foreign.
    """
    registered = {module_of(member) for member in keras.saving.get_custom_objects().values()}
    return {MODULE, *registered} - {"gradloom", "keras", "tensorflow", "numpy", ""} - sys.stdlib_module_names
