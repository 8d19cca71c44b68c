"""Settings: one table, checked all at once."""

from pathlib import Path

import pytest

from gradloom.errors import InvalidRequestError
from gradloom.settings import LONGEST_SOCKET_PATH_BYTES, TABLE, Settings, is_loopback


def faults_of(**flags: object) -> dict[str, str]:
    with pytest.raises(InvalidRequestError) as caught:
        Settings.load(flags, {})
    return {fault.field: fault.description for fault in caught.value.faults}


def test_every_setting_has_a_default_that_is_accepted_and_an_attribute() -> None:
    settings = Settings.load({}, {})
    assert {setting.name for setting in TABLE} == set(vars(settings))
    assert settings.listen == "127.0.0.1:50051"
    assert settings.metrics_listen == "127.0.0.1:9464"
    assert settings.drain_timeout == 20.0
    assert settings.gpus is None


def test_a_flag_wins_over_its_variable_and_a_variable_over_the_default() -> None:
    environment = {"GRADLOOM_CPU_SLOTS": "3", "GRADLOOM_DRAIN_TIMEOUT": "1m"}
    settings = Settings.load({"cpu_slots": "2"}, environment)
    assert (settings.cpu_slots, settings.drain_timeout) == (2, 60.0)


def test_what_is_not_said_lies_in_the_data_directory(tmp_path: Path) -> None:
    settings = Settings.load({"data_dir": str(tmp_path)}, {})
    assert settings.artifact_root == tmp_path / "artifacts"
    assert settings.database_url == f"sqlite:///{tmp_path}/gradloom.db"
    assert settings.trainer_listen.startswith("unix:/")


def test_a_data_directory_too_deep_for_a_socket_gets_one_elsewhere_that_stays_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    first, second = (Settings.load({"data_dir": str(deep)}, {}).trainer_listen for _ in range(2))
    other = Settings.load({"data_dir": str(deep) + "e"}, {}).trainer_listen
    assert first == second != other
    assert len(first.removeprefix("unix:")) <= LONGEST_SOCKET_PATH_BYTES


def test_every_fault_is_told_at_once_with_flag_rule_and_value() -> None:
    faults = faults_of(listen="nowhere", cpu_slots="many", drain_timeout="soon", gpus="x", launcher="cloud")
    assert faults.keys() == {"--listen", "--cpu-slots", "--drain-timeout", "--gpus", "--launcher"}
    assert "'many'" in faults["--cpu-slots"]
    assert "must be one of local" in faults["--launcher"]


def test_a_fault_of_a_variable_names_the_variable() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        Settings.load({}, {"GRADLOOM_CPU_SLOTS": "-1"})
    assert [fault.field for fault in caught.value.faults] == ["GRADLOOM_CPU_SLOTS"]


@pytest.mark.parametrize("name", ["listen", "metrics_listen", "trainer_listen"])
def test_a_listener_beyond_loopback_is_refused_unless_that_is_accepted(name: str) -> None:
    assert "beyond loopback" in faults_of(**{name: "0.0.0.0:7000"})["--" + name.replace("_", "-")]
    accepted = Settings.load({name: "0.0.0.0:7000", "i_accept_unauthenticated_access": "true"}, {})
    assert getattr(accepted, name) == "0.0.0.0:7000"


def test_health_alone_may_lie_beyond_loopback() -> None:
    assert Settings.load({"health_listen": "0.0.0.0:8080"}, {}).health_listen == "0.0.0.0:8080"


def test_the_trainers_address_has_a_port_that_stays_the_same() -> None:
    assert "fixed port" in faults_of(trainer_listen="127.0.0.1:0")["--trainer-listen"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1", "unix:/run/x.sock"])
def test_loopback_addresses(address: str) -> None:
    assert is_loopback(address)


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.org:1", "127.0.0.1.example.org:1"])
def test_addresses_that_others_may_reach(address: str) -> None:
    assert not is_loopback(address)


@pytest.mark.parametrize(
    "address", ["", ":1", "host", "host:", "host:65536", "::1:5", "host:1:2", "a b:1", "http://x:1"]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    assert "HOST:PORT" in faults_of(listen=address)["--listen"]


@pytest.mark.parametrize(("text", "seconds"), [("20", 20.0), ("1.5s", 1.5), ("2m", 120.0), ("1h", 3600.0), ("0", 0.0)])
def test_durations(text: str, seconds: float) -> None:
    assert Settings.load({"drain_timeout": text}, {}).drain_timeout == seconds


@pytest.mark.parametrize(
    ("text", "gpus"), [("auto", None), ("none", ()), ("0,1", ("0", "1")), ("GPU-ab12-0", ("GPU-ab12-0",))]
)
def test_gpus(text: str, gpus: tuple[str, ...] | None) -> None:
    assert Settings.load({"gpus": text}, {}).gpus == gpus


def test_data_roots_may_be_repeated_and_must_be_directories(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert Settings.load({"data_roots": (str(tmp_path), f"{tmp_path}/b")}, {}).data_roots == (tmp_path, tmp_path / "b")
    assert "not found" in faults_of(data_roots=(str(tmp_path / "missing"),))["--data-roots"]
