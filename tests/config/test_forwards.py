"""Services that forward: problems of a config."""

from pathlib import Path

import pytest

from netd.config import loader
from netd.config.problems import InvalidConfigError


def found(directory: Path, *services: str) -> list[str]:
    """The problems of services x, y, …: their places below services, and the messages."""
    lines = [f"  {name}: {{{service}}}" for name, service in zip("xyz", services, strict=False)]
    (directory / "netd.yaml").write_text("\n".join(["services:", *lines, ""]))
    try:
        loader.load(directory / "netd.yaml")
    except InvalidConfigError as error:
        return [str(one).partition("services.")[2] for one in error.found]
    return []


def forward(to: str, listen: str = "tcp://127.0.0.1:8000", more: str = "") -> str:
    return f"type: forward, listen: ['{listen}'], options: {{to: ['{to}']{more}}}"


@pytest.mark.parametrize(
    "service",
    [
        forward("tcp://192.0.2.1:80"),
        forward("tcp://db.example:80", "unix:///run/x"),
        forward("unix:///run/x"),
        forward("tcp://192.0.2.1:80", "systemd://x"),
        forward("tcp://192.0.2.1:8000", "tcp://*:8000"),
        forward("tcp://127.0.0.2:8000"),
        forward("udp://192.0.2.1:80", "udp://*:8000"),
        forward("udp://name.example:80', 'unixgram:///run/x", "unixgram:///run/y"),
        forward("udp://192.0.2.1:80', 'tcp://192.0.2.1:80", "systemd://x"),
        forward("tcp://192.0.2.1:80", more=", bind: 198.51.100.1"),
        forward("tcp://192.0.2.1:80", more=", check: {}"),
        forward("udp://192.0.2.1:80", "udp://*:8000", more=", check: {send: ''}"),
        forward("tcp://name.example:80", more=", bind: '2001:db8::1'"),
    ],
)
def test_service_without_a_problem(tmp_path: Path, service: str) -> None:
    assert found(tmp_path, service) == []


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        (
            forward("tcp://192.0.2.1:80", "udp://*:8000"),
            "x.listen[0]: there is no target of datagrams (udp://, unixgram://)",
        ),
        (
            forward("unixgram:///run/x', 'tcp://192.0.2.1:80", "udp://*:8000"),
            "x.options.to[1]: no listener takes connections for this target",
        ),
        (
            forward("udp://192.0.2.1:80", "udp://*:8000", more=", proxy_protocol: v2"),
            "x.options.proxy_protocol: datagrams to a target have no header of the PROXY protocol",
        ),
        (
            forward("udp://192.0.2.1:80", "udp://*:8000", more=", check: {expect: x}"),
            "x.options.check: expected `send`: only an answer shows that udp://192.0.2.1:80 is up",
        ),
        (forward("udp://192.0.2.1:80"), "x.listen[0]: there is no target of connections (tcp://, tls://, unix://)"),
        (
            forward("tcp://192.0.2.1:80', 'udp://192.0.2.1:80"),
            "x.options.to[1]: no listener takes datagrams for this target",
        ),
        (
            forward("tcp://192.0.2.1:80", more=", bind: '2001:db8::1'"),
            "x.options.bind: 2001:db8::1 cannot connect to tcp://192.0.2.1:80, of the other address family",
        ),
        ("type: forward, listen: ['tcp://*:80']", "the key 'to' is missing"),
    ],
)
def test_service_that_does_not_fit_is_refused(tmp_path: Path, service: str, problem: str) -> None:
    assert any(problem in one for one in found(tmp_path, service)), found(tmp_path, service)


@pytest.mark.parametrize(
    ("target", "listener"),
    [
        ("tcp://127.0.0.1:9000", "tcp://127.0.0.1:9000"),
        ("tcp://127.0.0.1:9000", "tcp://*:9000"),
        ("tcp://127.0.0.7:9000", "tcp://0.0.0.0:9000"),
        ("tls://127.0.0.1:9000", "tcp://*:9000"),
        ("tcp://localhost:9000", "tcp://*:9000"),
        ("tcp://localhost:9000", "tcp://127.0.0.1:9000"),
        ("tcp://name.example:9000", "tcp://name.example:9000"),
        ("udp://127.0.0.1:9000", "udp://*:9000"),
        ("unix:///run/y", "unix:///run//y"),
        ("unix://@y", "unix://@y"),
    ],
)
def test_target_that_is_a_listener_of_this_netd_is_refused_with_both_places(
    tmp_path: Path, target: str, listener: str
) -> None:
    echo = f"type: echo, listen: ['{listener}']"
    listen = "udp://127.0.0.1:8000" if target.startswith("udp") else "tcp://127.0.0.1:8000"
    [problem] = found(tmp_path, forward(target, listen), echo)
    file = tmp_path / "netd.yaml"
    assert problem == f"x.options.to[0]: {target} is where 'y' of this netd listens, in {file}:3"
    assert found(tmp_path, forward(target, listen), f"{echo}, enabled: false") == []
    assert found(tmp_path, f"{forward(target, listen)}, enabled: false", echo) == []


@pytest.mark.parametrize(
    ("target", "listener"),
    [
        ("tcp://127.0.0.1:9000", "tcp://127.0.0.1:9001"),
        ("tcp://127.0.0.1:9000", "tcp://127.0.0.2:9000"),
        ("tcp://127.0.0.1:9000", "tcp://[::]:9000"),
        ("tcp://192.0.2.1:9000", "tcp://*:9000"),
        ("tcp://name.example:9000", "tcp://*:9000"),
        ("tcp://127.0.0.1:9000", "udp://127.0.0.1:9000"),
        ("unix://@y", "unixgram://@y"),
    ],
)
def test_other_target_is_not_taken_for_a_listener(tmp_path: Path, target: str, listener: str) -> None:
    assert found(tmp_path, forward(target), f"type: echo, listen: ['{listener}']") == []


def test_service_that_forwards_to_itself_is_refused(tmp_path: Path) -> None:
    [problem] = found(tmp_path, forward("tcp://127.0.0.1:8000", "tcp://*:8000"))
    assert "is where 'x' of this netd listens" in problem
