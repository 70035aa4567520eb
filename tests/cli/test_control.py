"""Which netd a command finds, and how its refusal becomes an error."""

import os
from pathlib import Path
from typing import Any

import click
import pytest

from netd import default_paths
from netd.cli.control import ControlClient, check_response, control_options
from netd.client.control import Answer
from netd.errors import ConfigError, NotRunningError, OperatorError
from tests.cli.commands import run
from tests.client.fake_netd import FakeNetd
from tests.support.programs import need_root
from tests.support.users import ALEX, as_user

OK = {"ok": True}
SERVICES = "services: {echo: {listen: [tcp://127.0.0.1:0]}}\n"


def config(path: Path, text: str = SERVICES) -> Path:
    path.write_text(text)
    return path


def status(file: Path) -> dict[str, Any]:
    return {"ok": True, "config": str(file)}


def test_request_has_the_words_and_the_named_values_that_are_given(place: Path) -> None:
    with FakeNetd(place / "control.sock", OK) as fake:
        ControlClient(None, None).ask("kick", id=None, service="echo", peer="192.0.2.7")
    assert fake.requests == ["kick service=echo peer=192.0.2.7"]


def test_given_path_has_precedence_over_the_environment(place: Path, tmp_path: Path) -> None:
    with FakeNetd(place / "control.sock"), FakeNetd(tmp_path / "c", OK) as fake:
        ControlClient(None, f"{tmp_path}/c").ask("status")
    assert fake.requests == ["status"]


def test_paths_are_kept_until_netd_has_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = ControlClient(None, None)
    monkeypatch.setenv("NETD_CONTROL", f"{tmp_path}/first")
    with FakeNetd(tmp_path / "first", OK, OK) as first:
        client.ask("status")
        monkeypatch.setenv("NETD_CONTROL", f"{tmp_path}/second")
        client.ask("status")
    with FakeNetd(tmp_path / "second", OK) as second:
        with pytest.raises(NotRunningError):
            client.ask("history")
        client.ask("peers")
    assert (first.requests, second.requests) == (["status", "status"], ["peers"])


def test_config_of_the_host_names_the_control_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        default_paths, "CONFIG_FILE", config(tmp_path / "netd.yaml", f"daemon: {{control: {tmp_path}/c}}")
    )
    assert ControlClient(None, None).paths() == [os.environ["NETD_CONTROL"]], "the environment has precedence"
    monkeypatch.delenv("NETD_CONTROL")
    assert ControlClient(None, None).paths() == [f"{tmp_path}/c"]
    config(tmp_path / "netd.yaml", "daemon: {")
    assert ControlClient(None, None).paths() == default_paths.control_sockets(), "a config that cannot be read"


@pytest.mark.parametrize("setting", ["off", "false"])
def test_config_without_a_control_socket_is_an_error(tmp_path: Path, setting: str) -> None:
    file = config(tmp_path / "netd.yaml", f"daemon: {{control: {setting}}}")
    with pytest.raises(NotRunningError, match="switches the control socket off"):
        ControlClient(file, None).paths()


def test_netd_with_the_given_config_is_found_by_its_status(place: Path, tmp_path: Path) -> None:
    file = config(tmp_path / "netd.yaml")
    (tmp_path / "link.yaml").symlink_to(file)
    control = f"{place}/control.sock"
    for answer in (status(file), status(tmp_path / "link.yaml"), {"ok": False, "error": "not allowed"}):
        with FakeNetd(control, answer) as fake:
            assert ControlClient(file, None).paths() == [control]
        assert fake.requests == ["status"]


def test_netd_with_another_config_receives_no_request(place: Path, tmp_path: Path) -> None:
    file, other = config(tmp_path / "netd.yaml"), config(tmp_path / "other.yaml")
    with FakeNetd(place / "control.sock", status(other), OK) as fake:
        with pytest.raises(NotRunningError) as caught:
            ControlClient(file, None).ask("stop")
    assert caught.value.problems == (f"no netd runs {file}: the one at {place}/control.sock runs {other}",)
    assert fake.requests == ["status"]


def test_config_that_was_removed_is_compared_by_its_path(place: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with FakeNetd(place / "control.sock", status(tmp_path / "real" / "netd.yaml")):
        assert ControlClient(tmp_path / "link" / "netd.yaml", None).paths() == [f"{place}/control.sock"]


def test_config_with_problems_that_no_netd_runs_is_an_error_of_its_own(tmp_path: Path) -> None:
    file = config(tmp_path / "netd.yaml", "x: 1\n" + SERVICES)
    with pytest.raises(NotRunningError, match=f"no netd runs {file}; it has problems"):
        ControlClient(file, None).paths()
    with pytest.raises(NotRunningError, match="netd is not running"):
        ControlClient(config(file), None).paths()


def test_netd_is_found_by_the_link_of_its_config(place: Path, tmp_path: Path) -> None:
    file = config(tmp_path / "netd.yaml")
    directory = place / "run"
    directory.mkdir()
    [link] = default_paths.control_links(file, str(directory))
    os.symlink(f"{tmp_path}/c", link)
    with FakeNetd(tmp_path / "c", status(file)):
        assert ControlClient(file, None).paths() == [f"{tmp_path}/c"]
    with (
        FakeNetd(tmp_path / "c", status(config(tmp_path / "other.yaml"))),
        FakeNetd(place / "control.sock", status(file)),
    ):
        assert ControlClient(file, None).paths() == [f"{place}/control.sock"], "the link of a netd with another config"
    with FakeNetd(place / "control.sock", status(file)):
        assert ControlClient(file, None).paths() == [f"{place}/control.sock"], "a link that is left after a crash"


@pytest.mark.parametrize(
    ("answer", "kind", "problems", "code"),
    [
        ({"ok": False, "error": "no service 'x'"}, OperatorError, ("no service 'x'",), 1),
        ({"ok": False, "error": "x", "exit_code": 64}, OperatorError, ("x",), 64),
        ({"ok": False, "problems": ["a", "b"], "exit_code": 71}, OperatorError, ("a", "b"), 71),
        ({"ok": False, "problems": ["f:1:1: a"], "exit_code": 78}, ConfigError, ("f:1:1: a",), 78),
    ],
)
def test_refusal_is_an_error_with_the_exit_code_of_netd(
    answer: dict[str, Any], kind: type[OperatorError], problems: tuple[str, ...], code: int
) -> None:
    with pytest.raises(OperatorError) as caught:
        check_response(Answer(answer))
    assert (type(caught.value), caught.value.problems, caught.value.exit_code) == (kind, problems, code)


def test_refusal_of_a_series_of_messages_is_raised_before_the_first_message(place: Path) -> None:
    with FakeNetd(place / "control.sock", b'{"ok": false, "error": "no"}\n', b'{"ok": true}\n\n{"a": 1}\n'):
        with pytest.raises(OperatorError, match="no"):
            ControlClient(None, None).follow("trace", service="echo")
        assert list(ControlClient(None, None).follow("trace", service="echo")) == [{"a": 1}]


def test_options_of_a_command_select_the_netd(tmp_path: Path) -> None:
    @click.command()
    @control_options
    def command(client: ControlClient) -> int:
        client.ask("status")
        return 7

    with FakeNetd(tmp_path / "c", OK):
        assert command(["--control", f"{tmp_path}/c"], standalone_mode=False) == 7
    file = config(tmp_path / "netd.yaml", f"daemon: {{control: {tmp_path}/c}}")
    with FakeNetd(tmp_path / "c", status(file), OK):
        assert command(["-c", str(file)], standalone_mode=False) == 7


def test_control_socket_that_the_user_may_not_open_is_said_so_however_it_is_named(place: Path) -> None:
    need_root()
    (place / "control.sock").touch(0o600)

    def ask_as_another_user() -> None:
        for words in ((), ("--control", f"{place}/control.sock")):
            with pytest.raises(OperatorError) as caught:
                run("status", *words)
            assert caught.value.exit_code == 69
            assert list(caught.value.problems) == [
                f"this user may not ask the netd at {place}/control.sock: be root, or see daemon.control_group"
            ]

    as_user(ALEX, ask_as_another_user)
