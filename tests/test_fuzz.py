"""Random input for services, the control socket, configs and arguments: no traceback, and netd still serves."""

import contextlib
import json
import socket
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from netd.config import loader
from netd.errors import ConfigError
from tests.support.daemon import Daemon, daemon

SERVICES = ("echo", "discard", "daytime", "chargen", "time", "upper", "pingpong", "reply", "qotd", "whoami", "chat")
EVERYWHERE = "".join(f"  {name}: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}\n" for name in SERVICES)
ROOT = Path(__file__).parents[1]
NUMBER = 300

# Strings that are special for parsers or for the protocols of services.
_WORDS = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\r\0", b"\xff\xf4", b"\xff\xfa\x18\x01\xff\xf0", b"\xff\xfb", b"\x1b[31m"),
    *(
        b"ping",
        b"ping 1",
        b"%",
        b"%H:%M",
        b"%s%n%t" * 50,
        b"0",
        b"-1",
        b"1e400",
        b"9" * 400,
        b"\xc3\x28",
        b"{}",
        b"x" * 5000,
    ),
)


def strings(seed: int) -> list[bytes]:
    """`NUMBER` strings: half of them random octets, the others made of words and random octets."""
    random = Random(seed)
    made = [random.randbytes(random.choice((0, 1, 2, 7, 64, 300, 9000))) for _ in range(NUMBER // 2)]
    while len(made) < NUMBER:
        parts = [
            random.choice(_WORDS) if random.random() < 0.7 else random.randbytes(3) for _ in range(random.randint(1, 6))
        ]
        made.append(b"".join(parts))
    return made


def no_bug(running: Daemon) -> None:
    """Assert that no service has failed, and that the worker runs."""
    status = running.ask("status")
    assert [service["service"] for service in status["services"] if service["failed"]] == []
    assert len(status["workers"]) == 1
    assert not any("Traceback" in str(line) for line in running.lines)


@pytest.mark.slow  # thousands of messages
def test_service_of_each_type_survives_random_input(tmp_path: Path) -> None:
    with daemon(f"services:\n{EVERYWHERE}", tmp_path) as running:
        worker = running.worker
        for number, name in enumerate(SERVICES):
            address, datagrams = ("127.0.0.1", running.port(name)), ("127.0.0.1", running.port(name, "udp"))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for data in strings(number):
                    with contextlib.suppress(OSError):
                        sender.sendto(data, datagrams)
                    with contextlib.suppress(OSError), socket.create_connection(address, 20) as connection:
                        connection.sendall(data)
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(100)
        no_bug(running)
        assert running.worker == worker
    assert not any(line["event"] in ("conversation_failed", "worker_lost", "netd_failed") for line in running.lines)


BEFORE = """
services:
  mux: {type: tcpmux, listen: [tcp://127.0.0.1:0]}
  pingpong: {tcpmux: true, banner: hello}
  trap: {type: sensor, listen: [tcp://127.0.0.1:0], banner: "login:"}
  greeting: {type: echo, listen: [tcp://127.0.0.1:0], banner: {accepted: hello, refused: bye}}
"""


@pytest.mark.slow  # thousands of connections
def test_sensor_banner_and_tcpmux_survive_random_input(tmp_path: Path) -> None:
    with daemon(BEFORE, tmp_path) as running:
        worker = running.worker
        for number, name in enumerate(("mux", "trap", "greeting")):
            address = ("127.0.0.1", running.port(name))
            for data in strings(50 + number):
                for said in (data, b"pingpong\r\n" + data) if name == "mux" else (data,):
                    with contextlib.suppress(OSError), socket.create_connection(address, 20) as connection:
                        connection.sendall(said)
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(100)
        no_bug(running)
        assert running.worker == worker
    assert not any(line["event"] in ("conversation_failed", "worker_lost", "netd_failed") for line in running.lines)


@pytest.mark.slow  # a daemon
def test_control_socket_survives_random_input(tmp_path: Path) -> None:
    commands = ("status", "diff", "explain", "ban", "kick", "connections", "enable", "log-level")
    words = (
        "list",
        "add",
        "remove",
        "from=",
        "to=",
        "echo/udp",
        "192.0.2.7:5353",
        "uid:0",
        "[::1]:5",
        "=",
        "1h",
        "id=1",
        "\0",
    )
    random = Random(1)
    # Without telnet commands: the answers to them are not JSON.
    lines = [data.replace(b"\n", b" ").replace(b"\xff", b"\xfe") for data in strings(99)]
    lines += [
        " ".join(
            [random.choice(commands), *("".join(random.choices(words, k=2)) for _ in range(random.randint(0, 3)))]
        ).encode()
        for _ in range(NUMBER)
    ]
    with daemon(f"services:\n{EVERYWHERE}", tmp_path) as running:
        for line in lines:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                connection.connect(running.control)
                with contextlib.suppress(OSError):
                    connection.sendall(line + b"\n")
                    connection.shutdown(socket.SHUT_WR)
                received = b""
                with contextlib.suppress(ConnectionResetError):
                    while piece := connection.recv(65536):
                        received += piece
            for answer in received.splitlines():
                result = json.loads(answer)
                assert result["ok"] or result["exit_code"] in (1, 64), result
        no_bug(running)
    assert not any(line["event"] == "command_failed" for line in running.lines)


def mutated(random: Random, text: str) -> str:
    """A config with random changes, most of which make it invalid."""
    lines = text.splitlines()
    for _ in range(random.randint(1, 4)):
        place = random.randrange(len(lines))
        line = lines[place]
        match random.randrange(6):
            case 0:
                lines[place] = line[: random.randint(0, len(line))]
            case 1:
                lines[place] = line + random.choice(
                    (": x", " []", " {", "'", ' "', " off", ", -1", " &a", " *a", "\t", " !!python/name:os")
                )
            case 2:
                lines[place] = " " * random.randint(0, 9) + line.lstrip()
            case 3:
                lines.insert(place, random.choice(lines))
            case 4:
                key, colon, _ = line.partition(":")
                odd = (
                    "5",
                    "-1",
                    "1e99",
                    "[]",
                    "{}",
                    "[[[]]]",
                    "null",
                    "true",
                    "'\\0'",
                    "any",
                    "99999999999999999999",
                    "[1, 2]",
                    "é",
                )
                lines[place] = f"{key}{colon} {random.choice(odd)}"
            case _:
                del lines[place]
                lines = lines or [""]
    return "\n".join(lines) + "\n"


def test_invalid_config_raises_problems_and_no_other_exception(tmp_path: Path) -> None:
    random = Random(7)
    # The shipped config with each commented default enabled.
    whole = (ROOT / "config" / "netd.yaml").read_text().replace("include: [conf.d/*.yaml]\n", "")
    whole = "\n".join(
        line.replace("    #", "    ").replace("  #", "  ") if "#" in line and ": " in line else line
        for line in whole.splitlines()
    )
    dense = "\n".join(line for line in whole.splitlines() if not line.lstrip().startswith("#") and ":" in line)
    file = tmp_path / "netd.yaml"
    wrong = 0
    for number in range(NUMBER):
        text = mutated(random, dense if number % 2 else whole)
        file.write_text(text)
        try:
            loader.load(file)
        except ConfigError as error:
            wrong += 1
            assert all(problem.startswith(str(file)) for problem in error.problems), error.problems
            assert error.problems
    assert wrong > NUMBER / 2


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["explain"], ["ban", "add"], ["check", "-c"], ["kick"]])
def test_argument_of_any_kind_makes_no_traceback(tmp_path: Path, arguments: list[str]) -> None:
    with daemon("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n", tmp_path) as running:
        for odd in ("\udcff", "é" * 300, "-", "--", "[", "uid:", "1.2.3.4:99999999", "/dev/null/x", "\n", ""):
            given = [*arguments, "--from", odd, "--to", odd] if arguments == ["explain"] else [*arguments, odd]
            done = subprocess.run(
                [sys.executable, "-m", "netd", *given],
                capture_output=True,
                check=False,
                timeout=60,
                env={"NETD_CONTROL": running.control, "PATH": "/usr/bin"},
            )
            assert done.returncode in (1, 64, 78), (given, done)
            assert b"Traceback" not in done.stderr
        no_bug(running)
