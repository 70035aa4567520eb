"""Errors at the limits of this process, and the processes that end when memory runs out."""

import contextlib
import errno
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from netd.daemon import resource_limits
from netd.daemon.resource_limits import described, open_above_limit, too_few_descriptors
from tests.daemon.clients import echoes
from tests.daemon.processes import ECHO
from tests.support.cgroups import memory_cgroup
from tests.support.daemon import Daemon
from tests.support.services import install_service

ADVICE = "raise the limit (ulimit -n, or LimitNOFILE= of the unit)"


def error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_error_names_the_limit_of_descriptors() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert described(error(errno.EMFILE)) == f"Too many open files: {limit} are allowed; {ADVICE}"
    assert too_few_descriptors(3) == (
        f"Too many open files: {limit} are allowed, and one connection to these services needs {limit + 3}; {ADVICE}"
    )


def test_error_at_another_limit_says_where_to_look() -> None:
    assert described(error(errno.ENOMEM)) == "Cannot allocate memory; see the limits of this process (ulimit -a)"


@pytest.mark.parametrize("has_room", [True, False])
def test_descriptor_that_is_kept_for_long_leaves_the_low_ones_free(
    has_room: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, least = (256, 256) if has_room else (before[1], before[1] // 2)
    monkeypatch.setattr(resource_limits, "_initial", (soft, before[1]))
    monkeypatch.setattr(resource_limits, "_SELECT", before[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    opened = set(os.listdir("/proc/self/fd"))
    try:
        kept = [open_above_limit(lambda: os.open("/dev/null", os.O_RDONLY)) for _ in range(300)]
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft
        assert len(kept) == len(set(kept))
        assert min(kept) >= least
        assert not any(map(os.get_inheritable, kept))
        for descriptor in kept:
            os.close(descriptor)
        assert set(os.listdir("/proc/self/fd")) == opened
        with pytest.raises(FileNotFoundError):
            open_above_limit(lambda: os.open(f"{tmp_path}/none", os.O_RDONLY))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("before", [0, 700])
def test_worker_has_a_higher_oom_score_than_the_supervisor(tmp_path: Path, before: int) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(ECHO.format("off"))
    raised = ("sh", "-c", f'echo {before} > /proc/self/oom_score_adj; exec "$@"', "sh")
    with Daemon("-c", str(file), command=raised) as running:
        running.event("netd_started")
        assert (oom_score(running.process.pid), oom_score(running.worker)) == (before, min(before + 500, 1000))
        assert running.stop() == 0


GREEDY = """
class Service:
    "Takes a megabyte of memory for each line."
    def stream(self, peer):
        taken = []
        while (yield):
            taken.append(bytearray(b"x" * 2**20))
            yield b"more"
"""


@pytest.mark.slow
def test_worker_ends_when_memory_runs_out_and_is_replaced(tmp_path: Path) -> None:
    path = install_service(tmp_path, "greedy", GREEDY)
    file = tmp_path / "netd.yaml"
    file.write_text(ECHO.format("off") + "  greedy: {listen: [tcp://127.0.0.1:0]}\n")
    with memory_cgroup() as group, Daemon("-c", str(file), PYTHONPATH=path) as running:
        group.add(running.process.pid)
        running.event("netd_started")
        group.limit_to_usage(2**20)
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", running.port("greedy"))) as one,
        ):
            one.sendall(b"\n")
            while one.recv(100):
                one.sendall(b"\n")
        assert running.event("worker_lost")["reason"] == "signal SIGKILL"
        running.event("worker_started")
        assert echoes(running.port("echo"))
        assert running.stop() == 0


TIGHT = """
from netd.transport.stream import echo
class Service:
    "Has echo connections receive more than there is memory for, until the next line."
    def stream(self, peer):
        yield
        before, echo.CHUNK = echo.CHUNK, 2**60
        yield b"tight"
        yield
        echo.CHUNK = before
"""


@pytest.mark.slow
def test_connection_that_finds_no_memory_ends_alone(tmp_path: Path) -> None:
    path = install_service(tmp_path, "tight", TIGHT)
    file = tmp_path / "netd.yaml"
    file.write_text(ECHO.format("off") + "  tight: {listen: [tcp://127.0.0.1:0]}\n")
    with Daemon("-c", str(file), PYTHONPATH=path) as running, contextlib.ExitStack() as stack:
        running.event("netd_started")
        live, greedy, tight = (
            stack.enter_context(socket.create_connection(("127.0.0.1", running.port(name)), 20))
            for name in ("echo", "echo", "tight")
        )
        live.sendall(b"x")
        assert live.recv(1) == b"x"
        tight.sendall(b"\n")
        assert tight.recv(10) == b"tight"
        greedy.sendall(b"x")
        with contextlib.suppress(ConnectionError):
            assert greedy.recv(1) == b""
        tight.sendall(b"\n")
        assert tight.recv(10) == b""
        failed = running.event("conversation_failed")
        assert failed["error"].startswith("MemoryError ")
        assert "Traceback" in failed["exception"]
        live.sendall(b"y")
        assert live.recv(1) == b"y"
        stack.close()
        assert running.stop() == 0
    events = [line["event"] for line in running.lines]
    assert (events.count("conversation_failed"), events.count("worker_lost")) == (1, 0)


@pytest.mark.parametrize(("started_with", "has"), [(4096, 1024), (256, 256)])
def test_program_has_the_descriptors_that_select_takes(started_with: int, has: int) -> None:
    script = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({started_with}, 4096))\n"
        "from netd.daemon import resource_limits\n"
        "resource_limits.raise_descriptor_limit()\n"
        "raised = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource_limits.restore_descriptor_limit()\n"
        "print(*raised, *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == f"4096 4096 {has} 4096\n"
