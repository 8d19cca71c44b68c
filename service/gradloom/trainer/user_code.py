"""Python source that came with a job: run once, in the job's trainer alone, as a module of its own.

Its lines are known to tracebacks and to `inspect`, as if it were a file.
"""

import inspect
import linecache
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import FrameType, ModuleType
from typing import Final

import keras
import tensorflow as tf

from gradloom.catalogue import Catalogue, Entry
from gradloom.errors import FieldFault, InvalidRequestError, refusal
from gradloom.spec.user_code import REGISTERED, SOURCE_FIELD
from gradloom.trainer import installed
from gradloom.trainer.library_messages import on_one_line
from gradloom.trainer.python_state import Finding, findings
from gradloom.trainer.registered import RegistrationError, entries_registered_by, module_of
from gradloom.v1 import spec_pb2

MODULE: Final = "gradloom_user_code"
FILE: Final = "<user_code>"

# What TensorFlow says of a Python function that a graph called and that raised.
_TRACEBACK: Final = re.compile(
    r"^Traceback \(most recent call last\):\n(?P<frames>(?:\n| .*\n)+)(?P<raised>\S.*)$", re.M
)
_FRAME: Final = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+), in (?P<function>.+)$', re.M)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UserCodeFault(FieldFault):
    """A fault of a spec that is an exception of user code, or of a package, while the field's object was made."""

    error: BaseException = field(compare=False, repr=False)


@dataclass(frozen=True)
class Raised:
    """An exception of user code or of a package."""

    exception_type: str
    """Fully qualified, but for Python's own."""
    message: str
    place: str
    """`line 12, in call`, or `/lib/acme.py, line 12, in call`."""

    def __str__(self) -> str:
        """Gives `user code raised ValueError in line 12, in call: ...`."""
        return f"user code raised {self.exception_type.rpartition('.')[2]} in {self.place}: {self.message}"


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
        raise refusal(SOURCE_FIELD, str(error)) from None
    except (Exception, SystemExit) as error:
        raise InvalidRequestError([fault(SOURCE_FIELD, error, on_one_line(error))]) from error
    if not entries:
        raise refusal(
            SOURCE_FIELD,
            "must register a component at least, with keras.saving.register_keras_serializable(package=...)",
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


def fault(where: str, error: BaseException, otherwise: str, before: str = "") -> FieldFault:
    """A fault at a field: what user code raised, whose traceback goes into the log; else what `otherwise` says."""
    raised = raised_by(error)
    if raised is None:
        return FieldFault(where, before + otherwise)
    logger.error("%s", raised, exc_info=error)
    return UserCodeFault(where, f"{before}{raised}", error)


def raised_by(error: BaseException) -> Raised | None:
    """What user code or a package raised, when that is what an exception came from."""
    for link in _chain(error):
        if frame := _innermost_frame(link):
            name = f"{type(link).__module__}.{type(link).__qualname__}".removeprefix("builtins.")
            return Raised(name, on_one_line(link), _place(*frame))
        if isinstance(link, tf.errors.OpError) and (told := _raised_in_graph(str(link))):
            return told
    return None


def described(error: BaseException) -> str:
    """The same in a sentence; empty for everything else."""
    return str(raised_by(error) or "")


def at_work() -> tuple[str, list[str]]:
    """Where the threads are that run user code now: in a sentence, and their stacks as a traceback has them.

    The sentence is empty where none runs any; the stack is then that of the main thread, which runs the training.
    """
    modules, own = foreign_modules(), threading.get_ident()
    frames = {thread: frame for thread, frame in sys._current_frames().items() if thread != own}
    places, lines = [], []
    for frame in frames.values():
        inner = next((each for each in _outwards(frame) if _is_of(each, modules)), None)
        if inner is not None:
            code = inner.f_code
            source = linecache.getline(code.co_filename, inner.f_lineno).strip()
            places.append(f"{_place(code.co_filename, inner.f_lineno, code.co_name)}: {source}")
            lines += _stack(frame)
    if not places:
        main = frames.get(threading.main_thread().ident or 0)
        return "", [] if main is None else _stack(main)
    return f"user code is in {' and in '.join(places)}", lines


def _stack(frame: FrameType) -> list[str]:
    return "".join(traceback.format_stack(frame)).splitlines()


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(file: str, line: int, function: str) -> str:
    place = f"line {line}" if file == FILE else f"{file}, line {line}"
    return place if function == "<module>" else f"{place}, in {function}"


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
        if _is_of(frame, modules)
    ]
    return frames[-1] if frames else None


def _is_of(frame: FrameType, modules: Iterable[str]) -> bool:
    return str(frame.f_globals.get("__name__")).partition(".")[0] in modules


def _raised_in_graph(text: str) -> Raised | None:
    """What a Python function of user code raised that a graph called: TensorFlow passes its traceback on as text."""
    for told in _TRACEBACK.finditer(text):
        files = _foreign_files()
        frames = [frame for frame in _FRAME.finditer(told["frames"]) if frame["file"].startswith(files)]
        if frames:
            name, _, message = told["raised"].partition(": ")
            return Raised(name, message, _place(frames[-1]["file"], int(frames[-1]["line"]), frames[-1]["function"]))
    return None


def _foreign_files() -> tuple[str, ...]:
    """What the paths of the files of user code and packages begin with."""
    found = [FILE]
    for name in foreign_modules() - {MODULE}:
        module = sys.modules.get(name)
        found += list(getattr(module, "__path__", ())) or [str(getattr(module, "__file__", FILE))]
    return tuple(found)


def foreign_modules() -> set[str]:
    """Top-level names of the modules whose classes are registered here and neither Keras's nor ours.

    A function of TensorFlow, NumPy or Python that somebody has registered does not make these foreign.
    """
    registered = {module_of(member) for member in keras.saving.get_custom_objects().values()}
    return {MODULE, *registered} - {"gradloom", "keras", "tensorflow", "numpy", ""} - sys.stdlib_module_names
