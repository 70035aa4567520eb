"""The benchmark with real servers: the compiled load and limit, and the cleanup of processes."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench import footprint, measure, processes
from bench.__main__ import build
from bench.certificate import certificate
from bench.errors import FailedError
from bench.measure import Plan
from bench.peers import BUILD, PEERS, Peer, Place
from bench.workloads import WORKLOADS, Workload
from tests.source_tree import ROOT
from tests.support.leftovers import is_gone
from tests.support.pages import all_commands
from tests.support.programs import need, started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("cc"), reason="not installed: cc")]
BY_NAME = {workload.name: workload for workload in WORKLOADS}
C, NETD, SSL = (next(peer for peer in PEERS if peer.name == name) for name in ("C", "netd", "ssl"))
WITHOUT_NETD = ("tls-connect", "tls-bulk", "tls-idle")  # here, since netd has the config of tls-resume there


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    build()


@pytest.fixture
def plan() -> Plan:
    cores = sorted(os.sched_getaffinity(0))
    # Long enough for a busy machine to run each of them.
    return Plan(rounds=1, seconds=0.4, warm_up=0.1, cores=[cores[0], cores[-1]])


def listening(script: str) -> Peer:
    """A server of a Python script, in which PORT stands for its port."""

    def command(place: Place) -> list[str]:
        return [sys.executable, "-c", script.replace("PORT", str(place.port))]

    return Peer("odd", "a misbehaving server", ("tcp",), command)


def small(name: str) -> Workload:
    """A workload with at most 20 connections, and 20 programs a second."""
    one = BY_NAME[name]
    return replace(one, connections=min(one.connections, 20), programs=min(one.programs, 20))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BY_NAME if not name.startswith("cost-")])
def test_netd_and_the_limit_serve_every_workload(name: str, plan: Plan) -> None:
    peers = (C, SSL) if name in WITHOUT_NETD else (C, NETD)
    if BY_NAME[name].over_tls:
        plan = replace(plan, seconds=0.01, warm_up=0)  # each connection is answered at least once
    cells = measure.measure(small(name), [peer for peer in peers if peer.serves_in(BY_NAME[name])], plan)
    for cell in cells.values():
        assert not cell.failure
        [figure] = cell.figures
        assert figure.answers or figure.bytes
        assert figure.processor > 0


@pytest.mark.parametrize("peer", [p for p in PEERS if "programs" in p.serves and not p.missing()], ids=lambda p: p.name)
def test_program_of_every_server_answers(peer: Peer, plan: Plan) -> None:
    cell = measure.measure(BY_NAME["programs"], [peer], plan)[peer.name]
    assert not cell.failure
    assert cell.figures[0].answers


def test_lab_of_systemd_is_removed(tmp_path: Path) -> None:
    peer = next(peer for peer in PEERS if peer.name == "systemd")
    if missing := peer.missing():
        pytest.skip(f"not installed: {missing}")
    place = Place("programs", measure.free_port(), tmp_path, 8)
    server = processes.Server(peer.command(place), sorted(os.sched_getaffinity(0)), tmp_path, asked_to_stop=True)
    try:
        measure.wait_until_it_answers(server, place, 60)
        names = set()
        for pid in server.pids:
            with contextlib.suppress(OSError):  # a program of its start that has exited by now
                names.add(Path(f"/proc/{pid}/comm").read_text().strip())
        assert "systemd" in names, "so its processor time is measured"
    finally:
        server.stop()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_programs_of_netd_are_counted(plan: Plan) -> None:
    found = footprint.of_programs(5, 0, plan.cores)
    assert found[footprint.LAUNCHER] > 0
    assert 0 <= found[footprint.DESCRIPTORS] < 10
    assert footprint.PROGRAM in found


def test_server_with_a_wrong_answer_is_not_measured(plan: Plan) -> None:
    wrong = listening(
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', PORT))\n"
        "while True:\n"
        "    with listener.accept()[0] as peer: peer.send(b'go away')"
    )
    cells = measure.measure(small("tcp-64"), [C, wrong], replace(plan, rounds=2, start_timeout=5))
    assert cells["odd"].failure == "answered b'go away'"
    assert cells["odd"].rounds == [None, None]
    assert len(cells["C"].figures) == 2, "the other server is measured"


def test_server_that_resumes_no_session_over_tls_is_reported(plan: Plan, tmp_path: Path) -> None:
    forgetful = listening(
        "import socket, ssl\n"
        "context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
        f"context.load_cert_chain({str(certificate(tmp_path))!r})\n"
        "context.num_tickets = 0\n"
        "listener = socket.create_server(('127.0.0.1', PORT))\n"
        "while True:\n"
        "    with context.wrap_socket(listener.accept()[0], server_side=True) as peer:\n"
        "        peer.send(peer.recv(64))\n"
    )
    one = replace(BY_NAME["tls-resume"], connections=1)
    cell = measure.measure(one, [replace(forgetful, serves=("tls",))], replace(plan, seconds=0.01, warm_up=0))["odd"]
    assert cell.failure == "the server does not resume sessions"


def test_server_that_exits_is_reported_with_its_last_line(plan: Plan) -> None:
    cells = measure.measure(small("tcp-1"), [listening("raise SystemExit('no such thing')")], plan)
    assert cells["odd"].failure == "exited with 1: no such thing"


def test_server_that_fails_under_load_is_reported(plan: Plan) -> None:
    once = listening(
        "import socket\n"
        "listener = socket.create_server(('127.0.0.1', PORT))\n"
        "while True:\n"
        "    peer = listener.accept()[0]\n"
        "    peer.send(peer.recv(64))\n"
        "    peer.close()\n"
    )
    cells = measure.measure(small("tcp-64"), [once], plan)
    assert re.match("the server closed a connection|(recv|send): |exited with 1: ", cells["odd"].failure or ""), cells[
        "odd"
    ].failure


def test_server_and_its_children_are_killed(tmp_path: Path) -> None:
    script = "import os, time\nfor _ in range(3): os.fork()\nprint('up', flush=True)\ntime.sleep(600)"
    with processes.kill_descendants_at_end():
        server = processes.Server([sys.executable, "-c", script], sorted(os.sched_getaffinity(0)), tmp_path)
        while (tmp_path / "log").read_text().count("up") < 8:
            server.check()
        pids = server.pids
        assert len(pids) == 8
        server.stop()
        assert not [pid for pid in pids if not is_gone(pid)]


def for_a_moment(typed: str, place: Path) -> str:
    """A command as the page has it, with an environment that is there, less to do, and a place for its report."""
    typed = typed.replace("python -m bench.turn", f"{sys.executable} -m bench.turn --rounds 3")
    less = f"--rounds 1 --seconds 0.05 --output {place}"
    less += "" if "--workloads" in typed else " --workloads tcp-1"
    less += "" if "--peers" in typed else " --peers C,netd"
    typed = re.sub(r'ARGS="(.*)"', rf'ARGS="\1 {less}"', typed)
    environment = Path(sys.executable).parents[1]
    made = f"-o {environment}/installed -o bench/build/env/installed"  # make(1): these are not made anew
    return re.sub("^make", f"make --no-print-directory {made} VENV={environment}", typed)


@pytest.mark.parametrize(
    "typed", [*(one.text for one in all_commands("docs/benchmarks.md")), 'make bench-quick ARGS="--peers C,netd"']
)
@pytest.mark.timeout(600)
def test_command_of_the_page(typed: str, tmp_path: Path) -> None:
    need("make")
    command = for_a_moment(typed, tmp_path)
    # Without the flags of a make that runs the tests, and with the limit that a login has.
    done = subprocess.run(
        ["prlimit", "--nofile=1024:", "sh", "-c", command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if str(tmp_path) in command:
        assert (tmp_path / "README.md").read_text() in done.stdout
        cells = json.loads((tmp_path / "results.json").read_text())["cells"]
        assert [name for name in cells if cells[name]["netd"]["failure"]] == []
        assert cells
    else:
        assert "usage: make bench ARGS=" in done.stdout or "us a request" in done.stdout


@contextlib.contextmanager
def slow_echo(every: float) -> Iterator[int]:
    """A server that answers one request at a time, each after ``every`` seconds. Its port."""
    script = (
        "import socket, sys, time\n"
        "s = socket.create_server(('127.0.0.1', 0))\n"
        "print(s.getsockname()[1], flush=True)\n"
        "while True:\n"
        "    c = s.accept()[0]\n"
        "    try:\n"
        f"        while d := c.recv(64): time.sleep({every}); c.sendall(d)\n"
        "    except OSError: pass\n"
        "    c.close()\n"
    )
    with started(sys.executable, "-c", script, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield int(process.stdout.readline())


def load(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [str(BUILD / "load"), *map(str, arguments)]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=50)


def test_fixed_rate_shows_the_backlog_of_a_slow_server() -> None:
    with slow_echo(0.01) as port:
        closed = load("tcp", "-p", port, "-t", 0.5)
        behind = load("tcp", "-p", port, "-t", 0.5, "-r", 1000)
    p50 = {}
    for name, done in (("closed", closed), ("behind", behind)):
        assert done.returncode == 0, done.stderr
        p50[name] = float(done.stdout.split('"p50": ')[1].split(",")[0])
    assert p50["closed"] >= 10_000, "an answer takes ten milliseconds"
    assert p50["behind"] > 2 * p50["closed"], "requests wait for those before them"
    assert '"lost": 0' not in behind.stdout


def test_connections_begin_at_a_fixed_rate() -> None:
    with slow_echo(0) as port:
        done = load("connect", "-p", port, "-n", 50, "-t", 0.5, "-r", 100)
    assert done.returncode == 0, done.stderr
    answers, lost = map(int, re.findall(r'"(?:answers|lost)": (\d+)', done.stdout))
    assert answers + lost == 50, "a busy machine may answer some too late"
    assert answers > 0


def test_connection_for_which_none_is_free_is_lost() -> None:
    with slow_echo(0.2) as port:
        done = load("connect", "-p", port, "-n", 1, "-t", 1, "-r", 100)
    assert done.returncode == 0, done.stderr
    answers, lost = re.findall(r'"(?:answers|lost)": (\d+)', done.stdout)
    assert int(answers) + int(lost) == 100
    assert int(answers) <= 5


def test_unanswered_datagram_is_lost() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        done = load("udp", "-p", silent.getsockname()[1], "-t", 0.5)
    assert done.returncode == 1
    assert done.stderr == "no answer\n"


def test_load_without_a_server_fails() -> None:
    done = load("tcp", "-p", measure.free_port())
    assert done.returncode == 1
    assert done.stderr == "connect: Connection refused\n"


def test_read_line_raises_after_its_timeout() -> None:
    process = processes.start(["sleep", "60"], sorted(os.sched_getaffinity(0)), stdout=subprocess.PIPE)
    try:
        with pytest.raises(FailedError, match="nothing within 0 s"):
            processes.read_line(process, 0.1)
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
