"""The programs of the config in force, and of one that is prepared, with fake launchers."""

import json
import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.config.loader import load
from netd.config.model import Config
from netd.daemon.messages.from_worker import Failed
from netd.daemon.messages.to_launcher import AddPrograms, EndAll, Program, RemovePrograms
from netd.daemon.supervisor import config_diff, programs
from netd.daemon.supervisor.programs import PreparedPrograms, Programs, is_listener, starts_programs
from netd.errors import OpenError, OperatorError
from netd.privileges import RunAs
from netd.steps import finish
from tests.daemon.fakes import answering, pool, succeed
from tests.daemon.supervisor.fake_launchers import Launched
from tests.support.programs import need_root

ENV = {"command": ["/usr/bin/env"]}


class Prepared:
    """Programs with fake launchers, to which configs are applied."""

    def __init__(self, directory: Path, launched: Launched) -> None:
        self._file = directory / "netd.yaml"
        self.launched = launched
        self.programs = Programs(launched.launchers)
        self.config: Config | None = None

    def load(self, **services: dict[str, Any]) -> Config:
        """A config with services of type exec, by their options."""
        entries = {
            name: {"type": "exec", "listen": ["tcp://127.0.0.1:0"], **options.pop("service", {}), "options": options}
            for name, options in json.loads(json.dumps(services)).items()
        }
        self._file.write_text(json.dumps({"services": entries}))
        return load(self._file)

    def prepare(self, config: Config) -> PreparedPrograms:
        if self.config is None:
            diff = finish(config_diff.from_nothing(config))
        else:
            diff = finish(config_diff.compare(self.config, config, config))
        result = self.launched.pool.tasks.start(self.programs.prepare(diff, []))
        self.launched.loop.settle()
        return result.get()

    def apply(self, **services: dict[str, Any]) -> PreparedPrograms:
        config = self.load(**services)
        prepared = self.prepare(config)
        self.programs.finish(self.programs.commit(prepared), {})
        self.config = config
        self.launched.loop.settle()
        return prepared

    def known(self, launcher: int = 0) -> list[Program]:
        """The programs that a launcher was told."""
        received = self.launched.forked[launcher].received
        return [Program.decode(text) for one in received if isinstance(one, AddPrograms) for text in one.programs]


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Prepared]:
    with pool() as made:
        made.start(1)
        launched = Launched(made)
        yield Prepared(tmp_path, launched)
        launched.launchers.kill()


def test_program_is_what_the_options_say(prepared: Prepared) -> None:
    prepared.apply(
        run={
            "command": ["/usr/bin/env", "-i", "x"],
            "argv0": "-env",
            "environment": {"A": "b"},
            "directory": "/usr/bin",
            "umask": "077",
            "nice": 5,
            "limits": {"cpu": "10s", "memory": "1GiB", "core": 0},
            "stop": {"signal": "HUP", "after": "2s"},
            "stderr": "null",
            "service": {"limits": {"connections": 7, "lifetime": "1m"}},
        }
    )
    [found] = prepared.known()
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    assert (found.command, found.argv0) == (["/usr/bin/env", "-i", "x"], "-env")
    assert (found.environment["A"], found.environment["HOME"]) == ("b", user.pw_dir)
    assert (found.directory, found.umask, found.nice) == ("/usr/bin", 0o77, 5)
    assert found.limits == {"CPU": (10, 10), "AS": (2**30, 2**30), "CORE": (0, 0)}
    assert (found.stop_signal, found.stop_after) == (signal.SIGHUP, 2.0)
    assert (found.gives, found.errors, found.described) == ("connection", "null", False)
    assert (found.connections, found.lifetime) == (7, 60.0)


def test_program_without_options_has_the_name_of_its_file(prepared: Prepared) -> None:
    prepared.apply(run=ENV)
    [found] = prepared.known()
    assert (found.argv0, found.umask, found.nice, found.limits, found.errors) == ("env", 0o22, 0, {}, "log")


def test_unchanged_program_keeps_its_number_and_a_changed_one_gets_another(prepared: Prepared) -> None:
    first = prepared.apply(one=ENV, two=ENV)
    second = prepared.apply(one=ENV, two={"command": ["/usr/bin/env", "-i"]})
    assert second.entry("one") == first.entry("one")
    assert second.entry("two") != first.entry("two")
    assert len(prepared.launched.forked) == 1
    before = first.entry("two")
    assert before
    assert RemovePrograms([before[1]]) in prepared.launched.forked[0].received
    third = prepared.apply(one=ENV, two=ENV)
    assert third.entry("two") not in (first.entry("two"), second.entry("two")), "a number is never used again"


def test_config_that_is_not_put_in_force_leaves_nothing(prepared: Prepared) -> None:
    before = prepared.apply(one=ENV)
    other = prepared.prepare(prepared.load(one=ENV, two=ENV))
    added = other.entry("two")
    assert added
    prepared.programs.abort(other)
    prepared.launched.loop.settle()
    assert prepared.launched.forked[0].received[-1] == RemovePrograms([added[1]])
    assert prepared.programs.in_force is before


def test_launcher_ends_with_the_last_service_that_needs_it(prepared: Prepared) -> None:
    prepared.apply(one=ENV)
    prepared.apply()
    [process] = prepared.launched.forked
    assert process.received[-1] == EndAll(wait=True, leave=False)


def test_services_of_one_identity_have_one_launcher(prepared: Prepared) -> None:
    need_root()
    prepared.apply(
        one=ENV,
        two=ENV,
        three={**ENV, "user": "daemon"},
        four={**ENV, "no_new_privileges": False},
        five={**ENV, "groups": [7]},
    )
    assert len(prepared.launched.forked) == 4


def test_programs_cannot_be_left_where_netd_has_process_id_1(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = prepared.load(one=ENV)
    config = config.model_copy(update={"daemon": config.daemon.model_copy(update={"on_stop": "leave"})})
    monkeypatch.setattr("os.getpid", lambda: 1)
    with pytest.raises(OperatorError, match="on_stop: netd has process id 1"):
        prepared.prepare(config)


def test_launcher_that_cannot_be_started_is_a_problem_of_the_service(prepared: Prepared) -> None:
    prepared.launched.behaviour = answering(Failed("setgroups(2) is not permitted"))
    with pytest.raises(OpenError, match=r"services.one: cannot start programs as user .*: setgroups\(2\) is not"):
        prepared.prepare(prepared.load(one=ENV))
    prepared.launched.behaviour = succeed
    assert prepared.apply(one=ENV).entry("one")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, RunAs("nobody", 65534, 65534, (65534,))),
        ({"user": "root"}, RunAs("root", 0, 0, (0,))),
        ({"user": "daemon", "group": "bin", "groups": False}, RunAs("daemon", 1, 2, ())),
        ({"user": 1, "groups": [7, 8]}, RunAs("daemon", 1, 1, (7, 8))),
        ({"no_new_privileges": False}, RunAs("nobody", 65534, 65534, (65534,), no_new_privileges=False)),
    ],
)
def test_identity_is_that_of_the_options(
    options: dict[str, object], expected: RunAs, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    [service] = prepared.load(one={**ENV, **options}).services
    assert programs.identity(service) == expected


def test_ordinary_user_starts_programs_as_itself(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    [service] = prepared.load(one={**ENV, "no_new_privileges": False}).services
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert programs.identity(service) == RunAs("daemon", no_new_privileges=False)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    assert programs.identity(service).name == "54321"


def test_service_may_have_a_program_and_its_program_the_listeners(prepared: Prepared) -> None:
    one, two = prepared.load(one=ENV, two={**ENV, "mode": "listener"}).services
    assert [is_listener(service) for service in (one, two)] == [False, True]
    assert [starts_programs(service) for service in (one, two)] == [True, True]
