"""What several tests need: a built-in service, a server in this process, a daemon as a real process."""

import contextlib
import ctypes
import functools
import gc
import json
import os
import queue
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.admission.access import AccessRules
from netd.admission.access_table import Access
from netd.admission.control import AdmissionControl
from netd.admission.daemon import DaemonAdmission
from netd.admission.policy import Policy
from netd.client.control import ask
from netd.endpoints import Endpoint
from netd.peer import Peer
from netd.services import table
from netd.services.service_type import ServiceType
from netd.shared.table import Table
from netd.telemetry.service_events import ServiceEvents
from netd.testing import NOW as NOW
from netd.testing import PEER as PEER
from netd.testing import build, context, script
from netd.transport.datagram.server import DatagramServer
from netd.transport.listen import Listener, open_listeners
from netd.transport.loop import Loop
from netd.transport.stream.preamble import NO_PREAMBLES, Preambles
from netd.transport.stream.server import StreamServer

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
ABSTRACT = f"@netd-test-{os.getpid()}"  # the name of a UNIX socket, which no other run of the tests has


def service(name: str, line_limit: int = 4096, clock: Callable[[], float] = lambda: NOW, **options: object) -> Any:
    """A built-in service at a fixed time, with random numbers that are the same each time."""
    return build(table.BUILT_IN[name], context(clock=clock, line_limit=line_limit), **options)


def answered(service: Any, *segments: bytes, peer: Peer = PEER) -> bytes:
    """All that a service sends for these segments and the end of file, for a test that cannot state it by steps."""
    begun = script(service, peer)
    sent = begun.output()
    for segment in filter(None, segments):
        if not begun.ended:
            sent += begun.receives(segment).output()
    if not begun.ended:
        sent += begun.receives_eof().output()
    begun.ends()
    return sent


def admission_for(
    name: str, given: dict[str, object], table: Table, shared: DaemonAdmission, wall: Callable[[], float]
) -> AdmissionControl:
    """The admission of a service with the access rules and the policy of a config."""
    rules = AccessRules.model_validate(given.get("access", {}))
    policy = Policy.model_validate_json(json.dumps({key: value for key, value in given.items() if key != "access"}))
    return AdmissionControl(name, policy, Access.of(rules), table, shared, wall)


class Server:
    """Services on sockets of this process, with their loop in a thread."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.error: BaseException | None = None
        self.shared = DaemonAdmission()
        self.wall = NOW
        self.servers: list[StreamServer | DatagramServer] = []
        self._listeners: list[Listener] = []
        self._thread = threading.Thread(target=self._run)

    def add(
        self,
        service: Any,
        url: str,
        *,
        batched: bool = True,
        policy: dict[str, object] | None = None,
        preambles: Preambles = NO_PREAMBLES,
        **limits: object,
    ) -> tuple[Any, ServiceEvents]:
        """Serve on this URL; where a client connects to, and the service's events. ``policy`` is as in a config."""
        [listener] = open_listeners([("test", Endpoint.parse(url))], lambda *skipped: None)
        policy = {"limits": limits, **(policy or {})}
        events = self.serve(service, listener, batched=batched, policy=policy, preambles=preambles)
        return listener.socket.getsockname(), events

    def serve(
        self,
        service: Any,
        listener: Listener,
        *,
        kind: ServiceType | None = None,
        batched: bool = True,
        policy: dict[str, object] | None = None,
        preambles: Preambles = NO_PREAMBLES,
    ) -> ServiceEvents:
        """Serve on an open socket, which is this server's from now on; the service's events.

        Without a ``kind`` the service is served as its class declares.
        """
        self._listeners.append(listener)
        events = ServiceEvents("test")
        kind = kind or ServiceType.of(type(service))
        admission = admission_for("test", policy or {}, events.table, self.shared, lambda: self.wall)
        server: StreamServer | DatagramServer
        if listener.streams:
            server = StreamServer(listener.socket, kind, service, admission, events, self.loop, preambles)
        else:
            server = DatagramServer(listener.socket, kind, service, admission, events, self.loop, batched=batched)
        self.servers.append(server)
        if self._thread.is_alive():
            self.loop.call(server.start)
            self.settle()
        else:
            server.start()
        return events

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Server":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.loop.call(self.loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the loop does not stop"
        for server in self.servers:
            server.close()
        for listener in self._listeners:
            listener.close()
        self.loop.close()
        if self.error:
            raise self.error

    def settle(self) -> None:
        """Wait until the loop has handled what was there."""
        for _ in range(2):
            done = threading.Event()
            self.loop.call(done.set)
            assert done.wait(10)


def copies(descriptor: int) -> int:
    """How many of this process's descriptors are the file of this one, whatever else comes and goes meanwhile."""
    count = 0
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # gone meanwhile, as the one of listdir is
            count += os.path.sameopenfile(descriptor, int(name))
    return count


def pipes() -> list[str]:
    """The ends of pipes that this process has open."""
    names = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    targets = [os.readlink(name) for name in names if os.path.islink(name)]  # that of listdir is gone
    return sorted(target for target in targets if target.startswith("pipe:"))


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something that can only be looked at."""
    done = threading.Event()
    for _ in range(int(seconds * 200)):
        if condition():
            return
        done.wait(0.005)
    raise AssertionError("it did not happen")


def is_gone(pid: int) -> bool:
    """Whether a process has ended; whoever adopted it may not have looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def adopt_orphans() -> None:
    """Let what outlives its parent become a child of this process (prctl(2)), as `nothing_left` has to see it."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _children() -> set[int]:
    """The processes of this one, with those that have ended and that nothing has waited for."""
    found = set()
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended meanwhile
            found |= set(map(int, (thread / "children").read_text().split()))
    return found


def _sockets() -> set[str]:
    """The sockets that this process has open, by their number in the kernel."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the descriptor of listdir
            found.add(os.readlink(f"/proc/self/fd/{name}"))
    return {target for target in found if target.startswith("socket:")}


@contextlib.contextmanager
def nothing_left(seconds: float = 10.0) -> Iterator[None]:
    """What is started and opened in here is gone at the end; AssertionError tells what is not, and it is ended.

    A process has some ``seconds`` for that: a worker may need a moment to notice that its supervisor is gone.
    """
    processes, sockets = _children(), _sockets()
    yield

    def gone() -> bool:
        for pid in _children() - processes:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return not _children() - processes

    with contextlib.suppress(AssertionError):
        until(gone, seconds)
    left = [_end(pid) for pid in _children() - processes]
    if _sockets() - sockets:
        gc.collect()  # what nothing refers to is closed, and warned of here and not in another test
    opened = [_name(number) for number in _sockets() - sockets]
    assert not left, f"left behind: the processes {left}"
    assert not opened, f"left open: the sockets {opened}"


def _end(pid: int) -> str:
    """Kill a process that was left behind, so that no other test is blamed for it; its command."""
    command = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    os.kill(pid, signal.SIGKILL)
    for one in gc.get_objects():
        if isinstance(one, subprocess.Popen) and one.pid == pid:
            one.wait()
            for pipe in (one.stdin, one.stdout, one.stderr):
                if pipe:
                    pipe.close()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    return command


def _name(number: str) -> str:
    """Where a socket of this process is bound, which is closed."""
    for one in gc.get_objects():
        descriptor = one.fileno() if isinstance(one, socket.socket) else -1
        if descriptor >= 0 and os.readlink(f"/proc/self/fd/{descriptor}") == number:
            name = f"{one.getsockname()}"
            one.close()
            return name
    return number


def read_terminal(primary: int, shown: str) -> bytes:
    """What is written on a terminal. A failure where nothing has it open any more shows what was there before."""
    try:
        return os.read(primary, 65536)
    except OSError as error:
        raise AssertionError(f"{error.strerror}; the terminal has shown:\n{shown}") from None


def read_all(connection: socket.socket) -> bytes:
    """Everything until the end of file."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(connection: socket.socket, number: int) -> bytes:
    """So many octets, or fewer at the end of file."""
    data = b""
    while len(data) < number and (piece := connection.recv(number - len(data))):
        data += piece
    return data


def need(*programs: str) -> None:
    """Skip without these programs; where NETD_REQUIRE_TOOLS is set, as in CI, fail."""
    missing = [program for program in programs if not shutil.which(program)]
    if missing and os.environ.get("NETD_REQUIRE_TOOLS"):
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@contextlib.contextmanager
def started(*command: object, **options: Any) -> Iterator["subprocess.Popen[Any]"]:
    """A process, which is gone at the end, however that comes. The options are those of Popen."""
    with subprocess.Popen([str(word) for word in command], **options) as process:
        try:
            yield process
        finally:
            process.kill()


@functools.cache
def as_nobody() -> tuple[str, ...]:
    """What stands before a command that a user who is not root is to run; nothing where this is none.

    It may read what root may, since the checkout, or the Python that runs this, may be where no other user may enter,
    such as /root. Skips the test, or fails it where NETD_REQUIRE_TOOLS is set, if that cannot be.
    """
    if os.geteuid() != 0:
        return ()
    need("setpriv")
    become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    read = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    for prefix in ((*become, *read), become):  # a container may lack the capability
        done = subprocess.run([*prefix, sys.executable, "-c", "import netd.cli.main"], capture_output=True, check=False)
        if done.returncode == 0:
            return prefix
    reason = f"no other user may read this checkout or {sys.executable}: {done.stderr.decode().strip()[-200:]}"
    if os.environ.get("NETD_REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


def faults_of_units(*files: Path) -> str:
    """What ``systemd-analyze verify`` says of units that stand in one directory.

    It reads all that a unit pulls in, and tells the faults of those too: here that is nothing of this host, but targets
    that are made for it beside the units.
    """
    need("systemd-analyze")
    for target in ("basic", "network", "shutdown", "sysinit"):
        (files[0].parent / f"{target}.target").write_text("[Unit]\nDescription=Of systemd.special(7)\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", *files],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": str(files[0].parent)},
    )
    return done.stdout + done.stderr


def need_root() -> None:
    """Skip without root; where NETD_REQUIRE_TOOLS is set, fail."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("NETD_REQUIRE_TOOLS") else pytest.skip)("needs root")


def as_user(user: int, do: Callable[[], object]) -> None:
    """Do something as another user, in a process of its own; AssertionError where it raises."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            do()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "it failed there; see its traceback"


ALEX, MALLORY = 1234, 1235  # other users, which need not exist


def assert_untouched(secret: Path) -> None:
    """See that a file is as the fixture ``secret`` has made it."""
    status = secret.stat()
    assert (status.st_uid, stat.S_IMODE(status.st_mode), secret.read_text()) == (0, 0o600, "secret")


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory where every user may go, which nobody but root can change; pytest keeps its own for one user."""
    with tempfile.TemporaryDirectory(prefix="netd-") as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


def directory_of(user: int, above: Path) -> Path:
    """A directory that belongs to another user, in this one."""
    made = above / f"of-{user}"
    made.mkdir()
    os.chown(made, user, user)
    return made


def in_namespace(run: Callable[[], None], *commands: str) -> None:
    """Run a test in a network namespace of its own, with loopback up and what these ``ip`` commands set up.

    A namespace belongs to a thread, and so do the sockets opened in it. It takes root; without, the test is skipped, or
    fails where NETD_REQUIRE_TOOLS is set.
    """
    need("ip")
    failure: list[BaseException] = []

    def enter_and_run() -> None:
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            for command in ("link set lo up", *commands):
                subprocess.run(["ip", *command.split()], check=True)
            run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=enter_and_run)
    thread.start()
    thread.join()
    if failure and isinstance(failure[0], PermissionError) and not os.environ.get("NETD_REQUIRE_TOOLS"):
        pytest.skip("not root")
    if failure:
        raise failure[0]


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """A port on loopback at which nothing listens."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def has_ipv6() -> bool:
    """Whether this host has an IPv6 loopback."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


def install_service(directory: Path, name: str, source: str) -> str:
    """Offer the class ``Service`` of this source as the service type ``name``; the $PYTHONPATH that finds it."""
    (directory / f"netd_{name}.py").write_text(source)
    info = directory / f"netd_{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: netd-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[netd.services]\n{name} = netd_{name}:Service\n")
    return f"{directory}{os.pathsep}{os.getcwd()}"


class Daemon:
    """`netd run` as a process of its own, with its log read as it comes."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.output = ""
        self._queue: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.directory = tempfile.TemporaryDirectory(prefix="netd-")
        self.control = environment.setdefault("NETD_CONTROL", f"{self.directory.name}/control.sock")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "netd", "run", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            try:
                self._queue.put(json.loads(line))
            except ValueError:
                self._queue.put({"event": "not_json", "line": line})
        self._queue.put(None)

    def next_event(self, seconds: float = 20) -> dict[str, Any]:
        """The next line of the log."""
        try:
            line = self._queue.get(timeout=seconds)
        except queue.Empty:
            raise AssertionError(f"nothing in {seconds} s: {self.lines[-5:]}") from None
        if line is None:
            raise AssertionError(f"netd ended: {self.lines[-5:]}")
        self.lines.append(line)
        return line

    def event(self, name: str, seconds: float = 20) -> dict[str, Any]:
        """The next event of this name."""
        while (line := self.next_event(seconds))["event"] != name:
            pass
        return line

    def all_of(self, *names: str) -> None:
        """Wait for as many events of each name, in whatever order they come."""
        missing = Counter(names)
        while +missing:
            missing[self.next_event()["event"]] -= 1

    @property
    def worker(self) -> int:
        """The process id of the worker that started last."""
        return int([line["pid"] for line in self.lines if line["event"] == "worker_started"][-1])

    def netd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that talks to it."""
        return subprocess.run(
            [sys.executable, "-m", "netd", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "NETD_CONTROL": self.control},
        )

    def ask(self, *words: str) -> dict[str, Any]:
        """What its control socket answers."""
        return ask([self.control], words)

    def url(self, service: str, scheme: str = "tcp") -> str:
        """Where a service listens, from the log of the start."""
        for line in self.lines:
            if (
                line["event"] == "listening"
                and line["service"] == service
                and line["endpoint"].startswith(scheme + ":")
            ):
                return str(line["endpoint"])
        raise AssertionError(f"{service} does not listen on {scheme}")

    def port(self, service: str, scheme: str = "tcp") -> int:
        return int(self.url(service, scheme).rpartition(":")[2])

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(20)
        self._reader.join(20)
        while not self._queue.empty():
            if line := self._queue.get():
                self.lines.append(line)
        return code

    def __enter__(self) -> "Daemon":
        return self

    def __exit__(self, *exception: object) -> None:
        """End it, if it goes on, and close its pipes."""
        self.process.kill()
        self.process.wait()
        self._reader.join(20)
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe
            pipe.close()
        self.directory.cleanup()


@contextlib.contextmanager
def daemon(config: str, directory: Path) -> Iterator[Daemon]:
    """A daemon with this config, ready; stopped at the end, with exit code 0."""
    file = directory / "netd.yaml"
    file.write_text(config)
    with Daemon("-c", str(file)) as running:
        running.event("netd_ready")
        yield running
        assert running.stop() == 0, running.lines[-5:]
        assert running.process.stdout
        running.output = running.process.stdout.read()
