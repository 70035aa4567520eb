"""Services of each kind, their limits, flags and logs."""

from pathlib import Path
from typing import Any

import pytest

from tests.importers.hosts import KnownHost
from tests.importers.xinetd.reading import Imported, imported, of_text

CAT = ("user = nobody", "server = /bin/cat")


def built_in(folder: Path, name: str, *lines: str) -> dict[str, Any]:
    body = "\n".join(lines)
    text = f"service {name}\n{{\ntype = INTERNAL\nwait = no\nsocket_type = stream\n{body}\n}}\n"
    return next(iter(of_text(folder, text).services.values()))


@pytest.mark.parametrize("name", ["echo", "discard", "chargen"])
def test_internal_services_are_types_of_netd(tmp_path: Path, name: str) -> None:
    port = KnownHost.ports[name, "tcp"]
    assert built_in(tmp_path, name) == {"type": name, "listen": [f"tcp://*:{port}"]}


def test_time_and_daytime_answer_as_those_of_xinetd(tmp_path: Path) -> None:
    assert built_in(tmp_path, "time")["options"] == {"encoding": "rfc868"}
    assert built_in(tmp_path, "daytime")["options"] == {
        "timezone": "Europe/Berlin",
        "format": "%d %b %Y %H:%M:%S %Z",
    }


def test_the_id_is_the_name_and_the_name_the_type(tmp_path: Path) -> None:
    result = of_text(
        tmp_path, "service echo\n{\nid = echo-dgram\ntype = INTERNAL\nwait = yes\nsocket_type = dgram\n}\n"
    ).services
    assert result == {"echo-dgram": {"type": "echo", "listen": ["udp://*:7"]}}


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("type = INTERNAL UNLISTED",), "no internal service x"),
        (("type = RPC",), "rpcbind"),
        (("type = TCPMUX UNLISTED", "wait = yes"), "accepts by itself cannot get connections from tcpmux"),
        (("type = INTERNAL UNLISTED", "flags = SENSOR", "socket_type = dgram"), "sensors of netd are for connections"),
        (("server = {{ program }}",), "template"),
        (("server = @bindir@/x",), "template"),
        (("server = $(bin)/x",), "template"),
        (("user = $USER",), "template"),
        (("server = /bin/cat", "redirect = 192.0.2.1 no-such"), "no port"),
        (("server = /bin/cat", "redirect = 25 80"), "its target is no host"),
        (("server = /bin/cat", "redirect = a/b 80"), "its target is no host"),
        (("wait = yes", "redirect = 192.0.2.1 80"), "not for TCP with wait = no"),
    ],
)
def test_services_that_netd_cannot_have_are_told(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    given = {line.partition(" ")[0] for line in lines}
    usual = ("type = UNLISTED", "port = 1025", "wait = no", "socket_type = stream", "user = nobody")
    body = "\n".join([*(one for one in usual if one.partition(" ")[0] not in given), *lines])
    result = of_text(tmp_path, f"# about x\nservice x\n{{\n{body}\n}}\n")
    assert result.services == {}
    assert told in "\n".join(result.lines)
    assert "# about x\n# x: not imported, " in result.text
    assert not [line for line in result.lines if ": imported:" in line]


@pytest.mark.parametrize(
    ("redirect", "target"),
    [
        ("192.0.2.1 80", "tcp://192.0.2.1:80"),
        ("2001:db8::1 https", "tcp://[2001:db8::1]:443"),
        ("backend 443", "tcp://backend:443"),
    ],
)
def test_a_redirect_is_a_forward_without_a_limit_on_idle_connections(
    tmp_path: Path, redirect: str, target: str
) -> None:
    result = imported(tmp_path, f"redirect = {redirect}", "user = root", "server = /bin/cat")
    assert result.services["x"] == {
        "type": "forward",
        "listen": ["tcp://*:1025"],
        "limits": {"idle": False},
        "options": {"to": [target]},
    }
    assert ("looked up again" in result.about(f"redirect = {redirect}")[0]) is (redirect == "backend 443")
    assert "does not start it" in result.about("server = /bin/cat")[0]


@pytest.mark.parametrize(
    ("line", "limits"),
    [
        ("instances = 5", {"connections": 5}),
        ("instances = UNLIMITED", {"connections": False}),
        ("per_source = 3", {"per_source": 3}),
        ("cps = 25 30", {"total_rate": "25/s burst 750"}),
        ("cps = 0 30", None),
        ("cps = 9999999 9999999", {"total_rate": "9999999/s burst 9999999"}),
    ],
)
def test_limits_are_those_of_netd(tmp_path: Path, line: str, limits: dict[str, object] | None) -> None:
    assert imported(tmp_path, *CAT, line).services["x"].get("limits") == limits


@pytest.mark.parametrize("line", ["instances = 0", "per_source = x", "cps = x 1", "flags = WRONG", "type =", "flags ="])
def test_values_that_serve_no_peer_switch_the_service_off(tmp_path: Path, line: str) -> None:
    assert imported(tmp_path, *CAT, line).services["x"]["enabled"] is False if line != "type =" else True


def test_a_program_with_the_listening_socket_has_no_limits(tmp_path: Path) -> None:
    text = (
        "service x\n{\ntype = UNLISTED\nport = 1025\nwait = yes\nprotocol = udp\nuser = nobody\nserver = /bin/cat\n"
        "instances = 5\nper_source = 3\ncps = 10 2\nonly_from = 10.0.0.0\n}\n"
    )
    result = of_text(tmp_path, text)
    assert result.services["x"] == {
        "type": "exec",
        "listen": ["udp://*:1025"],
        "access": {"allow": ["10.0.0.0/8"]},
        "options": {"command": ["/bin/cat"], "mode": "listener", "user": "nobody", "groups": False},
    }
    for subject in ("instances = 5", "per_source = 3", "cps = 10 2"):
        assert result.about(subject)[0].startswith("not imported: the program accepts by itself")


def test_times_of_a_program_with_the_listening_socket_switch_it_off(tmp_path: Path) -> None:
    lines = "port = 1025\nwait = yes\nprotocol = udp\nuser = nobody\nserver = /bin/cat\naccess_times = 8:00-9:00\n"
    result = of_text(tmp_path, f"service x\n{{\ntype = UNLISTED\n{lines}}}\n").services["x"]
    assert (result["enabled"], "access" in result) == (False, False)


def test_datagrams_without_wait_are_off(tmp_path: Path) -> None:
    lines = "port = 1025\nwait = no\nprotocol = udp\nuser = nobody\nserver = /bin/cat\n"
    result = of_text(tmp_path, f"service x\n{{\ntype = UNLISTED\n{lines}}}\n").services["x"]
    assert (result["enabled"], result["options"]["mode"]) == (False, "listener")


@pytest.mark.parametrize("flag", ["IDONLY", "LABELED"])
def test_flags_that_narrow_what_is_served_or_run_switch_the_service_off(tmp_path: Path, flag: str) -> None:
    result = imported(tmp_path, *CAT, f"flags = {flag}")
    assert result.services["x"]["enabled"] is False
    assert result.about(f"flags = {flag}")[0].startswith(f"not imported: {flag}")


@pytest.mark.parametrize("flag", ["REUSE", "NODELAY", "NOLIBWRAP", "NORETRY"])
def test_flags_that_netd_has_anyway_change_nothing(tmp_path: Path, flag: str) -> None:
    result = imported(tmp_path, *CAT, f"flags = {flag}")
    assert result.services["x"] == imported(tmp_path, *CAT).services["x"]


def test_rules_of_tcp_wrappers_switch_services_off_that_asked_them(tmp_path: Path) -> None:
    host = KnownHost(denied=frozenset({"cat", "other"}))
    assert imported(tmp_path, *CAT, host=host).services["x"]["enabled"] is False
    assert "enabled" not in imported(tmp_path, *CAT, "flags = NOLIBWRAP", host=host).services["x"]
    assert "enabled" not in imported(tmp_path, *CAT, host=host, dialect="rhel").services["x"]
    assert (
        imported(tmp_path, "user = nobody", "server = /bin/dog", "libwrap = other", host=host).services["x"]["enabled"]
        is False
    )


@pytest.mark.parametrize("line", ["banner = /x", "banner_success = /x", "banner_fail = /x"])
def test_services_stay_on_without_what_netd_does_not_have(tmp_path: Path, line: str) -> None:
    result = imported(tmp_path, *CAT, line)
    assert "enabled" not in result.services["x"]
    assert result.about(line)[0].startswith("not imported: ")


def test_load_is_imported_but_for_a_program_that_accepts_by_itself(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "max_load = 2.5")
    assert result.services["x"]["load"] == {"below": 2.5}
    assert result.about("max_load = 2.5") == ["imported"]
    result = imported(tmp_path, *CAT, "max_load = 999999")
    assert "load" not in result.services["x"]
    entry = "service x\n{\ntype = UNLISTED\nport = 1025\nwait = yes\nsocket_type = dgram\n"
    result = of_text(tmp_path, entry + "\n".join((*CAT, "max_load = 2.5")) + "\n}\n")
    assert "load" not in result.services["x"]
    assert result.about("max_load = 2.5") == ["not imported: the program accepts by itself, so netd cannot hold it"]


@pytest.mark.parametrize(
    ("line", "outcome", "is_on"),
    [
        (
            "log_type = SYSLOG local3 info",
            "note: netd has one log for all services: log: {file: syslog, facility: local3}",
            True,
        ),
        ("log_type = File /var/log/x 5k", "note: netd has one log for all services: log: {file: /var/log/x}", True),
        ("log_on_success = PID HOST", "note: netd logs each connection", True),
        ("log_on_failure += USERID", "not imported: USERID", True),
        ("log_on_success = TRAFFIC", "note: TRAFFIC is for a redirect", False),
        ("log_on_failure = RECORD", "note: xinetd knows no RECORD", False),
        ("log_type = KAFKA x", "note: it is neither FILE", False),
    ],
)
def test_logs_are_notes(tmp_path: Path, line: str, outcome: str, *, is_on: bool) -> None:
    result = imported(tmp_path, *CAT, line)
    assert any(
        told.startswith(outcome)
        for told in result.about(line.replace("+", r"\+"))
        + [one.partition(": ")[2] for one in result.lines]
        + [
            one.partition(f"{line}: ")[2] and f"{one.split(': ')[1]}: {one.partition(f'{line}: ')[2]}"
            for one in result.lines
        ]
    )
    assert ("enabled" not in result.services["x"]) is is_on


def test_comments_stay_above_what_they_explain(tmp_path: Path) -> None:
    result = imported(
        tmp_path,
        "# runs",
        *CAT,
        "#server = /bin/dog",
        "# peers",
        "only_from = 10.0.0.1",
        "# kept",
        "nice = 0",
        "# end",
        before="# about x\n",
    )
    assert result.text.startswith("services:\n  # about x\n  # kept\n  # end\n  x:\n")
    assert "    access:\n      # peers\n      allow: [10.0.0.1]\n" in result.text
    assert "      # server = /bin/dog\n      command: [/bin/cat]\n      # runs\n      user: nobody\n" in result.text


def test_mdns_is_known_to_the_original_only(tmp_path: Path) -> None:
    assert imported(tmp_path, *CAT, "mdns = yes").about("mdns = yes")[0].startswith("note: had no effect")
    assert imported(tmp_path, *CAT, "mdns = yes", dialect="rhel").about("mdns = yes")[0].startswith("not imported")


def test_a_redirect_needs_a_user_that_there_is(tmp_path: Path) -> None:
    for lines in (("redirect = 192.0.2.1 80",), ("redirect = 192.0.2.1 80", "user = no-such")):
        assert imported(tmp_path, *lines).services["x"]["enabled"] is False


@pytest.mark.parametrize("name", ["instances", "per_source"])
def test_no_limit_is_imported_for_a_program_that_accepts_by_itself(name: str, tmp_path: Path) -> None:
    (tmp_path / "xinetd.conf").write_text(
        f"service x\n{{\ntype = UNLISTED\nport = 1025\nwait = yes\nsocket_type = stream\nuser = root\n"
        f"server = /bin/cat\n{name} = UNLIMITED\n}}\n"
    )
    found = Imported(tmp_path / "xinetd.conf")
    assert found.about(f"{name} = UNLIMITED") == ["imported"]
    assert "limits" not in found.services["x"]
