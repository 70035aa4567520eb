"""Checks of monitoring programs against services with their default options: plugins of Nagios, monit, Prometheus."""

import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.programs import need, started
from tests.support.sockets import free_port

pytestmark = pytest.mark.slow  # a daemon, and checks that wait

CONFIG = """
services:
  chat:     {{listen: [tcp://127.0.0.1:0]}}
  clock:    {{type: time, listen: [tcp://127.0.0.1:0]}}
  daytime:  {{listen: [tcp://127.0.0.1:0]}}
  echo:     {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  metrics:  {{listen: [tcp://127.0.0.1:0]}}
  pingpong: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://{tmp}/stream"]}}
  reply:    {{listen: [tcp://127.0.0.1:0]}}
  rdate:    {{type: time, listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0], options: {{encoding: rfc868}}}}
  upper:    {{listen: [tcp://127.0.0.1:0]}}
"""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Path]]:
    tmp = tmp_path_factory.mktemp("n")
    with daemon(CONFIG.format(tmp=tmp), tmp) as process:
        yield process, tmp


CHECKS = [
    ("pingpong", r"check_tcp -H 127.0.0.1 -p {port} -E -s ping\n -e pong"),
    ("pingpong", "check_tcp -H 127.0.0.1 -p {port} -s ping -e pong"),
    ("pingpong", r"check_tcp -H 127.0.0.1 -p {port} -E -s ping\n -e pong -q bye\n"),
    ("pingpong", "check_tcp -H {tmp}/stream -s ping -e pong"),
    ("clock", "check_tcp -H 127.0.0.1 -p {port} -s %% -e %"),
    ("echo", "check_tcp -H 127.0.0.1 -p {port} -s hello -e hello"),
    ("daytime", "check_tcp -H 127.0.0.1 -p {port} -e :"),
    ("reply", "check_tcp -H 127.0.0.1 -p {port} -s hello -e hi"),
    ("chat", "check_tcp -H 127.0.0.1 -p {port} -s bye -e goodbye"),
    ("echo", "check_udp -H 127.0.0.1 -p {udp} -s hello -e hello"),
    ("pingpong", "check_udp -H 127.0.0.1 -p {udp} -s ping -e pong"),
    ("rdate", "check_time -H 127.0.0.1 -p {port} -w 5 -c 60"),
    ("rdate", "check_time -H 127.0.0.1 -p {udp} -u -w 5 -c 60"),
    ("metrics", "check_http -H localhost -I 127.0.0.1 -p {port} -u /healthz"),
    ("metrics", "check_http -H localhost -I 127.0.0.1 -p {port} -u /readyz -s ready"),
]


@pytest.mark.parametrize(("service", "check"), CHECKS, ids=[f"{service} {check}" for service, check in CHECKS])
def test_plugin_of_nagios_is_ok(running: tuple[Daemon, Path], service: str, check: str) -> None:
    netd, tmp = running
    udp = netd.port(service, "udp") if "{udp}" in check else 0
    name, *words = [word.format(port=netd.port(service), udp=udp, tmp=tmp) for word in check.split()]
    done = subprocess.run([need(name), *words], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stdout


MONIT = """
set daemon 60 with start delay 0
set log {own}/log
set pidfile {own}/pid
set idfile {own}/id
set statefile {own}/state
check host netd with address 127.0.0.1
  if failed port {rdate} protocol rdate then alert
  if failed port {echo} type tcp then alert
  if failed port {datagrams} type udp then alert
  if failed port {pingpong} send "ping 1\\n" expect "pong 1" then alert
  if failed port {pingpong} send "ping 1" expect "pong 1" then alert
  if failed port {metrics} protocol http request "/healthz" with http headers [Host: localhost] then alert
check process supervisor with pidfile {own}/netd.pid
  if failed unixsocket {tmp}/stream send "ping 1" expect "pong 1" then alert
"""


def test_monit_finds_no_fault(running: tuple[Daemon, Path], tmp_path: Path) -> None:
    monit = need("monit")
    netd, tmp = running
    ports = {service: netd.port(service) for service in ("rdate", "echo", "pingpong", "metrics")}
    (tmp_path / "netd.pid").write_text(f"{netd.process.pid}\n")
    file = tmp_path / "monitrc"
    file.write_text(MONIT.format(own=tmp_path, tmp=tmp, datagrams=netd.port("echo", "udp"), **ports))
    file.chmod(0o600)
    # It prints each success, and those of the supervisor last.
    with started(monit, "-I", "-v", "-c", file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        shown = ""
        while "'supervisor' connection succeeded" not in shown:
            line = process.stdout.readline()
            assert line, shown
            shown += line
    assert shown.count(" connection succeeded to ") == 7, shown


BLACKBOX = """
modules:
  connect:  {prober: tcp}
  pingpong: {prober: tcp, tcp: {query_response: [{send: ping}, {expect: ^pong$}]}}
  echo:     {prober: tcp, tcp: {query_response: [{send: hello}, {expect: ^hello$}]}}
  upper:    {prober: tcp, tcp: {query_response: [{send: hello}, {expect: ^HELLO$}]}}
  daytime:  {prober: tcp, tcp: {query_response: [{expect: ":"}]}}
  clock:    {prober: tcp, tcp: {query_response: [{expect: "^20"}, {send: "%%"}, {expect: "^%$"}]}}
  chat:     {prober: tcp, tcp: {query_response: [{send: bye}, {expect: goodbye}]}}
  reply:    {prober: tcp, tcp: {query_response: [{send: hello}, {expect: hi}]}}
  metrics:  {prober: http, http: {fail_if_body_not_matches_regexp: [healthy]}}
"""
MODULES = ("connect", "pingpong", "echo", "upper", "daytime", "clock", "chat", "reply", "metrics")


@pytest.fixture(scope="module")
def blackbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running exporter."""
    exporter = need("prometheus-blackbox-exporter")
    file = tmp_path_factory.mktemp("b") / "blackbox.yml"
    file.write_text(BLACKBOX)
    address = f"127.0.0.1:{free_port()}"
    with started(
        exporter, f"--config.file={file}", f"--web.listen-address={address}", stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        while address not in (line := process.stderr.readline()):
            assert line, "it has ended"
        yield f"http://{address}/probe"


@pytest.mark.parametrize("module", MODULES)
def test_blackbox_exporter_reports_success(running: tuple[Daemon, Path], blackbox: str, module: str) -> None:
    port = running[0].port("echo" if module == "connect" else module)
    target = f"http://localhost:{port}/healthz" if module == "metrics" else f"127.0.0.1:{port}"
    with urllib.request.urlopen(f"{blackbox}?module={module}&target={target}&debug=true", timeout=30) as answer:
        shown = answer.read().decode()
    assert "\nprobe_success 1\n" in shown, shown
