"""Services that start programs: what this host has, the rights that they take, and limits that cannot hold."""

import pwd
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from netd.admission.address_filter import Instruction
from netd.config import loader
from netd.config.problems import InvalidConfigError, Problem
from netd.transport.socket_filter import attach
from tests.support.directories import open_directory
from tests.support.programs import need, need_root
from tests.support.users import ALEX, as_user


@pytest.fixture
def directory() -> Iterator[Path]:
    with open_directory() as made:
        made.chmod(0o755)
        yield made


class Found:
    """The problems and notices of a service of the type ``exec``."""

    def __init__(self, directory: Path, options: str, more: str = "", listen: str = "tcp://*:7", top: str = "") -> None:
        file = directory / "netd.yaml"
        if options:  # else the one that is there
            more = f", {more}" if more else ""
            text = f"{top}\nservices:\n  x: {{type: exec, listen: ['{listen}'], options: {{{options}}}{more}}}\n"
            file.write_text(text)
            file.chmod(0o644)
        problems: tuple[Problem, ...] = ()
        try:
            notices = loader.load(file).notices
        except InvalidConfigError as error:
            problems, notices = error.found, error.notices
        self.problems = [_text(problem) for problem in problems]
        self.notices = [_text(notice) for notice in notices if "can signal" not in notice.message]
        self.risks = [_text(notice) for notice in notices if "can signal" in notice.message]
        self.places = {_text(problem).partition(":")[0]: problem.mark for problem in (*problems, *notices)}


def _text(problem: Problem) -> str:
    return f"{problem.subject}: {problem.message}".removeprefix("services.x.")


def problems(directory: Path, options: str, more: str = "", listen: str = "tcp://*:7", top: str = "") -> list[str]:
    return Found(directory, options, more, listen, top).problems


CAT = "command: [/bin/cat]"
LISTENER = f"{CAT}, mode: listener"


@pytest.mark.parametrize(
    ("options", "more", "listen"),
    [
        (CAT, "", "tcp://*:7"),
        (f"{CAT}, umask: 022", "", "unix:///run/x"),
        (f"{CAT}, umask: 27, stderr: null, directory: /tmp", "limits: {per_source: 3, lifetime: 3s}", "tcp://*:7"),
        (f"{CAT}, relay: true", "limits: {idle: 3s, bytes: 3MiB}", "tcp://*:7"),
        (CAT, "limits: {idle: off, bytes: off}", "tcp://*:7"),
        (LISTENER, "", "udp://*:7"),
        (LISTENER, "access: {allow: [10.0.0.0/8]}", "udp://*:7"),
        (LISTENER, "", "tcp://*:7"),
        (f"{LISTENER}, stderr: null", "limits: {drain: 3s, rate: off}, refuse: close", "unixgram:///run/x"),
    ],
)
def test_valid_service_has_no_problem(directory: Path, options: str, more: str, listen: str) -> None:
    found = Found(directory, options, more, listen)
    assert (found.problems, found.notices) == ([], [])


def test_command_that_this_host_does_not_have_is_a_problem_at_its_place(directory: Path) -> None:
    found = Found(directory, "command: [/bin/none, x]")
    assert found.problems == ["options.command[0]: the program /bin/none does not exist"]
    assert found.places["options.command[0]"][1:] == (3, 62)


def test_disabled_service_may_lack_its_program_on_this_host(directory: Path) -> None:
    found = Found(directory, "command: [/bin/none], user: no-such", "enabled: false")
    assert found.problems == []
    assert found.notices == ["options.user: there is no user 'no-such'"]
    found = Found(directory, "command: [/bin/none]", "enabled: false, limits: {idle: 3s}")
    assert found.notices == ["options.command[0]: the program /bin/none does not exist"]
    assert len(found.problems) == 1, "what cannot hold is a problem also there"
    assert Found(directory, f"{CAT}, user: daemon", "enabled: false", top="daemon: {user: daemon}").risks == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("directory: /proc/none", "options.directory: there is no directory /proc/none"),
        ("user: no-such-user", "options.user: there is no user 'no-such-user'"),
        ("group: no-such-group", "options.group: there is no group 'no-such-group'"),
        ("groups: [root, no-such-group]", "options.groups[1]: there is no group 'no-such-group'"),
        ("root: /proc/none", "options.root: there is no directory /proc/none"),
        ("root: /proc, directory: /none", "options.directory: there is no directory /none in the root directory /proc"),
    ],
)
def test_account_or_directory_that_this_host_does_not_have_is_a_problem(
    directory: Path, options: str, problem: str
) -> None:
    need_root()
    assert problem in problems(directory, f"{CAT}, {options}")


def test_command_is_looked_up_in_the_root_directory(directory: Path) -> None:
    need_root()
    assert problems(directory, f"{CAT}, root: {directory}") == [
        f"options.command[0]: the program /bin/cat does not exist in the root directory {directory}"
    ]
    assert problems(directory, "command: [/cat], root: /bin") == []


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("user: root", "options.user: only root may become 'root'"),
        ("group: '0'", "options.group: only root may change to the group '0'"),
        ("groups: [tty]", "options.groups: only root may change the groups of a process"),
        ("groups: false", "options.groups: only root may change the groups of a process"),
        ("root: /bin", "options.root: only root may chroot to /bin"),
        ("nice: -1", "options.nice: only root may start a program with the priority -1"),
    ],
)
def test_right_that_netd_lacks_is_a_problem(directory: Path, options: str, problem: str) -> None:
    need_root()
    assert problem not in problems(directory, f"{CAT}, {options}")

    def refused() -> None:
        assert problem in Found(directory, "").problems

    as_user(ALEX, refused)


def _assert_no_problem(directory: Path) -> None:
    assert Found(directory, "").problems == []


def test_netd_without_rights_starts_programs_as_itself(directory: Path) -> None:
    need_root()
    account = pwd.getpwnam("nobody")
    Found(directory, f"{CAT}, user: nobody, group: {account.pw_gid}, nice: 3")
    as_user(account.pw_uid, lambda: _assert_no_problem(directory))
    Found(directory, CAT)

    def warned() -> None:
        found = Found(directory, "")
        assert (found.problems, found.notices) == ([], [])
        assert found.risks == ["options: the program runs as the user of netd, so it can signal the processes of netd"]

    as_user(ALEX, warned)


def test_program_with_the_user_of_the_workers_is_a_notice(directory: Path) -> None:
    need_root()
    workers = "daemon: {user: daemon}"
    found = Found(directory, f"{CAT}, user: daemon", top=workers)
    assert found.risks == ["options: the program runs as daemon, as the workers do, so it can signal them"]
    assert Found(directory, CAT, top=workers).risks == []
    assert Found(directory, f"{CAT}, user: root", top=workers).risks == []
    try:
        pwd.getpwnam("netd")
        has_user = True
    except KeyError:
        has_user = False
    assert bool(Found(directory, CAT).risks) != has_user, (
        "without the user netd, workers run as the default of programs"
    )


def test_program_that_its_user_may_write_is_a_notice(directory: Path) -> None:
    need_root()
    program = directory / "x"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o777)
    found = Found(directory, f"command: [{program}], user: daemon")
    assert (found.problems, found.notices) == (
        [],
        [f"options.command[0]: the program {program} can be changed: every user may write {program}"],
    )


@pytest.mark.parametrize("listen", ["udp://*:7", "unixgram:///run/x"])
def test_datagrams_take_a_program_that_listens(directory: Path, listen: str) -> None:
    assert problems(directory, CAT, listen=listen) == [
        "listen[0]: datagrams have no connections: a program gets them with the option mode: listener only"
    ]


@pytest.mark.parametrize("limit", ["idle: 3s", "bytes: 3"])
def test_limit_on_octets_that_netd_does_not_see_is_a_problem(directory: Path, limit: str) -> None:
    key = limit.partition(":")[0]
    assert problems(directory, CAT, f"limits: {{{limit}}}") == [
        f"limits.{key}: netd does not see what passes over a connection that a program has"
    ]
    assert problems(directory, CAT, top=f"defaults: {{limits: {{{limit}}}}}") == []


@pytest.mark.parametrize(
    ("key", "more"),
    [
        *(
            (f"limits.{limit.partition(':')[0]}", f"limits: {{{limit}}}")
            for limit in (
                "connections: 3",
                "per_source: 3",
                "rate: 3/s",
                "total_rate: 3/s",
                "idle: 3s",
                "lifetime: 3s",
                "bytes: 3",
            )
        ),
        ("refuse", "refuse: {line: busy}"),
        ("refuse", "refuse: reset"),
        ("amplify", "amplify: [local]"),
        ("load", "load: {below: 8.0}"),
        ("reply_guard", "reply_guard: true"),
        ("access.times", "access: {times: ['08:00-09:00']}"),
    ],
)
def test_rule_that_cannot_hold_for_a_program_that_listens_is_a_problem(directory: Path, key: str, more: str) -> None:
    assert problems(directory, LISTENER, more, "udp://*:7") == [
        f"{key}: with mode: listener the program accepts, so netd cannot hold this"
    ]


def test_times_of_the_defaults_cannot_hold_either(directory: Path) -> None:
    top = "defaults: {access: {times: ['08:00-09:00']}}"
    assert len(problems(directory, LISTENER, listen="udp://*:7", top=top)) == 1
    assert problems(directory, LISTENER, "access: {times: []}", "udp://*:7", top) == []


@pytest.mark.parametrize("option", ["relay: true", "wait_for_data: 1s", "stderr: peer"])
def test_option_of_connections_is_a_problem_for_a_program_that_listens(directory: Path, option: str) -> None:
    [problem] = problems(directory, f"{LISTENER}, {option}", listen="udp://*:7")
    assert problem.startswith(f"options.{option.partition(':')[0]}: ")


def test_accounts_in_rules_cannot_hold_for_a_program_that_listens(directory: Path) -> None:
    rules = "access: {allow: [10.0.0.0/8, 'uid:0'], deny: ['gid:0']}"
    found = problems(directory, LISTENER, rules, "udp://*:7")
    assert [problem.partition(":")[0] for problem in found] == ["access.allow[1]", "access.deny[0]"]
    assert problems(directory, CAT, rules, "unix:///run/x") == []


def test_rules_cannot_hold_for_unix_peers_of_a_program_that_listens(directory: Path) -> None:
    for listen in ("unix:///run/x", "unixgram:///run/x"):
        [problem] = problems(directory, LISTENER, "access: {allow: [10.0.0.0/8]}", listen)
        assert problem.endswith("a socket filter sees addresses only, and peers over UNIX have none")
        assert problems(directory, LISTENER, listen=listen) == []


def test_rules_for_a_tcp_socket_of_a_program_take_a_right(directory: Path) -> None:
    need_root()
    Found(directory, LISTENER, "access: {allow: [10.0.0.0/8]}")

    def check() -> None:
        found = Found(directory, "").problems
        with socket.socket() as tried:
            try:
                attach(tried, [Instruction(0x06, 0, 0, 1)])
                assert found == []
            except PermissionError:  # Linux since June 2026
                assert found == [
                    "listen[0]: access rules take the right CAP_NET_ADMIN where a program has the TCP socket"
                ]

    check()
    as_user(ALEX, check)


def test_rules_that_need_too_long_a_filter_are_a_problem(directory: Path) -> None:
    need_root()
    for number in (6000, 20000):
        rules = ", ".join(f"10.{one >> 8}.{one & 255}.{one % 199}" for one in range(number))
        [problem] = problems(directory, LISTENER, f"access: {{deny: [{rules}]}}", "udp://*:7")
        assert problem.startswith(f"access: {number} rules ")
        assert problem.endswith(" of a socket filter, the kernel takes 4096") == (number == 6000)


@pytest.mark.slow  # processes
def test_netd_with_no_new_privs_refuses_programs_that_need_new_ones(directory: Path) -> None:
    need("setpriv")
    Found(directory, f"{CAT}, no_new_privileges: false")
    check = (sys.executable, "-m", "netd", "check", "-c", str(directory / "netd.yaml"))
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0
    done = subprocess.run(("setpriv", "--no-new-privs", *check), capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "services.x.options.no_new_privileges: it cannot be false: netd itself was started without" in done.stderr
    assert "under systemd see the drop-in programs.conf" in done.stderr


def test_netd_that_may_not_change_priorities_refuses_one(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: int) -> None:
        raise PermissionError

    assert problems(directory, f"{CAT}, nice: 5") == []
    monkeypatch.setattr("os.setpriority", refuse)
    assert problems(directory, f"{CAT}, nice: 5") == [
        "options.nice: this process may not change priorities: a filter of system calls forbids setpriority(2)"
    ]
