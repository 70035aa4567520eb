"""netd as root with its files in a directory of another user, which replaces them."""

import contextlib
import errno
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.endpoints import Endpoint
from netd.errors import OpenError
from netd.transport.activation import KEPT
from netd.transport.listen import open_listeners
from tests.daemon.activator import ACTIVATOR
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need_root
from tests.support.users import ALEX, MALLORY, as_user
from tests.support.waiting import until


def serve_as(user: int, path: Path) -> socket.socket:
    """A listening socket of a user."""
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(str(path))
    opened.listen()
    os.chown(path, user, user)
    return opened


def state(path: Path) -> tuple[int, ...]:
    """The inode, owner and mode of a file."""
    status = path.lstat()
    return status.st_ino, status.st_uid, status.st_gid, status.st_mode


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unix", "unixgram"])
@pytest.mark.parametrize("what", ["link", "socket", "nothing"])
def test_reload_changes_its_own_socket_alone_and_logs_a_replaced_one(
    theirs: Path, secret: Path, kind: str, what: str
) -> None:
    def config(mode: str) -> str:
        return f'services:\n  echo: {{listen: ["{kind}://{theirs}/s?owner={ALEX}&mode={mode}"]}}\n'

    with contextlib.ExitStack() as stack, daemon(config("0600"), theirs.parent) as netd:
        assert ((theirs / "s").stat().st_uid, stat.S_IMODE((theirs / "s").stat().st_mode)) == (ALEX, 0o600)
        if what != "nothing":
            as_user(ALEX, lambda: (theirs / "s").rename(theirs / "moved"))
        if what == "link":
            as_user(ALEX, lambda: (theirs / "s").symlink_to(secret))
        if what == "socket":
            stack.enter_context(serve_as(MALLORY, theirs / "s"))
        before = state(theirs / "s")
        (theirs.parent / "netd.yaml").write_text(config("0660"))
        assert netd.netd("reload").returncode == 0
        if what == "nothing":
            assert stat.S_IMODE((theirs / "s").stat().st_mode) == 0o660
        else:
            told = netd.event("options_failed")
            assert told["service"] == "echo"
            assert told["endpoint"] == f"{kind}://{theirs}/s?owner={ALEX}&mode=0660"
            assert told["error"] == "another file has taken its place"
            assert state(theirs / "s") == before
            assert stat.S_IMODE((theirs / "moved").stat().st_mode) == 0o600
    assert (theirs / "s").is_symlink() == (what == "link")
    assert (theirs / "s").exists() == (what != "nothing"), "a replaced path is not removed"


def test_link_that_replaces_a_new_socket_keeps_owner_and_mode(
    theirs: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_umask = os.umask

    def swap_then_set(umask: int) -> int:
        if (theirs / "s").exists():  # bound, but its mode is not set yet
            as_user(ALEX, (theirs / "s").unlink)
            as_user(ALEX, lambda: (theirs / "s").symlink_to(secret))
        return set_umask(umask)

    monkeypatch.setattr(os, "umask", swap_then_set)
    endpoint = Endpoint.parse(f"unix://{theirs}/s?owner={ALEX}&mode=0666")
    with pytest.raises(OpenError, match="another file has taken its place"):
        open_listeners([("echo", endpoint)], lambda *skipped: None)
    assert (theirs / "s").is_symlink()


@pytest.mark.parametrize("back", [True, False])
def test_socket_that_was_bound_through_a_link_of_another_user_is_removed(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    (theirs.parent / "roots").mkdir()
    as_user(ALEX, (theirs / "run").mkdir)
    set_umask = os.umask

    def swap_then_set(umask: int) -> int:
        if umask == 0o777:  # the bind is next
            as_user(ALEX, lambda: (theirs / "run").rename(theirs / "moved"))
            as_user(ALEX, lambda: (theirs / "run").symlink_to(theirs.parent / "roots"))
        else:
            assert (theirs.parent / "roots" / "s").exists()
            if back:
                as_user(ALEX, (theirs / "run").unlink)
                as_user(ALEX, lambda: (theirs / "moved").rename(theirs / "run"))
        return set_umask(umask)

    monkeypatch.setattr(os, "umask", swap_then_set)
    match = "another file has taken its place" if back else "run is a symbolic link that another user made"
    with pytest.raises(OpenError, match=match):
        open_listeners([("echo", Endpoint.parse(f"unix://{theirs}/run/s"))], lambda *skipped: None)
    assert not os.listdir(theirs.parent / "roots")


def test_stale_socket_is_removed_from_the_directory_it_was_found_in(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (theirs.parent / "roots").mkdir()
    as_user(ALEX, (theirs / "run").mkdir)
    for directory in (theirs / "run", theirs.parent / "roots"):
        serve_as(0, directory / "s").close()
    unlink = os.unlink

    def swap_then_unlink(path: str, **more: int) -> None:
        as_user(ALEX, lambda: (theirs / "run").rename(theirs / "moved"))
        as_user(ALEX, lambda: (theirs / "run").symlink_to(theirs.parent / "roots"))
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", swap_then_unlink)
    with pytest.raises(OpenError, match="Address already in use"):
        open_listeners([("echo", Endpoint.parse(f"unix://{theirs}/run/s"))], lambda *skipped: None)
    assert not (theirs / "moved" / "s").exists()
    assert (theirs.parent / "roots" / "s").exists()


@contextlib.contextmanager
def started_with(
    open_path: Path, kept: socket.socket, listen: str, *launcher: str, manager: str = "no-such-socket"
) -> Iterator[subprocess.Popen[str]]:
    """netd, started with a socket from the file descriptor store of the service manager."""
    (open_path / "netd.yaml").write_text(
        f'daemon: {{control: {open_path}/c}}\nservices:\n  echo: {{listen: ["{listen}"]}}\n'
    )
    netd = subprocess.Popen(
        [
            *launcher,
            sys.executable,
            "-c",
            ACTIVATOR,
            sys.executable,
            "-m",
            "netd",
            "run",
            "-c",
            f"{open_path}/netd.yaml",
        ],
        pass_fds=[kept.fileno()],
        env={
            **os.environ,
            "HANDED": str(kept.fileno()),
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": f"{KEPT}1",
            "NOTIFY_SOCKET": f"{open_path}/{manager}",
            "FDSTORE": "16",
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield netd
    finally:
        netd.terminate()
        netd.communicate(timeout=20)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["link", "link to it", "socket"])
def test_start_with_a_stored_socket_does_not_change_another_file_at_its_path(
    theirs: Path, secret: Path, what: str
) -> None:
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(serve_as(0, theirs / "s"))
        as_user(ALEX, lambda: (theirs / "s").rename(theirs / "moved"))
        if what == "socket":
            stack.enter_context(serve_as(MALLORY, theirs / "s"))
        else:
            as_user(ALEX, lambda: (theirs / "s").symlink_to(secret if what == "link" else theirs / "moved"))
        before, moved = state(theirs / "s"), state(theirs / "moved")
        with started_with(theirs.parent, kept, f"unix://{theirs}/s?owner={ALEX}&mode=0604") as netd:
            _, said = netd.communicate(timeout=20)
        assert netd.returncode == 71
        problem = json.loads(said.splitlines()[-1])["problem"].partition(": services.echo.listen[0]: ")[2]
        assert problem.startswith(f"cannot listen on unix://{theirs}/s?owner={ALEX}&mode=0604: ")
        assert problem.endswith(
            "Address already in use; another program listens there"
            if what == "socket"
            else "there is a file in its place that is not a socket"
        )
        assert state(theirs / "s") == before
        assert state(theirs / "moved") == moved


@pytest.mark.slow
def test_start_with_a_stored_socket_serves_it_and_sets_its_options(theirs: Path) -> None:
    with serve_as(0, theirs / "s") as kept, socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{theirs}/s")  # and waits
        client.settimeout(20)
        client.sendall(b"x")
        with started_with(theirs.parent, kept, f"unix://{theirs}/s?owner={ALEX}&mode=0604"):
            assert client.recv(1) == b"x"
            assert ((theirs / "s").stat().st_uid, stat.S_IMODE((theirs / "s").stat().st_mode)) == (ALEX, 0o604)
            client.close()


@pytest.mark.slow
def test_start_with_a_stored_socket_that_netd_may_not_change_serves_it_and_logs_it(open_path: Path) -> None:
    """Root has no CAP_NET_ADMIN in many containers."""
    need_root()
    shared = open_path / "shared"
    shared.mkdir()
    os.chown(shared, 0, ALEX)
    shared.chmod(0o775)
    listen = f"unix://{shared}/s?mode=0604"
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(serve_as(0, shared / "s"))
        before = state(shared / "s")
        netd = stack.enter_context(started_with(open_path, kept, listen, "setpriv", "--bounding-set", "-net_admin"))
        assert netd.stderr
        lines = []
        for line in netd.stderr:
            lines.append(json.loads(line))
            if lines[-1]["event"] == "netd_started":
                break
        [told] = [line for line in lines if line["event"] == "options_failed"]
        assert (told["service"], told["endpoint"]) == ("echo", listen)
        assert told["error"] == "without CAP_NET_ADMIN, netd cannot verify that this is its own socket"
        assert state(shared / "s") == before
        client = stack.enter_context(socket.socket(socket.AF_UNIX))
        client.settimeout(20)
        client.connect(f"{shared}/s")
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        client.close()


@pytest.mark.slow
def test_stored_socket_without_its_path_is_removed_from_the_store(theirs: Path) -> None:
    """No client can reach it, so the service manager need not store it."""
    with contextlib.ExitStack() as stack:
        manager = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        manager.bind(f"{theirs.parent}/manager")
        manager.settimeout(20)
        kept = stack.enter_context(serve_as(0, theirs / "s"))
        as_user(ALEX, (theirs / "s").unlink)
        stack.enter_context(started_with(theirs.parent, kept, f"unix://{theirs}/s", manager="manager"))
        told: list[bytes] = []
        while not any(message.startswith(b"READY=1") or b"\nREADY=1" in message for message in told):
            told.append(manager.recv(4096))
        assert any(b"FDSTOREREMOVE=1" in message and f"{KEPT}1".encode() in message for message in told)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{theirs}/s")


def run(file: Path) -> subprocess.CompletedProcess[str]:
    """Run a netd that cannot start, until it exits."""
    return subprocess.run(
        [sys.executable, "-m", "netd", "run", "-c", str(file)], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.slow
def test_log_is_not_written_through_a_link_of_another_user(theirs: Path, secret: Path) -> None:
    file = theirs.parent / "netd.yaml"
    file.write_text(
        f"daemon: {{control: {theirs.parent}/c}}\nlog: {{file: {theirs}/log}}\n"
        f'services:\n  echo: {{listen: ["unix://{theirs.parent}/s"]}}\n'
    )
    as_user(ALEX, lambda: (theirs / "log").symlink_to(secret))
    done = run(file)
    reason = "log is a symbolic link that another user made (uid 1234)"
    assert (done.returncode, done.stderr) == (
        71,
        f"{file}:2:13: log.file: cannot open {theirs}/log: {reason}\n",
    )
    (theirs / "log").unlink()

    with Daemon("-c", str(file), NETD_CONTROL=f"{theirs.parent}/c") as netd:
        until(lambda: (theirs / "log").exists() and "netd_started" in (theirs / "log").read_text())
        as_user(ALEX, lambda: (theirs / "log").rename(theirs / "log.1"))
        as_user(ALEX, lambda: (theirs / "log").symlink_to(secret))
        os.kill(netd.process.pid, signal.SIGUSR1)
        until(lambda: "log_failed" in (theirs / "log.1").read_text())
        lines = [json.loads(line) for line in (theirs / "log.1").read_text().splitlines()]
        [failed] = [line["error"] for line in lines if line["event"] == "log_failed"]
        assert failed == (
            f"log.file: cannot open {theirs}/log: log is a symbolic link that another user made (uid 1234); "
            "the log goes on as before"
        )
        (theirs / "log").unlink()
        os.link(secret, theirs / "log")  # as any user can where fs.protected_hardlinks is off
        os.kill(netd.process.pid, signal.SIGUSR1)
        until(lambda: "it is a hard link" in (theirs / "log.1").read_text())
        assert netd.stop() == 0
        assert "netd_stopped" in (theirs / "log.1").read_text(), "the old log file stays in use"


@pytest.mark.slow
def test_log_may_be_a_link_to_standard_output(open_path: Path) -> None:
    (open_path / "log").symlink_to("/dev/stdout")
    services = f'services:\n  echo: {{listen: ["unix://{open_path}/s"]}}\n'
    (open_path / "netd.yaml").write_text(f"log: {{file: {open_path}/log}}\n{services}")
    with Daemon("-c", str(open_path / "netd.yaml")) as netd:
        assert netd.process.stdout
        while "netd_started" not in netd.process.stdout.readline():
            assert netd.process.poll() is None
        assert netd.stop() == 0


@pytest.mark.slow
def test_fifo_in_place_of_a_log_or_pid_file_fails_the_start_without_blocking(
    theirs: Path,
) -> None:
    as_user(ALEX, lambda: os.mkfifo(theirs / "fifo"))
    file = theirs.parent / "netd.yaml"
    services = f'services:\n  echo: {{listen: ["unix://{theirs.parent}/s"]}}\n'
    for key, more, problem in (
        ("log.file", f"log: {{file: {theirs}/fifo}}", f"cannot open {theirs}/fifo: {os.strerror(errno.ENXIO)}"),
        ("daemon.pid_file", "", f"{theirs}/fifo is not a pid file, and was not changed"),
    ):
        pid_file = f", pid_file: {theirs}/fifo" if not more else ""
        file.write_text(f"daemon: {{control: {theirs.parent}/c{pid_file}}}\n{more}\n{services}")
        done = run(file)
        assert done.returncode == 71
        # Without a log, it is a line on standard error.
        said = json.loads(done.stderr)["problem"] if key == "daemon.pid_file" else done.stderr[:-1]
        assert re.fullmatch(rf"{file}:\d:\d+: {re.escape(f'{key}: {problem}')}", said)
