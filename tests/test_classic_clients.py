"""Programs as clients of services with their default options: netcats, socat, telnet, rdate, scanners."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.directories import open_directory
from tests.support.namespaces import embryonic_resets, in_namespace
from tests.support.programs import need, need_root, program, type_until
from tests.support.sockets import has_ipv6

pytestmark = pytest.mark.slow  # a daemon, and clients that wait

CONFIG = """
services:
  chargen:  {{listen: [tcp://127.0.0.1:0]}}
  daytime:  {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  discard:  {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  echo:     {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  pingpong: {{listen: [tcp://*:0, udp://*:0, "unix://{tmp}/stream", "unixgram://{tmp}/datagram"]}}
  rdate:    {{type: time, listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], options: {{encoding: rfc868}}}}
  upper:    {{listen: [tcp://127.0.0.1:0]}}
"""
PERL = """
use IO::Socket;
my $s = IO::Socket::INET->new(PeerAddr => '{tcp}') or die $!;
print $s 'ping 9';
$s->flush;
sysread $s, my $answer, 99;
print $answer;
"""
NODE = """
const s = require('net').connect({port}, '127.0.0.1');
s.on('data', answer => {{ process.stdout.write(answer); s.end(); }});
s.write('ping 9');
"""

# The command, what is typed, and the output. `{tcp}` is HOST:PORT of pingpong, `{port}` its port, `{udp}` that of UDP.
# Most do not end at the end of their input, which stays open.
CLIENTS = {
    "nc.traditional": ("nc.traditional 127.0.0.1 {port}", "ping 1\n", "pong 1\n"),
    "nc.traditional without line end": ("nc.traditional 127.0.0.1 {port}", "ping 1", "pong 1"),
    "nc.traditional udp": ("nc.traditional -u 127.0.0.1 {udp}", "ping 1\n", "pong 1\n"),
    "ncat": ("ncat 127.0.0.1 {port}", "ping 1\n", "pong 1\n"),
    "ncat without line end": ("ncat 127.0.0.1 {port}", "ping 1", "pong 1"),
    "ncat crlf": ("ncat -C 127.0.0.1 {port}", "ping 1\n", "pong 1\r\n"),
    "ncat telnet": ("ncat -t 127.0.0.1 {port}", "ping 1\n", "pong 1\n"),
    "ncat udp": ("ncat --udp 127.0.0.1 {udp}", "ping 1\n", "pong 1\n"),
    "ncat unix": ("ncat -U {tmp}/stream", "ping 1\n", "pong 1\n"),
    "busybox nc": ("busybox nc 127.0.0.1 {port}", "ping 1\n", "pong 1\n"),
    "busybox nc without line end": ("busybox nc 127.0.0.1 {port}", "ping 1", "pong 1"),
    "busybox telnet": ("busybox telnet 127.0.0.1 {port}", "ping 1\n", r"(?s).*pong 1\r?\n"),
    "socat": ("socat - TCP:{tcp}", "ping 1\n", "pong 1\n"),
    "socat without line end": ("socat - TCP:{tcp}", "ping 1", "pong 1"),
    "socat crnl": ("socat - TCP:{tcp},crnl", "ping 1\n", "pong 1\n"),
    "socat udp": ("socat - UDP:127.0.0.1:{udp}", "ping 1", "pong 1"),
    "socat unix": ("socat - UNIX-CONNECT:{tmp}/stream", "ping 1\n", "pong 1\n"),
    "socat unixgram": ("socat - UNIX-SENDTO:{tmp}/datagram,bind={tmp}/me,umask=0", "ping 1\n", "pong 1\n"),
    "curl": ("curl -sN telnet://{tcp}", "ping 1\n", "pong 1\n"),
    "ncat ipv6": ("ncat ::1 {port}", "ping 1\n", "pong 1\n"),
    "busybox nc ipv6": ("busybox nc ::1 {port}", "ping 1\n", "pong 1\n"),
    "socat ipv6": ("socat - TCP6:[::1]:{port}", "ping 1\n", "pong 1\n"),
    "socat udp ipv6": ("socat - UDP6:[::1]:{udp}", "ping 1", "pong 1"),
    "curl ipv6": ("curl -sNg telnet://[::1]:{port}", "ping 1\n", "pong 1\n"),
}


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[Daemon, Path]]:
    with open_directory() as directory, daemon(CONFIG.format(tmp=directory), directory) as process:
        yield process, directory


def filled(command: str, running: tuple[Daemon, Path]) -> list[str]:
    """The words of a command, with the path of the program, and with the ports of pingpong."""
    netd, tmp = running
    port = netd.port("pingpong")
    words = {"tcp": f"127.0.0.1:{port}", "port": port, "udp": netd.port("pingpong", "udp"), "tmp": tmp}
    name, *arguments = [word.format(**words) for word in command.split()]
    return [need(name), *arguments]


@pytest.mark.parametrize("client", CLIENTS)
def test_client_gets_an_answer(running: tuple[Daemon, Path], client: str) -> None:
    command, typed, wanted = CLIENTS[client]
    if "::1" in command and not has_ipv6():
        pytest.skip("no IPv6 on this host")
    with program(*filled(command, running)) as process:
        type_until(process, typed, wanted)


@pytest.mark.parametrize(("name", "script"), [("perl", PERL), ("node", NODE)], ids=["perl", "node"])
def test_script_without_a_line_end_gets_an_answer(running: tuple[Daemon, Path], name: str, script: str) -> None:
    port = running[0].port("pingpong")
    assert output(need(name), "-e", script.format(port=port, tcp=f"127.0.0.1:{port}")) == "pong 9"


def output(*command: object) -> str:
    """The output of a program, which has to end by itself, without a failure."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "client", ["rdate -p -o {port} 127.0.0.1", "rdate -p -u -o {udp} 127.0.0.1", "busybox rdate -p 127.0.0.1:{port}"]
)
def test_rdate_prints_the_time(running: tuple[Daemon, Path], client: str) -> None:
    netd = running[0]
    name, *words = client.format(port=netd.port("rdate"), udp=netd.port("rdate", "udp")).split()
    assert re.search(r"\d\d:\d\d:\d\d", output(need(name), *words))


def test_nmap_recognizes_the_services(running: tuple[Daemon, Path]) -> None:
    # Not echo, at which it tries all that it knows of, for 20 s.
    names = {"chargen": "chargen", "daytime": "daytime", "rdate": "time"}
    ports = {str(running[0].port(service)): name for service, name in names.items()}
    shown = output(need("nmap"), "-n", "-Pn", "-sT", "-sV", "--version-light", "-p", ",".join(ports), "127.0.0.1")
    assert dict(re.findall(r"(?m)^(\d+)/tcp +open +([\w?-]+)", shown)) == ports


@pytest.mark.parametrize(
    "scan",
    [
        "hping3 -S -n -q -c 5 -i u10000 -p {port} 127.0.0.1",
        "nping --tcp --flags syn -c 3 --delay 10ms -p {port} 127.0.0.1",
    ],
)
def test_half_open_connections_are_no_refusals(tmp_path: Path, scan: str) -> None:
    def check() -> None:
        with daemon("services:\n  echo: {listen: ['tcp://127.0.0.1:0']}\n", tmp_path) as netd:
            name, *words = scan.format(port=netd.port("echo")).split()
            output(need(name), *words)
            assert embryonic_resets() >= 3
            assert netd.refusals("echo") == 0

    in_namespace(check)


def test_nping_connects(running: tuple[Daemon, Path]) -> None:
    port = running[0].port("echo")
    shown = output(need("nping"), "--tcp-connect", "-c", "3", "--delay", "10ms", "-p", port, "127.0.0.1")
    assert "Successful connections: 3" in shown


def test_datagrams_of_nping_are_answered(running: tuple[Daemon, Path]) -> None:
    port = running[0].port("echo", "udp")
    # Without -g they come from port 53 if root sends them, which the reply guard does not answer.
    words = ("--udp", "--unprivileged", "-c", "3", "--delay", "10ms", "--data-string", "hello")
    assert re.search(r"Rcvd: 3\b", shown := output(need("nping"), *words, "-p", port, "127.0.0.1")), shown


def test_nmap_finds_udp_services_open(running: tuple[Daemon, Path]) -> None:
    need_root()
    ports = [str(running[0].port(service, "udp")) for service in ("echo", "rdate")]
    shown = output(need("nmap"), "-n", "-Pn", "-sU", "--data-string", "hello", "-p", ",".join(ports), "127.0.0.1")
    assert re.findall(r"(?m)^(\d+)/udp +open ", shown) == sorted(ports, key=int)


def test_sockperf_measures_the_throughput(running: tuple[Daemon, Path]) -> None:
    port = running[0].port("discard", "udp")
    shown = output(need("sockperf"), "throughput", "-i", "127.0.0.1", "-p", port, "-t", "1", "--mps", "1000")
    assert "BandWidth" in shown
