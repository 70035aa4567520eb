"""The services of a config: what each entry becomes, and what cannot hold."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.admission.access_table import Ruling
from netd.admission.policy import RefusalLine
from netd.config import loader
from netd.endpoints import Endpoint
from netd.errors import ConfigError
from netd.services import table
from tests.config.configs import load, problems


def test_two_enabled_services_at_one_address_are_a_problem(tmp_path: Path) -> None:
    text = """\
services:
  echo: {listen: [tcp://*:7]}
  upper: {listen: ["udp://*:7", "tcp://[::1]:7"]}
  discard: {enabled: false, listen: [tcp://*:7]}
  pingpong: {listen: [unix:///x, unix:///x?mode=600]}
"""
    here = f"{tmp_path}/netd.yaml"
    assert problems(tmp_path, text) == [
        f"3:33: services.upper.listen[1]: tcp://[::1]:7 conflicts with tcp://*:7 of 'echo' in {here}:2",
        f"5:34: services.pingpong.listen[1]: unix:///x?mode=600 conflicts with unix:///x of 'pingpong' in {here}:5",
    ]


_PLACES = st.one_of(
    st.builds(
        "{}://{}:{}{}".format,
        st.sampled_from(["tcp", "udp"]),
        st.sampled_from(["*", "0.0.0.0", "[::]", "127.0.0.1", "[::1]", "host"]),
        st.sampled_from([0, 7, 9]),
        st.sampled_from(["", "?device=eth0", "?device=eth1"]),
    ),
    st.builds("{}://{}".format, st.sampled_from(["unix", "unixgram"]), st.sampled_from(["/x", "/y", "@x"])),
    st.sampled_from(["systemd://x", "systemd://y"]),
)


@pytest.mark.slow
@given(st.lists(_PLACES, min_size=1, max_size=12))
def test_addresses_conflict_as_if_each_was_compared_with_all_before(
    tmp_path_factory: pytest.TempPathFactory, urls: list[str]
) -> None:
    endpoints = [Endpoint.parse(url) for url in urls]
    taken = [number for number, one in enumerate(endpoints) if any(one.overlaps(other) for other in endpoints[:number])]
    file = tmp_path_factory.getbasetemp() / "places.yaml"
    file.write_text(f"services: {{echo: {{listen: {json.dumps(urls)}}}}}\n")
    reported = []
    try:
        loader.load(file)
    except ConfigError as error:
        reported = [int(number) for problem in error.problems for number in re.findall(r"listen\[(\d+)\]", problem)]
    assert reported == taken


def test_transport_that_the_service_type_does_not_serve_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StreamOnly:
        def stream(self, peer: object) -> Any: ...

    class DatagramOnly:
        def datagram(self, data: bytes, peer: object) -> Any: ...

    monkeypatch.setitem(table.BUILT_IN, "s", StreamOnly)
    monkeypatch.setitem(table.BUILT_IN, "d", DatagramOnly)
    text = "services:\n  s: {listen: [tcp://*:1, udp://*:1]}\n  d: {listen: [udp://*:2, unix:///x]}\n"
    assert problems(tmp_path, text) == [
        "2:27: services.s.listen[1]: service type 's' serves streams (tcp, tls, unix) only",
        "3:27: services.d.listen[1]: service type 'd' serves datagrams (udp, unixgram) only",
    ]


@pytest.mark.parametrize("error", [ZeroDivisionError("oops"), SystemExit(3)])
def test_a_plugin_that_fails_to_build_is_a_problem_not_a_traceback(
    error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __init__(self) -> None:
            raise error

        def stream(self, peer: object) -> Any: ...

    monkeypatch.setitem(table.BUILT_IN, "broken", Broken)
    assert problems(tmp_path, "services:\n  broken: {listen: [tcp://*:1]}\n") == [
        f"2:11: services.broken.options: service type 'broken' cannot be built: {error!r}"
    ]


def test_admission_is_merged_key_by_key(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
bans: {threshold: 10/m, exempt: [10.0.0.0/8, local]}
defaults:
  access: {deny: [192.0.2.0/24], times: ["Mon-Fri 08:00-18:00"]}
  limits: {rate: off, exempt: []}
services:
  echo: {listen: [tcp://*:7], access: {allow: ["uid:root", 10.0.0.0/8], times: []}, limits: {total_rate: 5/s burst 9}}
  discard: {listen: [tcp://*:9], refuse: {line: go away}, reply_guard: false, amplify: [local]}
""",
    )
    access, other = (service.access.read() for service in config.services)
    # Names have been replaced by numbers.
    assert access.rules == {"allow": ["uid:0", "10.0.0.0/8"], "deny": ["192.0.2.0/24"], "times": []}
    assert access.unix_ruling(0, []) == Ruling(True, "access.allow: uid:root")
    assert [hours.text for hours in other.times] == ["Mon-Fri 08:00-18:00"]
    echo, discard = (service.policy for service in config.services)
    assert (echo.limits.rate, str(echo.limits.total_rate)) == (None, "5/s burst 9")
    assert (echo.limits.exempt, echo.refuse, echo.reply_guard) == ((), "close", True)
    assert (discard.refuse, discard.reply_guard) == (RefusalLine("go away"), False)
    assert [named.text for named in config.bans.exempt] == ["10.0.0.0/8", "local"]


def test_problems_of_admission_have_their_place(tmp_path: Path) -> None:
    text = """\
bans: {threshold: often, duration: 2h}
defaults:
  access: {allow: [10.0.0.1/8, "uid:nobody-at-all"]}
  limits: {rate: 50, exempt: [lan]}
services:
  echo:
    listen: [tcp://*:7]
    access: {deny: [uid:nobody-here, worldwide], tims: []}
    refuse: rest
    amplify: any
  time:
    listen: [tcp://*:37]
    access: {times: [always], allow: ["gid:no-such-group"]}
"""
    assert problems(tmp_path, text) == [
        "1:19: bans.threshold: expected a rate such as 50/s, or 50/s burst 100, or off, got 'often'",
        "3:20: defaults.access.allow[0]: '10.0.0.1/8' has host bits set; did you mean '10.0.0.0/8'?",
        (
            "4:18: defaults.limits.rate: "
            "expected a rate such as 50/s, or 50/s burst 100, or off, got 50; did you mean '50/s'?"
        ),
        "4:31: defaults.limits.exempt[0]: expected an address, a network such as 10.0.0.0/8, local or any, got 'lan'",
        (
            "8:38: services.echo.access.deny[1]: "
            "expected an address, a network such as 10.0.0.0/8, local, any, uid:NAME or gid:NAME, got 'worldwide'"
        ),
        "8:50: services.echo.access.tims: unknown key; did you mean 'times'?",
        (
            "9:13: services.echo.refuse: "
            "expected close, reset, or {line: TEXT} with one line of at most 512 characters, got 'rest'"
        ),
        "10:14: services.echo.amplify: expected a list, got 'any'; did you mean [any]?",
        (
            "13:22: services.time.access.times[0]: "
            "expected times such as 'Mon-Fri 08:00-18:00 Europe/Berlin', got 'always'"
        ),
    ]
    text = "services:\n  echo:\n    listen: [tcp://*:7]\n    access: {deny: [any, 'uid:nobody-here', 'gid:none']}\n"
    assert problems(tmp_path, text) == [
        "4:26: services.echo.access.deny[1]: there is no user 'nobody-here'",
        "4:45: services.echo.access.deny[2]: there is no group 'none'",
    ]


def test_load_is_a_number_above_0(tmp_path: Path) -> None:
    def written(value: str) -> str:
        return f"services: {{echo: {{listen: [tcp://*:7], load: {value}}}}}\n"

    found = [load(tmp_path, written(value)).services[0].policy.load for value in ("{below: 8}", "{below: 0.5}", "null")]
    assert [one and one.below for one in found] == [8.0, 0.5, None]
    for value in ("0", "-1", "high", "true", ".inf", ".nan", "100000"):
        [problem] = problems(tmp_path, written(f"{{below: {value}}}"))
        assert "services.echo.load.below: expected a load average such as 8.0, above 0 and below 100,000" in problem
    for value in ("8.0", "{}", "{above: 3}"):
        assert all("services.echo.load" in problem for problem in problems(tmp_path, written(value)))
        assert problems(tmp_path, written(value))


def test_gid_rule_is_refused_over_unixgram(tmp_path: Path) -> None:
    text = """\
defaults: {access: {deny: ["gid:root"]}}
services:
  echo: {listen: [tcp://*:7, "unixgram:///run/x", "unix:///run/y"]}
  fine: {type: echo, listen: ["unixgram:///run/z"], access: {deny: [uid:root]}}
"""
    assert problems(tmp_path, text) == [
        "3:30: services.echo.listen[1]: access has gid rules, which cannot hold for datagrams: use uid rules, or unix://"
    ]


def test_service_has_a_connection_log_of_its_own_and_metrics_is_quiet(tmp_path: Path) -> None:
    text = """\
services:
  metrics: {listen: [tcp://localhost:1]}
  loud: {type: metrics, listen: [tcp://localhost:2], log_connections: all}
  echo: {listen: [tcp://*:3]}
  some: {type: echo, listen: [tcp://*:4], log_connections: sample 100}
  none: {type: echo, listen: [tcp://*:5], log_connections: off}
"""
    assert [service.log_connections for service in load(tmp_path, text).services] == ["debug", "all", None, 100, "off"]
    assert "expected all, debug, summary, off" in problems(tmp_path, text.replace("sample 100", "some"))[0]


def test_endpoints_and_keys_of_the_daemon_know_their_place(tmp_path: Path) -> None:
    (tmp_path / "more.yaml").write_text("services:\n  upper: {listen: [tcp://*:8]}\n")
    config = load(
        tmp_path,
        "include: [more.yaml]\ndaemon: {drain: 1s,\n  pid_file: /run/x}\nlog:\nservices:\n"
        "  echo: {listen: [tcp://*:7,\n    udp://*:7]}\n",
    )
    here = f"{tmp_path}/netd.yaml"
    assert config.places == {"daemon.drain": f"{here}:2:17", "daemon.pid_file": f"{here}:3:13"}
    echo, upper = ([endpoint.place for endpoint in service.listen] for service in config.services)
    assert (echo, upper) == ([f"{here}:6:19", f"{here}:7:5"], [f"{tmp_path}/more.yaml:2:20"])
    assert Endpoint.parse("tcp://*:7") == config.services[0].listen[0], "the place is no difference"
