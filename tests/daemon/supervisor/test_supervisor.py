"""`netd run` as a process: its start, the files and sockets that remain, and what the system lacks."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netd.config import loader
from tests.daemon.clients import echoes
from tests.daemon.configs import THREE_SERVICES
from tests.daemon.processes import ECHO, processor_time
from tests.support.daemon import Daemon, daemon
from tests.support.leftovers import is_gone
from tests.support.sockets import read_exactly
from tests.support.waiting import until


@pytest.mark.slow
def test_enabled_services_are_served_and_disabled_ones_are_not(tmp_path: Path) -> None:
    with daemon(THREE_SERVICES.format(drain="1s", tmp=tmp_path), tmp_path) as running:
        with socket.create_connection(("127.0.0.1", running.port("pingpong"))) as connection:
            connection.sendall(b"ping 1\r\n")
            assert read_exactly(connection, 8) == b"pong 1\r\n"
        assert {line["service"] for line in running.lines if line["event"] == "listening"} == {"echo", "pingpong"}
        assert not (tmp_path / "upper.sock").exists()
        event = running.event("connection_closed")
        assert (event["service"], event["bytes_in"], event["bytes_out"], event["outcome"]) == ("pingpong", 8, 8, "done")
        assert event["peer"].startswith("127.0.0.1:")
        assert event["duration"] > 0
    assert running.process.returncode == 0
    assert [line["event"] for line in running.lines][-1] == "netd_stopped"
    assert not (tmp_path / "echo.sock").exists()
    assert all(line["event"] != "not_json" for line in running.lines)


@pytest.mark.slow
@pytest.mark.parametrize("output", ["> /dev/full", "| true", ">&-", ">&- 2>&- <&-"])
def test_netd_serves_and_stops_with_its_standard_output_closed_or_full(tmp_path: Path, output: str) -> None:
    text = loader.BUILT_IN_FILE.read_text()
    # Only the built-in config writes to standard output. Its ports may be in use, so it gets others here.
    script = (
        "import sys; from netd import default_paths; from netd.config import loader; from netd.cli import main\n"
        "from pathlib import Path\n"
        f"loader.BUILT_IN_FILE = default_paths.CONFIG_FILE = Path({str(tmp_path / 'dev.yaml')!r})\n"
        "open(sys.argv[1], 'w').write(str(__import__('os').getpid()))\n"
        "sys.argv[1:] = ['run']; main.main()"
    )
    (tmp_path / "dev.yaml").write_text(
        re.sub(r"localhost:\d+", "127.0.0.1:0", text) + f'  reply: {{listen: ["unix://{tmp_path}/s"]}}\n'
    )
    command = f'exec {sys.executable} -c "$SCRIPT" {tmp_path}/pid {output}'
    environment = {**os.environ, "SCRIPT": script}
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(["sh", "-c", command], env=environment, stderr=log)
        try:
            until(lambda: (tmp_path / "s").exists() or process.poll() is not None, 20)
            assert (tmp_path / "s").exists(), (tmp_path / "log").read_text()
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                until(lambda: connection.connect_ex(str(tmp_path / "s")) == 0)
                connection.sendall(b"hello")
                assert connection.recv(10) == b"hi"
        finally:
            pid = int((tmp_path / "pid").read_text())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            process.wait(20)
    until(lambda: is_gone(pid))
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_log_pipe_that_is_not_read_blocks_neither_service_nor_stop(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(f'services:\n  pingpong: {{listen: ["unix://{tmp_path}/s"]}}\n')
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-m", "netd", "run", "-c", file], stderr=writer)
    os.close(writer)
    try:
        until(lambda: (tmp_path / "s").exists() or process.poll() is not None, 20)
        assert process.poll() is None, os.read(reader, 65536).decode()
        for _ in range(1000):  # each logs a line, and a pipe holds some three hundred
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(20)
                until(lambda: connection.connect_ex(str(tmp_path / "s")) == 0)
                connection.sendall(b"ping\n")
                assert connection.recv(10) == b"pong\n"
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(reader)


@pytest.mark.slow
def test_start_without_descriptors_prints_one_line_and_exits_with_71(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n" + "".join(f"  e{n}: {{type: echo, listen: [tcp://127.0.0.1:0]}}\n" for n in range(6)))
    for limit in range(8, 26, 3):
        command = f"ulimit -n {limit}; exec {sys.executable} -m netd run -c {file}"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
        assert done.returncode == 71, done.stderr
        assert "Traceback" not in done.stderr
        # With the fewest, the config cannot be read, and there is no log.
        last = done.stderr.splitlines()[-1]
        assert "Too many open files" in last
        assert last.startswith("netd: ") or json.loads(last)["event"] == "start_failed"
        assert not (place / "control.sock").exists(), "a stale socket would be left for the next start"


@pytest.mark.slow
def test_limit_that_leaves_no_descriptor_for_a_connection_is_told_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(ECHO.format("off"))

    def start(limit: int) -> subprocess.CompletedProcess[str]:
        command = f"ulimit -n {limit}; exec {sys.executable} -m netd run -c {file}"
        return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)

    needed = 0
    for limit in (24, 28):
        done = start(limit)
        assert done.returncode == 71, done.stderr
        line = json.loads(done.stderr.splitlines()[-1])["problem"]
        assert f"Too many open files: {limit} are allowed" in line
        assert "; raise the limit (ulimit -n, or LimitNOFILE= of the unit)" in line
        if found := re.search(r"allowed, and one connection to these services needs (\d+);", line):
            needed = int(found[1])
    assert needed > 28
    with Daemon("-c", str(file), command=("sh", "-c", f'ulimit -n {needed}; exec "$@"', "sh")) as running:
        running.event("netd_started")
        assert echoes(running.port("echo"))
        assert running.stop() == 0


@pytest.mark.slow
def test_port_in_use_prints_one_line_exits_with_71_and_leaves_no_file(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        file = tmp_path / "netd.yaml"
        file.write_text(
            f"services:\n  upper: {{listen: ['unix://{tmp_path}/upper.sock']}}\n  echo: {{listen: [tcp://127.0.0.1:{port}]}}\n"
        )
        done = subprocess.run(
            [sys.executable, "-m", "netd", "run", "-c", file], capture_output=True, text=True, check=False
        )
    assert done.returncode == 71
    [problem] = [line["problem"] for line in map(json.loads, done.stderr.splitlines()) if "problem" in line]
    assert problem == (
        f"{file}:3:19: services.echo.listen[0]: cannot listen on tcp://127.0.0.1:{port}: Address already in use; "
        f"see which program has it: ss -tanp 'sport = :{port}'"
    )
    assert "listening" not in done.stderr
    assert not (tmp_path / "upper.sock").exists()


@pytest.mark.slow
def test_config_with_problems_binds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(
        f"services:\n  upper: {{listen: ['unix://{tmp_path}/upper.sock']}}\n  ecoh: {{listen: [tcp://*:0]}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "netd", "run", "-c", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 78
    assert done.stderr == (
        f"{file}:3:3: services.ecoh: unknown service type 'ecoh'; did you mean 'echo'? (or set 'type:')\n"
    )
    assert done.stdout == ""
    assert not (tmp_path / "upper.sock").exists()


@pytest.mark.slow
def test_start_after_kill_9_replaces_stale_sockets(tmp_path: Path) -> None:
    config = THREE_SERVICES.format(drain="1s", tmp=tmp_path)
    (tmp_path / "netd.yaml").write_text(config)
    with Daemon("-c", str(tmp_path / "netd.yaml")) as first:
        first.event("netd_started")
        first.stop(signal.SIGKILL)
    assert (tmp_path / "echo.sock").exists()
    with daemon(config, tmp_path), socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "echo.sock"))
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"


@pytest.mark.slow
def test_descriptor_limit_is_raised_to_the_hard_one(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n")
    with Daemon("-c", str(file)) as running:
        running.event("netd_started")
        limits = Path(f"/proc/{running.process.pid}/limits").read_text()
        soft, hard = next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5]
        assert soft == hard
        assert running.stop() == 0


@pytest.mark.slow
def test_connections_without_descriptors_are_refused_at_once_and_others_are_served(tmp_path: Path) -> None:
    config = "services:\n  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}\n"
    (tmp_path / "netd.yaml").write_text(config)
    launcher = f"ulimit -n 40; exec {sys.executable} -m netd run -c {tmp_path}/netd.yaml"
    process = subprocess.Popen(["sh", "-c", launcher], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    try:
        ports: dict[str, int] = {}
        for line in process.stderr:
            if '"listening"' in line:
                scheme, _, place = json.loads(line)["endpoint"].partition("://")
                ports[scheme] = int(place.rpartition(":")[2])
            if "netd_started" in line:
                break
        connections = [socket.create_connection(("127.0.0.1", ports["tcp"])) for _ in range(60)]
        served = connections[0]
        served.sendall(b"x")
        assert served.recv(1) == b"x"
        for line in process.stderr:
            if "accept_paused" in line:
                break
        before = processor_time(process.pid)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", ports["udp"]))
            client.settimeout(20)
            for _ in range(10):
                client.send(b"y")
                assert client.recv(1) == b"y"
        last = connections[-1]
        last.settimeout(20)
        assert last.recv(1) == b"", "it is refused by closing it"
        assert processor_time(process.pid) - before < 0.25, "a busy loop"
        served.sendall(b"y")
        assert served.recv(1) == b"y"
        for connection in connections:
            connection.close()
        until(lambda: _echoes(ports["tcp"]), 20)
    finally:
        process.terminate()
        process.stderr.read()
        assert process.wait(20) == 0
        process.stderr.close()


def _echoes(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(b"z")
        return connection.recv(1) == b"z"
    return False


@pytest.mark.slow
def test_service_manager_is_notified_when_netd_is_ready_and_when_it_stops(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(f'services:\n  echo: {{listen: ["unix://{tmp_path}/echo"]}}\n')
    for address in (str(tmp_path / "notify"), f"@netd-notify-{os.getpid()}"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
            manager.settimeout(20)
            with Daemon("-c", str(file), NOTIFY_SOCKET=address) as running:
                assert manager.recv(100) == b"READY=1\nSTATUS=1 service, 0 connections, 1 worker, config 1"
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(str(tmp_path / "echo"))
                running.process.terminate()
                assert manager.recv(200).startswith(b"STOPPING=1\nSTATUS=stopping")
                assert running.stop() == 0


@pytest.mark.slow
def test_service_manager_that_does_not_read_delays_nothing(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n")
    datagram = socket.SOCK_DGRAM
    with socket.socket(socket.AF_UNIX, datagram) as manager, socket.socket(socket.AF_UNIX, datagram) as other:
        manager.bind(str(tmp_path / "notify"))
        other.connect(str(tmp_path / "notify"))
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.send(b"x")
        with Daemon("-c", str(file), NOTIFY_SOCKET=str(tmp_path / "notify")) as running:
            running.event("netd_started")
            with socket.create_connection(("127.0.0.1", running.port("echo"))) as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"
            assert running.stop() == 0


@pytest.mark.parametrize(
    ("daemon_section", "problem", "code"),
    [
        ("user: no-such-user", "daemon.user: there is no user 'no-such-user'", 78),
        ("group: no-such-group", "daemon.group: there is no group 'no-such-group'", 78),
        ("user: root", "daemon.user: 'root' is root; workers must run as another user", 78),
        ("chroot: /proc/none", "daemon.chroot: there is no directory /proc/none", 78),
        ("workers: 0", "daemon.workers: expected a number from 1 to 64, or auto, got 0", 78),
        ("workers: many", "daemon.workers: expected a number from 1 to 64, or auto, got 'many'", 78),
        ("heartbeat: 1ms", "daemon.heartbeat: ", 78),
        ("control: relative", "daemon.control: expected an absolute path, got 'relative'", 78),
        ("control: /proc/none/c", "daemon.control: cannot listen on unix:///proc/none/c", 71),
        ("pid_file: /proc/none/p", "daemon.pid_file: cannot open /proc/none/p", 71),
    ],
)
@pytest.mark.slow
def test_setting_that_cannot_be_applied_prints_one_line(
    tmp_path: Path, daemon_section: str, problem: str, code: int
) -> None:
    if os.geteuid() != 0 and ("root" in daemon_section or "chroot" in daemon_section):
        pytest.skip("needs root")
    (tmp_path / "netd.yaml").write_text(f"daemon: {{{daemon_section}}}\n" + ECHO.format("off"))
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        assert running.process.wait(20) == code
        running.stop()
    # A problem of the config is found before there is a log.
    output = [line.get("line") or line["problem"] for line in running.lines if line["event"] != "netd_starting"]
    assert any(problem in line for line in output), output
    assert len(output) == 1
    column = len("daemon: {") + daemon_section.index(":") + 3
    assert f"{tmp_path}/netd.yaml:1:{column}: {problem}" in output[0]
