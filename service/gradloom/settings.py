"""How a server is deployed: one table of settings that feeds flags, environment variables, checks and documents.

A setting `cpu_slots` is the flag `--cpu-slots`, the variable `GRADLOOM_CPU_SLOTS` and the attribute
`Settings.cpu_slots`. A flag wins over its variable, a variable over the default.
"""

import hashlib
import ipaddress
import math
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gradloom.errors import FieldFault, InvalidRequestError

LONGEST_SOCKET_PATH_BYTES: Final = 107
"""What fits in `sockaddr_un.sun_path` with its terminating zero."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LAUNCHERS: Final = ("local",)


@dataclass(frozen=True)
class Settings:
    """The settings of one server, checked; `Settings.load` makes them."""

    listen: str
    metrics_listen: str
    health_listen: str
    trainer_listen: str
    data_dir: Path
    database_url: str
    artifact_root: Path
    launcher: str
    cpu_slots: int
    gpus: tuple[str, ...] | None
    data_roots: tuple[Path, ...]
    dataset_directories: tuple[Path, ...]
    drain_timeout: float
    orphan_timeout: float
    report_timeout: float
    reservation_after: float
    finished_job_metrics_grace: float
    validation_timeout: float
    user_code: bool
    i_accept_unauthenticated_access: bool
    log_level: str

    @classmethod
    def load(cls, flags: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> "Settings":
        """Reads and checks every setting.

        `flags` holds raw values by setting name, strings as a user writes them (a tuple of them for a flag given
        several times); None means not given. `environment` stands for `os.environ`. Raises InvalidRequestError with
        every fault.
        """
        given = {} if flags is None else flags
        variables = {} if environment is None else environment
        faults: list[FieldFault] = []
        values: dict[str, Any] = {}
        for setting in TABLE:
            raw = given.get(setting.name)
            source = setting.flag
            if (raw is None or raw == ()) and setting.variable in variables:
                raw, source = variables[setting.variable], setting.variable
            if raw is None or raw == ():
                raw, source = setting.default, setting.flag
            try:
                values[setting.name] = setting.parse(raw)
            except ValueError as error:
                faults.append(FieldFault(source, str(error)))
        for name in given.keys() - {setting.name for setting in TABLE}:
            faults.append(FieldFault(name, "is not a setting"))
        if not faults:
            _fill_from_data_dir(values)
            faults.extend(_faults_between(values))
        if faults:
            raise InvalidRequestError(faults)
        return cls(**values)


def _text(raw: Any) -> str:
    return str(raw)


def _count(raw: Any) -> int:
    text = str(raw).strip()
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise ValueError(f"must be a whole number, 0 or more; got {text!r}")
    return int(text)


def _seconds(raw: Any) -> float:
    """Reads `20`, `20s`, `1.5m` or `2h`."""
    text = str(raw).strip()
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(s|m|h)?", text)
    if not match:
        raise ValueError(f"must be a duration such as 20, 20s, 5m or 1h; got {text!r}")
    seconds = float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2] or "s"]
    if not math.isfinite(seconds):
        raise ValueError(f"must be finite; got {text!r}")
    return seconds


def _positive_seconds(raw: Any) -> float:
    seconds = _seconds(raw)
    if seconds <= 0:
        raise ValueError(f"must be longer than nothing; got {raw!r}")
    return seconds


def _switch(raw: Any) -> bool:
    text = str(raw).strip().lower()
    if text in {"1", "true", "yes", "on"}:
        return True
    if text in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError(f"must be true or false; got {raw!r}")


def _path(raw: Any) -> Path:
    if not str(raw):
        raise ValueError("must be a path; got ''")
    return Path(os.path.abspath(Path(str(raw)).expanduser()))


def _optional_path(raw: Any) -> Path | None:
    return _path(raw) if str(raw) else None


def _paths(raw: Any) -> tuple[Path, ...]:
    """Reads directories between colons; each must exist."""
    texts = [raw] if isinstance(raw, str) else [str(item) for item in raw]
    paths = tuple(_path(part) for text in texts for part in text.split(os.pathsep) if part)
    missing = [str(path) for path in paths if not path.is_dir()]
    if missing:
        raise ValueError(f"must be directories; not found: {', '.join(missing)}")
    return paths


def _gpus(raw: Any) -> tuple[str, ...] | None:
    """Reads `auto` (None: those that are found), `none`, or indices or UUIDs between commas."""
    text = str(raw).strip()
    if text == "auto":
        return None
    if text in {"none", ""}:
        return ()
    parts = tuple(part.strip() for part in text.split(","))
    if not all(re.fullmatch(r"[0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]+", part) for part in parts):
        raise ValueError(f"must be auto, none, or indices or UUIDs between commas; got {text!r}")
    if len(set(parts)) != len(parts):
        raise ValueError(f"must name each GPU once; got {text!r}")
    return parts


def _choice(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def parse(raw: Any) -> str:
        if raw not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}; got {raw!r}")
        return str(raw)

    return parse


def _address(raw: Any) -> str:
    """Reads `host:port`, `[ipv6]:port`."""
    split_address(str(raw))
    return str(raw)


def _optional_address(raw: Any) -> str:
    return _address(raw) if raw else ""


def _address_or_socket(raw: Any) -> str:
    text = str(raw)
    if not text:
        return ""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path.startswith("/"):
            raise ValueError(f"must be unix: and an absolute path; got {text!r}")
        if len(os.fsencode(path)) > LONGEST_SOCKET_PATH_BYTES:
            raise ValueError(
                f"a socket's path has at most {LONGEST_SOCKET_PATH_BYTES} bytes; {path} has {len(os.fsencode(path))}"
            )
        return text
    if split_address(text)[1] == 0:
        raise ValueError("needs a fixed port: trainers that outlive a crash find the next server at the same address")
    return text


@dataclass(frozen=True)
class Setting:
    """One row of the table."""

    name: str
    default: Any
    parse: Callable[[Any], Any]
    help: str
    metavar: str = "TEXT"
    repeated: bool = False

    @property
    def flag(self) -> str:
        """The setting on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The setting in the environment."""
        return "GRADLOOM_" + self.name.upper()

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return self.parse is _switch


TABLE: Final[Sequence[Setting]] = (
    Setting(
        "listen",
        "127.0.0.1:50051",
        _address,
        "Where the public gRPC service listens. Port 0 takes a free one.",
        "HOST:PORT",
    ),
    Setting(
        "metrics_listen",
        "127.0.0.1:9464",
        _optional_address,
        "Where Prometheus scrapes /metrics. Empty: nowhere.",
        "HOST:PORT",
    ),
    Setting(
        "health_listen",
        "",
        _optional_address,
        "Plaintext gRPC health and nothing else, for probes; may be beyond loopback. Empty: nowhere.",
        "HOST:PORT",
    ),
    Setting(
        "trainer_listen",
        "",
        _address_or_socket,
        "Where trainers report. Default: a socket in the data directory that only its owner can open.",
        "unix:PATH|HOST:PORT",
    ),
    Setting(
        "data_dir", "~/.local/share/gradloom", _path, "The server's own directory; one server at a time.", "DIRECTORY"
    ),
    Setting("database_url", "", _text, "SQLAlchemy URL of the store. Default: SQLite in the data directory.", "URL"),
    Setting(
        "artifact_root",
        "",
        _optional_path,
        "Where attempts write. Default: `artifacts` in the data directory.",
        "DIRECTORY",
    ),
    Setting("launcher", "local", _choice(LAUNCHERS), "How attempts are started: local processes.", "|".join(LAUNCHERS)),
    Setting("cpu_slots", "1", _count, "Jobs without a GPU that run at once.", "COUNT"),
    Setting("gpus", "auto", _gpus, "The GPUs the server owns: auto, none, or indices between commas.", "GPUS"),
    Setting(
        "data_roots",
        "",
        _paths,
        "Directories that hold users' data; nothing outside them is read for a spec. Colon-separated or repeated.",
        "DIRECTORIES",
        repeated=True,
    ),
    Setting(
        "dataset_directories",
        "",
        _paths,
        "Where built-in data sets are looked for first. Colon-separated or repeated.",
        "DIRECTORIES",
        repeated=True,
    ),
    Setting(
        "drain_timeout",
        "20s",
        _seconds,
        "How long running attempts may take after SIGTERM to save a checkpoint and end, before they are killed.",
        "DURATION",
    ),
    Setting(
        "orphan_timeout",
        "5m",
        _positive_seconds,
        "After so long without a server, a running attempt ends itself.",
        "DURATION",
    ),
    Setting(
        "report_timeout",
        "5m",
        _positive_seconds,
        "A trainer that sends no report for so long is killed, and its attempt ends TRAINER_SILENT.",
        "DURATION",
    ),
    Setting(
        "reservation_after",
        "60s",
        _seconds,
        "For a job that has not fitted for so long, devices are held back from those behind it in the queue.",
        "DURATION",
    ),
    Setting(
        "finished_job_metrics_grace",
        "5m",
        _seconds,
        "How long a job's own series outlive the job in /metrics.",
        "DURATION",
    ),
    Setting(
        "validation_timeout", "60s", _positive_seconds, "How long one validation by TensorFlow may take.", "DURATION"
    ),
    Setting(
        "user_code",
        "false",
        _switch,
        "Lets jobs bring Python source. It runs in their trainers, with all that this server's user may do.",
    ),
    Setting(
        "i_accept_unauthenticated_access",
        "false",
        _switch,
        "Lets listeners without TLS and tokens lie beyond loopback: whoever reaches them may run jobs.",
    ),
    Setting("log_level", "info", _choice(LOG_LEVELS), "What the server logs.", "|".join(LOG_LEVELS)),
)


def split_address(address: str) -> tuple[str, int]:
    """Splits `host:port` or `[ipv6]:port`; raises ValueError with the rule."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^\[\]:/\s]+):([0-9]{1,5})", address)
    if not match or int(match[2]) > 65535:
        raise ValueError(f"must be HOST:PORT, an IPv6 address in brackets, the port at most 65535; got {address!r}")
    return match[1].strip("[]"), int(match[2])


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address."""
    if address.startswith("unix:"):
        return True
    host, _ = split_address(address)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _fill_from_data_dir(values: dict[str, Any]) -> None:
    data_dir: Path = values["data_dir"]
    values["artifact_root"] = values["artifact_root"] or data_dir / "artifacts"
    values["database_url"] = values["database_url"] or f"sqlite:///{data_dir / 'gradloom.db'}"
    values["trainer_listen"] = values["trainer_listen"] or f"unix:{_default_socket(data_dir)}"


def _default_socket(data_dir: Path) -> Path:
    """A socket in the data directory; elsewhere, but always the same, where that path is too long for a socket."""
    socket = data_dir / "trainer.sock"
    if len(os.fsencode(socket)) <= LONGEST_SOCKET_PATH_BYTES:
        return socket
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return short_socket_directory() / f"{digest}.sock"


def short_socket_directory() -> Path:
    """Where the trainers' sockets lie of the user's data directories whose paths are too long for one."""
    return Path(tempfile.gettempdir()) / f"gradloom-{os.getuid()}"


def _faults_between(values: Mapping[str, Any]) -> list[FieldFault]:
    faults = []
    if not values["i_accept_unauthenticated_access"]:
        for name in ("listen", "metrics_listen", "trainer_listen"):
            if values[name] and not is_loopback(values[name]):
                faults.append(
                    FieldFault(
                        "--" + name.replace("_", "-"),
                        f"{values[name]} is beyond loopback and has neither TLS nor tokens: whoever reaches it may "
                        "run jobs. Say --i-accept-unauthenticated-access if that is meant",
                    )
                )
    if not values["database_url"].startswith("sqlite:///"):
        faults.append(
            FieldFault("--database-url", f"must be sqlite:///PATH; got {values['database_url'].split(':')[0]}:...")
        )
    if values["cpu_slots"] < 1:
        faults.append(FieldFault("--cpu-slots", f"must be at least 1; got {values['cpu_slots']}"))
    return faults
