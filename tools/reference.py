"""Fills the tables of docs/reference.md from the code: `make reference`.

A table stands between `<!-- table: NAME -->` and `<!-- end -->`; a test holds the committed file to what this makes.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gradloom.__main__ import serve_command
from gradloom.api.status import STATUS_CODES
from gradloom.attempt.v1 import attempt_pb2
from gradloom.catalogue import Catalogue
from gradloom.client.cli import cli
from gradloom.job import NEXT_STATES, REASON_RULES, JobName, reason_name, state_name
from gradloom.jobs.hints import Standing, hint_in_words
from gradloom.jobs.instruments import Instruments, ServerGauges
from gradloom.settings import TABLE
from gradloom.v1 import job_pb2, spec_pb2

ROOT: Final = Path(__file__).resolve().parents[1]
REFERENCE: Final = ROOT / "docs/reference.md"
PROTO: Final = ROOT / "proto/gradloom/v1"
OWN_COLLECTORS: Final = ("process_", "python_")
Row = tuple[str, ...]


def fill(text: str) -> str:
    """The text with every table made anew; raises KeyError for a table that is not known."""

    def table(match: re.Match[str]) -> str:
        name = match[1]
        rows = MESSAGES[name]() if name in MESSAGES else TABLES[name]()
        return f"<!-- table: {name} -->\n{markdown(rows)}<!-- end -->"

    return re.sub(r"<!-- table: (\S+) -->\n.*?<!-- end -->", table, text, flags=re.S)


def markdown(rows: Iterable[Row]) -> str:
    """A table; the first row is its head."""
    head, *body = rows
    lines = [head, tuple("---" for _ in head), *body]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def code(text: str) -> str:
    """Text as code, nothing as nothing."""
    return f"`{text}`" if text else ""


def fields(message: Descriptor, comments: dict[tuple[str, str], str]) -> Iterator[Row]:
    """Every field of a message with its comment in the proto files."""
    yield "field", "type", "what it says"
    for field in message.fields:
        yield code(field.name), field_type(field), comments[message.name, field.name]


def field_type(field: FieldDescriptor) -> str:
    """A field's type as a writer of YAML thinks of it."""
    names = {
        FieldDescriptor.TYPE_STRING: "string",
        FieldDescriptor.TYPE_BOOL: "true or false",
        FieldDescriptor.TYPE_INT32: "whole number",
        FieldDescriptor.TYPE_INT64: "whole number",
        FieldDescriptor.TYPE_DOUBLE: "number",
    }
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = (field_type(field.message_type.fields_by_name[part]) for part in ("key", "value"))
        return f"mapping of {key} to {value}"
    if field.enum_type is not None:
        name = ", ".join(code(value.name) for value in field.enum_type.values if value.number)
    elif field.message_type is not None and field.message_type.name == "Struct":
        name = "mapping"
    elif field.message_type is not None and field.message_type.name == "Duration":
        name = "duration, such as `90s`"
    elif field.message_type is not None:
        name = f"[{field.message_type.name}](#{field.message_type.name.lower()})"
    else:
        name = names[field.type]
    return f"list of {name}" if field.is_repeated else name


def proto_comments(file: Path) -> dict[tuple[str, str], str]:
    """The comment before each field and enum value, by the message or enum it lies in (`Job.State`) and its name."""
    comments: dict[tuple[str, str], str] = {}
    scope: list[str] = []
    comment: list[str] = []
    for line in (raw.strip() for raw in file.read_text().splitlines()):
        if line.startswith("//"):
            comment.append(line.removeprefix("//").strip())
            continue
        if opened := re.match(r"(?:message|enum|service|oneof) (\w+) \{", line):
            scope.append(opened[1])
        elif line == "}":
            scope.pop()
        elif member := re.match(r"(?:.* )?(\w+) = \d+;", line):
            comments[".".join(scope), member[1]] = " ".join(comment)
        comment = []
    return comments


def datasets() -> Iterator[Row]:
    """The data sets of the catalogue."""
    yield "name", "features", "labels", "train", "test", "what it is"
    for entry in Catalogue.load().entries("dataset"):
        data = entry.dataset
        assert data is not None
        shape = ", ".join(str(length) for length in data.feature_shape)
        labels = f"{data.label_dtype}, {data.classes} classes" if data.classes else data.label_dtype
        sizes = (f"{data.splits['train']:,}", f"{data.splits['test']:,}")
        yield code(entry.type), f"[{shape}] {data.feature_dtype}", labels, *sizes, entry.doc


def components() -> Iterator[Row]:
    """The components of our own."""
    yield "type", "kind", "`config`", "what it is"
    for entry in Catalogue.load().entries():
        if entry.origin.startswith("gradloom."):
            # A type in a table must not end it, and what every layer or model takes says nothing of this one.
            inherited = ("name", "trainable", "dtype", "activity_regularizer")
            keys = ", ".join(code(each.name) for each in entry.parameters if each.name not in inherited)
            yield code(entry.type), entry.kind.replace("_", " "), keys, entry.doc


def settings() -> Iterator[Row]:
    """The settings of a server."""
    yield "flag", "variable", "default", "what it says"
    for setting in TABLE:
        yield code(setting.flag), code(setting.variable), code(str(setting.default)), setting.help


def commands() -> Iterator[Row]:
    """The commands with the first line of their help."""
    yield "command", "what it does"
    for name, command in {"serve": serve_command(), **cli.commands}.items():
        arguments = [each.metavar or each.name.upper() for each in command.params if each.param_type_name == "argument"]
        yield code(" ".join(["gradloom", name, *arguments])), command.get_short_help_str(limit=200)


def states() -> Iterator[Row]:
    """The states of a job."""
    yield "state", "what it means", "next"
    comments = proto_comments(PROTO / "job.proto")
    for state, following in NEXT_STATES.items():
        names = ", ".join(code(state_name(each)) for each in sorted(following)) or "final"
        yield code(state_name(state)), comments["Job.State", state_name(state)], names


def reasons() -> Iterator[Row]:
    """Why attempts and jobs end, what follows, and what to do about it."""
    yield "reason", "what it means", "tried again", "counts", "what to do"
    comments = proto_comments(PROTO / "job.proto")
    for reason, rule in REASON_RULES.items():
        meaning = re.sub(r" (Never retried|Not counted|Counted)\.$", "", comments["Job.Reason", reason_name(reason)])
        again, counts = "yes" if rule.retried else "no", "yes" if rule.counted else "as lost" if rule.lost else "no"
        yield code(reason_name(reason)), meaning, again, counts, _hint(reason)


def _hint(reason: int) -> str:
    rate = "spec.variable_groups[0].optimizer.config.learning_rate=1e-4"
    return hint_in_words(reason, "JOB", "N", rate, Standing(has_checkpoint=True, has_failed=True))


def errors() -> Iterator[Row]:
    """Every error with its status code."""
    yield "status", "reason", "Python", "when"
    for kind, status in STATUS_CODES.items():
        meaning = (kind.__doc__ or "").splitlines()[0]
        yield code(status.name), code(kind.reason), code(kind.__name__), meaning


def metrics() -> Iterator[Row]:
    """Every series of the server."""
    yield "series", "type", "labels", "what it is"
    for family in used_instruments().registry.collect():
        if family.name.startswith(OWN_COLLECTORS):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label: None for sample in family.samples for label in sample.labels if label != "le"}
        yield code(name), family.type, ", ".join(map(code, labels)), family.documentation


def used_instruments() -> Instruments:
    """Instruments that have all been used once, so that each has a series with its labels."""
    instruments = Instruments(grace_seconds=60)
    instruments.registry.register(ServerGauges(dict, lambda: {"free": 1}, lambda: {"--data-dir": 1}, str))
    name = JobName("default", "some")
    instruments.job_created()
    instruments.job_claimed(0)
    group = job_pb2.GroupProgress(learning_rate=0.1, gradient_norm=1, update_ratio=0.1)
    progress = job_pb2.Progress(scalars={"loss": 1.0}, groups={"head": group})
    progress.first_step_duration.FromSeconds(1)
    report = attempt_pb2.ReportRequest(beat=1, steps=1, examples=32, mean_step_seconds=0.1, progress=progress)
    instruments.attempt_reported("uid", name, 1, report)
    instruments.attempt_ended("of another", 1, job_pb2.Job.COMPLETED)
    instruments.rpc_handled("gradloom.v1.TrainingService", "GetJob", "OK", 0.1)
    instruments.job_finished("of another", job_pb2.Job.SUCCEEDED, job_pb2.Job.COMPLETED)
    return instruments


def message_tables() -> dict[str, Callable[[], Iterator[Row]]]:
    """A table for each message that a job file can hold."""
    comments = proto_comments(PROTO / "spec.proto")
    asked = [
        spec_pb2.DESCRIPTOR.message_types_by_name[name]
        for name in spec_pb2.DESCRIPTOR.message_types_by_name
        if not name.startswith(("Resolved", "VariableAssignment"))
    ]
    return {message.name: partial(fields, message, comments) for message in asked}


MESSAGES: Final = message_tables()
TABLES: Final[dict[str, Callable[[], Iterator[Row]]]] = {
    "components": components,
    "datasets": datasets,
    "settings": settings,
    "commands": commands,
    "states": states,
    "reasons": reasons,
    "errors": errors,
    "metrics": metrics,
}

if __name__ == "__main__":
    REFERENCE.write_text(fill(REFERENCE.read_text()))
