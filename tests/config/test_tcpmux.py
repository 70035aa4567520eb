"""Services that are reached through tcpmux: problems and notices of a config."""

from pathlib import Path

import pytest

from netd.config import loader
from netd.config.problems import InvalidConfigError

MUX = "mux: {type: tcpmux, listen: ['tcp://127.0.0.1:0']}"
PROXIED = "mux: {type: tcpmux, listen: ['tcp://127.0.0.1:0'], proxy_protocol: {from: [local]}}"
CAT = "type: exec, options: {command: [/bin/cat]}"


def found(directory: Path, *services: str) -> tuple[list[str], list[str]]:
    """The problems and the notices about tcpmux and endpoints."""
    file = directory / "netd.yaml"
    file.write_text("services:\n" + "".join(f"  {one}\n" for one in services))
    try:
        problems, notices = [], list(loader.load(file).notices)
    except InvalidConfigError as error:
        problems, notices = list(error.found), list(error.notices)
    said = [[str(one).partition("services.")[2] for one in some] for some in (problems, notices)]
    return said[0], [one for one in said[1] if "tcpmux" in one]


@pytest.mark.parametrize(
    "services",
    [
        (MUX, "echo: {tcpmux: true}"),
        (
            MUX,
            "echo: {tcpmux: day, listen: ['tcp://127.0.0.1:0', 'udp://127.0.0.1:0'], banner: hi}",
            "upper: {tcpmux: true}",
        ),
        (MUX, "a: {type: echo, tcpmux: x, enabled: false}", "b: {type: echo, tcpmux: X}"),
        (MUX, "echo: {tcpmux: true, banner: hi}"),
        (MUX, f"cat: {{{CAT}, tcpmux: {{plain: true}}}}"),
        (PROXIED, "echo: {tcpmux: true}"),
        (PROXIED, "cat: {type: exec, options: {command: [/bin/cat], relay: true}, tcpmux: true}"),
        (MUX, "web: {type: forward, tcpmux: true, options: {to: ['tcp://192.0.2.1:80']}}"),
    ],
)
def test_service_without_an_endpoint_of_its_own_has_no_problem(tmp_path: Path, services: tuple[str, ...]) -> None:
    assert found(tmp_path, *services) == ([], [])


@pytest.mark.parametrize(
    ("services", "problem"),
    [
        ((MUX, "echo: {tcpmux: false}"), "echo: the key 'listen' is missing"),
        ((MUX, "echo: {banner: x}"), "echo: the key 'listen' is missing"),
        ((MUX, "echo: {tcpmux: true, listen: []}"), "echo.listen: expected a list of URLs"),
        (("mux: {type: tcpmux}",), "mux: the key 'listen' is missing"),
        (("mux: {type: tcpmux, tcpmux: true}",), "mux.tcpmux: service type 'tcpmux' passes connections on itself"),
        (
            (MUX, "echo: {tcpmux: true, proxy_protocol: {from: [local]}}"),
            "echo.tcpmux: a header of the PROXY protocol comes before the line of tcpmux, so it is read there; set ",
        ),
        (
            (MUX, "cat: {type: exec, tcpmux: true, options: {command: [/bin/cat], mode: listener}}"),
            "cat.tcpmux: mode: listener: the program accepts by itself, so nothing can be passed on to it",
        ),
        (
            (MUX, "x: {type: python, tcpmux: true, isolate: true, options: {class: netd.services.upper:Upper}}"),
            "x.tcpmux: isolate: a worker of its own serves it",
        ),
        ((MUX, "echo: {tcpmux: X}", "x: {type: upper, tcpmux: true}"), "x.tcpmux: services.echo has the name x too"),
        (
            (PROXIED, f"cat: {{{CAT}, tcpmux: true}}"),
            "cat.tcpmux: behind the proxies of mux the program would take a proxy for its peer; set the option relay",
        ),
        ((MUX, "echo: {tcpmux: [x]}"), "echo.tcpmux: expected true, a name, or {name: NAME, plain: true}, got ['x']"),
        (
            (MUX, "echo: {tcpmux: true, access: {allow: [local, 'cn:alex']}}"),
            "echo.access.allow[1]: cn:alex needs clients with certificates, for which mux does not ask; set ",
        ),
        ((MUX, "echo: {tcpmux: {nam: x}}"), "echo.tcpmux.nam: unknown key; did you mean 'name'?"),
        ((MUX, "web: {type: forward, tcpmux: true, options: {to: ['udp://192.0.2.1:80']}}"), "web.options.to[0]: no"),
    ],
)
def test_mistake_is_a_problem_at_its_place(tmp_path: Path, services: tuple[str, ...], problem: str) -> None:
    problems, _ = found(tmp_path, *services)
    assert any(one.startswith(problem) for one in problems), problems


def test_program_behind_the_tls_of_tcpmux_needs_a_relay(tmp_path: Path) -> None:
    secure = "mux: {type: tcpmux, listen: ['tls://127.0.0.1:0'], tls: {certificate: /nonexistent}}"
    problems, _ = found(tmp_path, secure, f"cat: {{{CAT}, tcpmux: true}}")
    said = "cat.tcpmux: behind the TLS of mux a program gets a socket pair, and not the connection"
    assert f"{said}; set the option relay: true" in problems
    relayed = CAT.replace("}", ", relay: true}")
    problems, _ = found(tmp_path, secure, f"cat: {{{relayed}, tcpmux: true}}")
    assert not [one for one in problems if one.startswith("cat.")]


def test_service_that_no_tcpmux_passes_connections_to_is_noticed(tmp_path: Path) -> None:
    off = "mux: {type: tcpmux, enabled: false, listen: ['tcp://127.0.0.1:0']}"
    said = "echo.tcpmux: no service of the type tcpmux that is on passes connections on to it"
    assert found(tmp_path, off, "echo: {tcpmux: true}") == ([], [said])
