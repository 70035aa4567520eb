"""The state of the supervisor: services, and the tables of their counters."""

import os
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.model import Config
from netd.daemon.messages.from_worker import ProgramsChanged
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.state import State
from netd.services.echo import Echo
from netd.services.table import BUILT_IN
from netd.shared.table import CELL, COMMON, Layout


def config(tmp_path: Path, *services: str) -> Config:
    return typed(tmp_path, **dict.fromkeys(services, "echo"))


def typed(tmp_path: Path, **services: str) -> Config:
    """A config with services of these types."""
    file = tmp_path / "netd.yaml"
    entries = [f"  {name}: {{type: {kind}, listen: [tcp://*:0]}}\n" for name, kind in services.items()]
    file.write_text("services:\n" + "".join(entries))
    return loader.load(file)


def test_unknown_service_is_rejected_with_a_similar_name(tmp_path: Path) -> None:
    state = State(config(tmp_path, "echo", "upper"))
    state.require("echo")
    with pytest.raises(CommandError, match=r"^there is no service 'ecoh'; did you mean 'echo'\?$") as raised:
        state.require("ecoh")
    assert raised.value.exit_code == 64
    with pytest.raises(CommandError, match=f"^there is no service '{'x' * 64}'; known: echo, upper$") as raised:
        state.require("x" * 4000)
    assert raised.value.exit_code == 64


def test_removed_service_is_accepted_where_its_connections_may_be_meant(tmp_path: Path) -> None:
    state = State(config(tmp_path, "echo", "upper"))
    state.apply(config(tmp_path, "echo"), {})
    state.require("upper", once=True)
    with pytest.raises(CommandError, match="^there is no service 'upper'; known: echo$"):
        state.require("upper")
    with pytest.raises(CommandError, match="^there is no service 'uper'; known: echo$"):
        state.require("uper", once=True)


class Counting(Echo):
    counters = ("started",)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service type ``counting`` with a counter of its own."""
    monkeypatch.setitem(BUILT_IN, "counting", Counting)


@pytest.mark.usefixtures("counting")
def test_service_has_one_table_with_the_layout_of_its_type(tmp_path: Path) -> None:
    state = State(typed(tmp_path, one="counting", two="echo"))
    one, two = state.config.services
    assert state.tables == {}
    assert (state.table(one).layout, state.table(two).layout) == (Layout(("started",)), COMMON)
    assert state.table(one) is state.table(one)
    assert state.tables == {"one": state.table(one), "two": state.table(two)}


@pytest.mark.usefixtures("counting")
@pytest.mark.parametrize("enabled", [True, False])
def test_table_of_a_new_type_is_kept_with_its_config_or_closed_with_its_rejection(
    tmp_path: Path, *, enabled: bool
) -> None:
    old, new = typed(tmp_path, one="echo", two="echo"), typed(tmp_path, one="counting", two="echo")
    overrides = {"one": enabled}
    state = State(old)
    kept = state.table(old.services[0]), state.table(old.services[1])
    refused = state.table(new.services[0])
    assert refused is not kept[0]
    assert state.tables == {"one": kept[0], "two": kept[1]}, "without those of a config that is not in force"
    state.drop_unused_tables()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(refused.descriptor)
    assert state.table(old.services[0]) is kept[0]
    accepted = state.table(new.services[0])
    assert accepted is not refused
    state.apply(new, overrides)
    assert state.tables == {"one": accepted, "two": kept[1]}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(kept[0].descriptor)
    state.apply(old, overrides)
    assert state.tables == {"two": kept[1]}, "a type that is used again starts at 0"


def test_connections_of_removed_services_are_counted(tmp_path: Path) -> None:
    state = State(typed(tmp_path, one="echo"))
    for worker, number in ((0, 3), (1, 4)):
        state.daemon_limits.active[worker] += number
        state.table(state.config.services[0]).column(worker)[CELL["active"]] += number
    state.apply(typed(tmp_path, one="upper"), {})
    assert state.active == 7
    state.settle_counters({1})
    assert state.active == 4


def test_programs_without_a_worker_are_those_of_all_launchers_that_run(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    command = "{type: exec, listen: [tcp://*:0], options: {command: [/usr/bin/env]}}"
    file.write_text(f"services:\n  one: {command}\n  two: {command}\n")
    state = State(loader.load(file))
    tables = {service.name: state.table(service) for service in state.config.services}
    state.count_programs(1, ProgramsChanged("one", 3, 1))
    state.count_programs(2, ProgramsChanged("one", 2, 1))
    state.count_programs(2, ProgramsChanged("two", 7, ended="signal", fault=265, cpu=0.0015))
    assert [tables[name].read().active for name in ("one", "two")] == [5, 7]
    state.settle_programs({1, 3})
    found = {name: table.read() for name, table in tables.items()}
    assert [found[name].active for name in ("one", "two")] == [3, 0]
    assert found["one"].own["programs_started"] == 2
    assert (found["two"].own["programs_ended.signal"], found["two"].own["programs_cpu_us"]) == (1, 1500)
    state.count_programs(3, ProgramsChanged("one", 1))
    assert tables["one"].read().active == 4
