"""The start of a program: all that it inherits, shown by real programs, on both ways of starting one."""

import errno
import os
import resource
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netd.accounts import user_name
from netd.daemon.launcher import spawn
from netd.daemon.launcher.spawn import StartError
from tests.daemon.launcher.examples import output, printed, program, script, shell
from tests.support.programs import need_root
from tests.support.users import ALEX, as_user

# With a limit or another priority it is fork(2) and execve(2), else posix_spawn(3).
WAYS: list[dict[str, Any]] = [{}, {"limits": {"CORE": (0, 0)}}]
both_ways = pytest.mark.parametrize("way", WAYS, ids=["spawn", "fork"])
LARGEST = 2**63 - 1
OF_THE_C_LIBRARY = 1 << 31 | 1 << 32  # signals 32 and 33, which no program of the C library can set (signal(7))
LIST = """
import os
for name in os.listdir("/proc/self/fd"):
    try:
        os.write(2, f"{name} {os.fstat(int(name)).st_ino}\\n".encode())
    except OSError:
        pass
found = [str(os.getpid()), *(os.environ[f"LISTEN_{one}"] for one in ("PID", "FDS", "FDNAMES"))]
os.write(2, " ".join(found).encode())
"""


@pytest.fixture(autouse=True)
def closed_at_exec() -> Iterator[None]:
    """No program inherits what this process has from the one that runs the tests, as a launcher closes it."""
    inherited = [number for number in map(int, os.listdir("/proc/self/fd")) if number > 2]
    changed = [number for number in inherited if _is_inheritable(number)]
    for number in changed:
        os.set_inheritable(number, False)
    yield
    for number in changed:
        os.set_inheritable(number, True)


def _is_inheritable(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # that of listdir
        return False


@both_ways
def test_program_has_descriptors_0_1_2_and_no_others(way: dict[str, Any]) -> None:
    with socket.socket() as one:
        os.set_inheritable(one.fileno(), False)
        listed = printed(program("/bin/ls", "/proc/self/fd", **way))
    assert listed.split() == ["0", "1", "2", "3"], "3 is the directory that ls(1) reads"


@both_ways
def test_program_finds_no_signal_ignored_or_blocked(way: dict[str, Any]) -> None:
    ignored = {signal.SIGPIPE, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ignored}
    spawn._ignored.cache_clear()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGCHLD})
    try:
        lines = printed(program("/bin/grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status", **way)).splitlines()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        spawn._ignored.cache_clear()
    found = {line.split()[0]: int(line.split()[1], 16) & ~OF_THE_C_LIBRARY for line in lines}
    assert found == {"SigBlk:": 0, "SigIgn:": 0}


@both_ways
def test_program_dies_of_sigpipe(way: dict[str, Any]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    pid = spawn.start(program("/usr/bin/yes", **way), {}, (writing, writing, writing))
    os.close(writing)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGPIPE


@both_ways
def test_program_leads_a_session_and_a_process_group(way: dict[str, Any]) -> None:
    pid, group, session = printed(shell("exec ps -o pid=,pgid=,sid= -p $$", **way)).split()
    assert pid == group == session


@both_ways
@pytest.mark.parametrize("umask", [0o22, 0o27])
def test_program_has_the_umask_and_directory_of_the_config_and_the_launcher_keeps_its_own(
    way: dict[str, Any], umask: int, tmp_path: Path
) -> None:
    before = os.umask(spawn.UMASK)
    here = Path.cwd()
    os.chdir("/")
    try:
        shown = printed(shell("umask; pwd", umask=umask, directory=str(tmp_path), **way))
        assert os.getcwd() == "/"
        assert os.umask(spawn.UMASK) == spawn.UMASK
    finally:
        os.chdir(here)
        os.umask(before)
    assert shown.split() == [f"{umask:04o}", str(tmp_path)]


@both_ways
def test_program_has_the_environment_of_the_config_and_what_is_about_the_peer(way: dict[str, Any]) -> None:
    started = program("/usr/bin/env", environment={"A": "a b", "Ä": "ö"}, **way)
    assert sorted(printed(started, facts={"REMOTE_HOST": "192.0.2.7"}).splitlines()) == [
        "A=a b",
        "REMOTE_HOST=192.0.2.7",
        "Ä=ö",
    ]


@both_ways
def test_program_has_its_own_name_as_the_config_says(way: dict[str, Any]) -> None:
    show = ("/bin/sh", "-c", "tr '\\0' '|' < /proc/$$/cmdline")
    assert printed(program(*show, argv0="-sh", **way)).startswith("-sh|-c|")
    assert printed(program(*show, **way)).startswith("sh|-c|")


def test_program_has_the_priority_of_the_config() -> None:
    assert printed(program("/usr/bin/nice", nice=7)) == str(os.getpriority(os.PRIO_PROCESS, 0) + 7)


@pytest.mark.parametrize(
    ("name", "row", "soft", "hard"),
    [
        ("CPU", "Max cpu time", 100, 200),
        ("AS", "Max address space", 2**30, 2**31),
        ("NOFILE", "Max open files", 64, 128),
        ("FSIZE", "Max file size", 4096, 8192),
        ("STACK", "Max stack size", 2**20, 2**21),
        ("CORE", "Max core file size", 0, 4096),
    ],
)
def test_program_has_each_limit_soft_and_hard(name: str, row: str, soft: int, hard: int) -> None:
    lines = printed(program("/bin/cat", "/proc/self/limits", limits={name: (soft, hard)})).splitlines()
    [line] = [line for line in lines if line.startswith(row + " ")]
    assert line.removeprefix(row).split()[:2] == [str(soft), str(hard)]
    assert resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) != (soft, hard), "the launcher has its own"


def test_memory_limit_below_the_size_of_the_launcher_holds_for_the_program_alone() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = 8 * 2**20
    assert limit < pages * resource.getpagesize()
    assert printed(shell("ulimit -v", limits={"AS": (limit, limit)})) == str(limit // 1024)


def test_memory_limit_too_small_for_the_program_itself_ends_it_alone() -> None:
    started = program("/bin/true", limits={"AS": (4096, 4096)})
    try:
        assert output(started)[1] != 0
    except StartError as error:
        assert "cannot start /bin/true" in str(error)
    assert printed(shell("echo next")) == "next"


@pytest.mark.slow
def test_limit_of_processor_time_counts_from_the_start_of_the_program() -> None:
    said, code = output(shell("while :; do :; done", limits={"CPU": (1, 2)}))
    assert (said, code) == ("", -signal.SIGXCPU)


@pytest.mark.parametrize("limits", [{}, {"CORE": (0, 0), "NOFILE": (64, 64)}], ids=["plain", "limits"])
@pytest.mark.parametrize("given", [None, 3, 4, 5, 9])
def test_listener_is_0_1_and_3_as_the_service_manager_passes_one(
    given: int | None, limits: dict[str, tuple[int, int]]
) -> None:
    """Whatever numbers the listener, and the pipe for an error of the start, have before."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            number = listener.fileno()
            if given is not None:
                held = os.dup2(number, 100, inheritable=False), os.dup2(writing, 101, inheritable=False)
                os.closerange(3, 100)
                number = os.dup2(held[0], given, inheritable=False)
                writing = os.dup2(held[1], given + 1, inheritable=False)
                os.closerange(100, 102)
            started = program(sys.executable, "-SIc", LIST, limits=limits)
            pid = spawn.start(started, {}, (number, number, writing), number)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os.close(writing)
        with open(reading) as pipe:
            *numbers, last = pipe.read().splitlines()
        assert os.waitpid(child, 0)[1] == 0
        inode = os.fstat(listener.fileno()).st_ino
    process, *variables = last.split()
    assert variables == [process, "1", "test"]
    found = dict(map(str.split, numbers))
    assert sorted(found) == ["0", "1", "2", "3"]
    assert {found[number] for number in "013"} == {str(inode)}


def test_program_that_has_a_listener_runs_only_after_its_process_was_told(tmp_path: Path) -> None:
    file = tmp_path / "ran"
    started = program("/bin/touch", file)
    told: list[int] = []

    def fail(pid: int) -> None:
        told.append(pid)
        raise OSError(errno.EPIPE, "as if this process had been killed")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        with pytest.raises(StartError):
            spawn.start(started, {}, (number, number, 2), number, fail)
        assert os.waitstatus_to_exitcode(os.waitpid(told[0], 0)[1]) == 127
        assert not file.exists()
        pid = spawn.start(started, {}, (number, number, 2), number, told.append)
        assert told[1:] == [pid]
        assert os.waitpid(pid, 0)[1] == 0
        assert file.exists()


def failure(started: Any) -> StartError:
    """Why it cannot be started. Nothing of the attempt is left."""
    before = os.listdir("/proc/self/fd"), children()
    with pytest.raises(StartError) as raised:
        spawn.start(started, {}, (0, 1, 2))
    assert (os.listdir("/proc/self/fd"), children()) == before
    return raised.value


def children() -> list[str]:
    """The children of this process, zombies too (proc(5))."""
    return [pid for file in Path("/proc/self/task").glob("*/children") for pid in file.read_text().split()]


@both_ways
def test_program_that_is_missing_is_named(way: dict[str, Any], tmp_path: Path) -> None:
    assert str(failure(program("/no/such", **way))) == "cannot start /no/such: No such file or directory"
    assert str(failure(program(tmp_path, **way))).startswith(f"cannot start {tmp_path}: Permission denied to user ")


@both_ways
def test_program_that_is_not_executable_is_named_with_the_user(way: dict[str, Any], tmp_path: Path) -> None:
    file = script(tmp_path, "#!/bin/sh\n", 0o644)
    who = user_name(os.geteuid())
    assert str(failure(program(file, **way))) == (
        f"cannot start {file}: Permission denied to user {who}: it has to be executable, and its directories too"
    )


@both_ways
def test_program_with_a_missing_interpreter_is_told_so(way: dict[str, Any], tmp_path: Path) -> None:
    file = script(tmp_path, "#!/no/such/interpreter\n")
    assert str(failure(program(file, **way))) == (
        f"cannot start {file}: No such file or directory: its interpreter (the line #!) does not exist, or a library "
        "that it needs"
    )


@both_ways
def test_program_without_an_interpreter_is_told_so(way: dict[str, Any], tmp_path: Path) -> None:
    file = script(tmp_path, "echo x\n")
    assert str(failure(program(file, **way))) == (
        f"cannot start {file}: Exec format error: it has no line #!, and is no program of this machine"
    )


@both_ways
def test_directory_that_is_missing_is_named(way: dict[str, Any]) -> None:
    assert str(failure(program("/bin/true", directory="/no/such", **way))) == (
        "cannot start /bin/true: /no/such: No such file or directory"
    )


@both_ways
def test_arguments_that_are_too_long_are_an_error(way: dict[str, Any]) -> None:
    error = failure(program("/bin/true", *["x" * 4096] * 2000, **way))
    assert (str(error), error.is_shortage) == ("cannot start /bin/true: Argument list too long", False)


@both_ways
@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOMEM])
def test_lack_of_processes_or_memory_is_a_shortage(
    way: dict[str, Any], number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_spawn", fail)
    monkeypatch.setattr(os, "fork", fail)
    error = failure(program("/bin/true", **way))
    assert (str(error), error.is_shortage) == (f"cannot start /bin/true: {os.strerror(number)}", True)


@both_ways
def test_user_with_too_many_processes_is_a_shortage(way: dict[str, Any]) -> None:
    need_root()

    def start() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        with pytest.raises(StartError, match="cannot start /bin/true: Resource temporarily unavailable") as raised:
            spawn.start(program("/bin/true", **way), {}, (0, 1, 2))
        assert raised.value.is_shortage

    as_user(ALEX, start)


def test_lack_of_descriptors_is_a_shortage() -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        with pytest.raises(StartError, match="Too many open files") as raised:
            spawn.start(program("/bin/true", nice=1), {}, (0, 1, 2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert raised.value.is_shortage


def test_limit_above_the_hard_one_is_an_error_for_an_ordinary_user() -> None:
    need_root()

    def start() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with pytest.raises(StartError, match="cannot start /bin/true: .*limit.*: Operation not permitted"):
            spawn.start(program("/bin/true", limits={"CORE": (1, LARGEST)}), {}, (0, 1, 2))

    as_user(ALEX, start)


def test_priority_that_only_root_may_set_is_an_error_for_an_ordinary_user() -> None:
    need_root()

    def start() -> None:
        with pytest.raises(StartError, match="cannot start /bin/true: .*(not permitted|denied)") as raised:
            spawn.start(program("/bin/true", nice=-5), {}, (0, 1, 2))
        assert "executable" not in str(raised.value)

    as_user(ALEX, start)
