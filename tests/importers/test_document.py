"""The config that an import makes: names, keys, addresses."""

import pytest

from netd.config.bounds import Bound
from netd.errors import ConfigError
from netd.importers.account import Place
from netd.importers.document import Document, Service


def service(name: str, *listen: str) -> Service:
    made = Service(name, Place("f", 1))
    made.put(list(listen), "listen")
    return made


def test_keys_stand_in_the_order_of_the_example_config() -> None:
    made = service("echo", "tcp://*:7")
    made.put(3, "limits", "per_source")
    made.switch_off("because")
    made.switch_off("because")
    made.put("echo", "type")
    assert Document().add(made) == ""
    assert list(made.tree) == ["type", "enabled", "listen", "limits"]
    assert made.explained == {("enabled",): ["because"]}
    assert (made.get("limits", "per_source"), made.get("limits", "rate"), made.get("type", "x")) == (3, None, None)


def test_names_are_unique_and_those_that_netd_takes() -> None:
    document = Document()
    names = ["a", "a", "b/c", "-x", "", "n" * 80, "n" * 80]
    notes = [document.add(service(name, "tcp://*:7")) for name in names]
    assert list(document.services) == ["a", "a-2", "b-c", "x-x", "x", "n" * 64, "n" * 58 + "-2"]
    assert [bool(note) for note in notes] == [False, True, True, True, True, True, True]


def test_service_that_gets_another_name_keeps_its_type() -> None:
    document = Document()
    for _ in range(2):
        document.add(service("echo", "tcp://*:7"))
    assert [one.get("type") for one in document.services.values()] == [None, "echo"]
    assert document.services["echo-2"].tree["type"] == "echo"


def test_services_that_are_on_conflict_over_an_address() -> None:
    document = Document()
    first = service("first", "tcp://*:7")
    document.add(first)
    second = service("second", "udp://*:9", "tcp://127.0.0.1:7")
    assert document.conflict(second) is first
    assert document.conflict(service("third", "udp://*:7")) is None
    off = service("off", "tcp://*:9")
    off.switch_off()
    document.add(off)
    assert document.conflict(service("on", "tcp://*:9")) is None


def test_addresses_that_come_later_count_and_those_of_services_that_are_off_do_not() -> None:
    document = Document()
    first = service("first", "tcp://*:7")
    document.add(first)
    document.extend(first, ["tcp://*:9"])
    assert first.get("listen") == ["tcp://*:7", "tcp://*:9"]
    assert document.conflict(service("second", "tcp://*:9")) is first
    first.switch_off()
    assert document.conflict(service("second", "tcp://*:9")) is None


def test_addresses_of_a_port_are_no_more_than_netd_takes() -> None:
    document = Document()
    with pytest.raises(ConfigError, match="f:1: more than 1000 addresses of one port"):
        for number in range(1001):
            document.add(service("x", f"tcp://10.0.{number % 250}.{number // 250}:7"))
    assert len(document.services) == 1001


def test_services_are_no_more_than_netd_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("netd.importers.document.SERVICES", Bound(1, "services"))
    document = Document()
    document.add(service("first", "tcp://*:7"))
    with pytest.raises(ConfigError, match="f:1: more than 1 services"):
        document.add(service("second", "tcp://*:9"))
