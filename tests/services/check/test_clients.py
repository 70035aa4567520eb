"""Checkers of other projects, against a daemon that runs real programs: HAProxy, plugins of Nagios, curl, blackbox."""

import contextlib
import csv
import json
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.programs import need, started
from tests.support.sockets import free_port
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # a daemon, and checks at intervals

STATES = {"good": "echo 'OK - 3 users'", "bad": "echo 'CRITICAL - 300 users'; exit 2", "drained": "echo drain 50%"}


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, int]]:
    """The ports of services with each answer, in each state."""
    services = {
        f"{answer}_{state}": {
            "type": "check",
            "listen": ["tcp://127.0.0.1:0"],
            "options": {"command": ["/bin/sh", "-c", script], "answer": answer, "cache": "100ms"},
        }
        for state, script in STATES.items()
        for answer in ("http", "agent", "text")
    }
    with daemon(json.dumps({"services": services}), tmp_path_factory.mktemp("n")) as netd:
        yield {name: netd.port(name) for name in services}


HAPROXY = """
global
  stats socket {own}/stats mode 600
defaults
  mode tcp
  timeout connect 5s
  timeout client 30s
  timeout server 30s
  timeout check 5s
  default-server inter 50ms fall 1 rise 1
backend plain
  option httpchk
  server s 127.0.0.1:{http_good} check
backend bad
  option httpchk
  server s 127.0.0.1:{http_bad} check
backend get
  option httpchk
  http-check send meth GET uri /any ver HTTP/1.1 hdr Host a.example
  http-check expect string OK
  server s 127.0.0.1:{http_good} check
backend head
  option httpchk HEAD / HTTP/1.0
  server s 127.0.0.1:{http_good} check
backend body
  option httpchk
  http-check send meth GET uri / body "1234567890"
  server s 127.0.0.1:{http_good} check
backend text
  option tcp-check
  tcp-check expect string OK
  server s 127.0.0.1:{text_good} check
backend agent
  server s 127.0.0.1:{text_good} weight 100 agent-check agent-inter 50ms agent-port {agent_good}
backend agent_bad
  server s 127.0.0.1:{text_good} weight 100 agent-check agent-inter 50ms agent-port {agent_bad}
backend agent_drained
  server s 127.0.0.1:{text_good} weight 100 check agent-check agent-inter 50ms agent-port {agent_drained}
backend asked
  server s 127.0.0.1:{text_good} weight 100 agent-check agent-inter 50ms agent-port {agent_bad} agent-send "web1\\n"
"""


@contextlib.contextmanager
def haproxy(own: Path, ports: dict[str, int]) -> Iterator[Path]:
    """A running HAProxy with these services as its servers; yields the path of its statistics."""
    (own / "haproxy.cfg").write_text(HAPROXY.format(own=own, **ports))
    with started(need("haproxy"), "-db", "-q", "-f", own / "haproxy.cfg", stderr=subprocess.DEVNULL) as process:
        until(lambda: process.poll() is not None or (own / "stats").exists())
        assert process.poll() is None
        yield own / "stats"


def statistics(path: Path) -> dict[str, dict[str, str]]:
    """The lines of HAProxy about servers, by backend."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(b"show stat\n")
        lines = connection.makefile(encoding="ascii").read().splitlines()
    found = csv.DictReader([lines[0].removeprefix("# "), *lines[1:]])
    return {line["pxname"]: line for line in found if line["svname"] == "s"}


def test_haproxy_understands_each_answer(ports: dict[str, int], tmp_path: Path) -> None:
    checks = {
        "plain": ("L7OK", "UP"),
        "bad": ("L7STS", "DOWN"),
        "get": ("L7OK", "UP"),
        "head": ("L7OK", "UP"),
        "body": ("L7OK", "UP"),
        "text": ("L7OK", "UP"),
    }
    agents = {
        "agent": ("no check", "100"),
        "agent_bad": ("DOWN (agent)", "100"),
        "agent_drained": ("DRAIN (agent)", "50"),
        "asked": ("DOWN (agent)", "100"),
    }

    def seen() -> dict[str, tuple[str, str]]:
        lines = statistics(path)
        return {name: (lines[name]["check_status"].removeprefix("* "), lines[name]["status"]) for name in checks} | {
            name: (lines[name]["status"], lines[name]["weight"]) for name in agents
        }

    with haproxy(tmp_path, ports) as path:
        until(lambda: seen() == checks | agents)
        # It is empty while the next check is under way.
        until(lambda: statistics(path)["agent_bad"]["last_agt"] == "via agent : down (CRITICAL - 300 users)")
        failed = {name for name, line in statistics(path).items() if name in checks and line["chkfail"] != "0"}
        assert failed == {"bad"}


@pytest.mark.parametrize(
    ("check", "code"),
    [
        ("check_http -H a.example -I 127.0.0.1 -p {http_good} -u /any -s OK", 0),
        ("check_http -H a.example -I 127.0.0.1 -p {http_good} -j HEAD", 0),
        ("check_http -H a.example -I 127.0.0.1 -p {http_good} -N", 0),
        ("check_http -H a.example -I 127.0.0.1 -p {http_bad}", 2),
        ("check_tcp -H 127.0.0.1 -p {text_good} -e OK", 0),
        ("check_tcp -H 127.0.0.1 -p {text_good} -s x -e OK -q bye", 0),
        ("check_tcp -H 127.0.0.1 -p {text_bad} -e OK", 1),
    ],
)
def test_plugins_of_nagios(ports: dict[str, int], check: str, code: int) -> None:
    name, *words = check.format(**ports).split()
    done = subprocess.run([need(name), *words], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == code, done.stdout


MONIT = """
set daemon 60 with start delay 0
set log {own}/log
set pidfile {own}/pid
set idfile {own}/id
set statefile {own}/state
check host good with address 127.0.0.1
  if failed port {text_good} send "" expect "OK" then alert
  if failed port {http_good} protocol http request "/any" status = 200 content = "OK" then alert
check host bad with address 127.0.0.1
  if failed port {http_bad} protocol http request "/any" status = 503 then alert
"""


def test_monit(ports: dict[str, int], tmp_path: Path) -> None:
    file = tmp_path / "monitrc"
    file.write_text(MONIT.format(own=tmp_path, **ports))
    file.chmod(0o600)
    command = (need("monit"), "-I", "-v", "-c", file)
    with started(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        shown = ""
        while "'bad' connection succeeded" not in shown:
            line = process.stdout.readline()
            assert line, shown
            shown += line
    assert shown.count(" connection succeeded to ") == 3, shown


@pytest.mark.parametrize(
    ("options", "code", "expected"),
    [
        ("-f", 0, "OK - 3 users\n"),
        ("-f --http1.0", 0, "OK - 3 users\n"),
        ("-f --http2", 0, "OK - 3 users\n"),
        ("-fI -o /dev/null -w %{http_code}", 0, "200"),
        ("-d a=b", 0, "405 Method Not Allowed\n"),
        ("-f -H Expect:100-continue -X GET --data-binary @{large}", 0, "OK - 3 users\n"),
    ],
)
def test_curl(ports: dict[str, int], tmp_path: Path, options: str, code: int, expected: str) -> None:
    large = tmp_path / "large"
    large.write_bytes(b"x" * 2**20)
    words = [word.replace("{large}", str(large)) for word in options.split()]
    url = f"http://127.0.0.1:{ports['http_good']}/any?thing"
    done = subprocess.run([need("curl"), "-sS", *words, url], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (code, expected), done.stderr


BLACKBOX = """
modules:
  http: {prober: http, http: {fail_if_body_not_matches_regexp: ["^OK"]}}
  text: {prober: tcp, tcp: {query_response: [{expect: "^OK - 3 users$"}]}}
"""


def test_blackbox_exporter(ports: dict[str, int], tmp_path: Path) -> None:
    exporter = need("prometheus-blackbox-exporter")
    (tmp_path / "blackbox.yml").write_text(BLACKBOX)
    address = f"127.0.0.1:{free_port()}"
    command = (exporter, f"--config.file={tmp_path}/blackbox.yml", f"--web.listen-address={address}")
    with started(*command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while address not in (line := process.stderr.readline()):
            assert line, "it has ended"
        for module in ("http", "text"):
            target = f"127.0.0.1:{ports[f'{module}_good']}"
            probe = f"http://{address}/probe?module={module}&target={target}&debug=true"
            with urllib.request.urlopen(probe, timeout=30) as answer:
                shown = answer.read().decode()
            assert "\nprobe_success 1\n" in shown, shown
