"""Programs: identity, arguments, environment, limits."""

from pathlib import Path

import pytest

from tests.importers.hosts import KnownHost
from tests.importers.xinetd.reading import imported

CAT = ("user = nobody", "server = /bin/cat")
PLAIN = {"command": ["/bin/cat"], "user": "nobody", "groups": False, "stderr": "peer"}


@pytest.mark.parametrize(
    ("lines", "more"),
    [
        ((), {}),
        (("groups = yes",), {"groups": None}),
        (("user = 1000",), {}),
        (("group = tty",), {"group": "tty"}),
        (("umask = 77",), {"umask": "077"}),
        (("nice = -5",), {"nice": -5}),
        (("nice = 40",), {"nice": 19}),
        (("env = A=1 B=", "env += C=a=b"), {"environment": {"A": "1", "B": "", "C": "a=b"}}),
        (("passenv = LANG TZ LANG",), {"pass_environment": ["LANG", "TZ"]}),
        (("passenv =",), {}),
        (("rlimit_as = 256M", "rlimit_cpu = 15"), {"limits": {"memory": "256MiB", "cpu": "15s"}}),
        (("rlimit_files = 64", "rlimit_stack = 8m"), {"limits": {"files": 64, "stack": "8MiB"}}),
        (("rlimit_as = UNLIMITED",), {}),
        (("server_args = -c 'a b'",), {"command": ["/bin/cat", "-c", "'a", "b'"]}),
    ],
)
def test_attributes_become_options(tmp_path: Path, lines: tuple[str, ...], more: dict[str, object]) -> None:
    result = imported(tmp_path, *CAT, *lines).services["x"]
    expected = {key: value for key, value in (PLAIN | more).items() if value is not None}
    assert result["options"] == expected
    assert (result["type"], "enabled" in result) == ("exec", False)


def test_a_number_is_the_group_too(tmp_path: Path) -> None:
    result = imported(tmp_path, "user = 1000", "server = /bin/cat")
    assert (result.services["x"]["options"]["user"], result.services["x"]["options"]["group"]) == ("1000", "1000")
    assert "the group is 1000 too" in result.about("user = 1000")[0]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (("server = /bin/cat",), "user is missing"),
        (("user = no-such", "server = /bin/cat"), "there is no user no-such"),
        (("user = root", "group = no-such", "server = /bin/cat"), "there is no group no-such"),
        (("user = root", "server = /missing"), "/missing is not there"),
        ((*CAT, "env = A=1", "env -= A=1"), "it has no -="),
        ((*CAT, "env = A"), "A is no NAME=VALUE"),
        ((*CAT, "env = a-b=1"), "no variable a-b"),
        ((*CAT, "nice = x"), "x is no number"),
        ((*CAT, "umask = 1777"), "no mask"),
        ((*CAT, "groups = maybe"), "neither yes nor no"),
        ((*CAT, "rlimit_as = 1G"), "1G is no limit"),
        ((*CAT, "rlimit_as = 4k"), "netd takes 1048576 and more"),
        ((*CAT, "flags = NAMEINARGS"), "NAMEINARGS needs server_args"),
        ((*CAT, "server_args = cat -n", "flags = NAMEINARGS"), "NAMEINARGS stands behind server_args"),
    ],
)
def test_mistakes_and_losses_switch_the_service_off(tmp_path: Path, lines: tuple[str, ...], told: str) -> None:
    result = imported(tmp_path, *lines, host=KnownHost("/missing"))
    assert result.services["x"]["enabled"] is False
    assert told in "\n".join(result.lines)


def test_the_name_of_the_program_is_the_first_argument_with_its_flag(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "flags = NAMEINARGS", "server_args = cat -n").services["x"]["options"]
    assert (result["command"], "argv0" in result) == (["/bin/cat", "-n"], False)
    result = imported(tmp_path, *CAT, "flags = NAMEINARGS", "server_args = kitty -n").services["x"]["options"]
    assert (result["command"], result["argv0"]) == (["/bin/cat", "-n"], "kitty")


def test_programs_that_log_users_in_may_gain_rights(tmp_path: Path) -> None:
    result = imported(tmp_path, "user = root", "server = /usr/sbin/in.telnetd")
    assert result.services["x"]["options"]["no_new_privileges"] is False
    assert "no_new_privileges is false" in result.about("server = /usr/sbin/in.telnetd")[0]


def test_variables_for_netd_alone_are_not_passed_on(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "passenv = LANG NOTIFY_SOCKET")
    assert result.services["x"]["options"]["pass_environment"] == ["LANG"]
    assert "not pass NOTIFY_SOCKET on" in result.about("passenv = LANG NOTIFY_SOCKET")[0]


@pytest.mark.parametrize(
    "line", ["server = cat", "server_args = " + " ".join("x" * 300), "user = a/b", "server_args = \udce9"]
)
def test_a_command_that_netd_cannot_have_is_left_out(tmp_path: Path, line: str) -> None:
    (tmp_path / "xinetd.conf").write_bytes(b"")
    lines = [one for one in (*CAT, line) if one == line or one.partition(" ")[0] != line.partition(" ")[0]]
    if "\udce9" in line:
        lines[-1] = "server_args = {{"  # a template in place of octets that a text file of a test cannot have
    assert imported(tmp_path, *lines).services == {}


def test_limits_that_netd_does_not_have_are_told(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "rlimit_data = 1m", "rlimit_rss = 1m")
    assert [line[:12] for line in result.about("rlimit_data = 1m")] == ["not imported"]
    assert [line[:4] for line in result.about("rlimit_rss = 1m")] == ["note"]
    assert "enabled" not in result.services["x"]
    result = imported(tmp_path, *CAT, "rlimit_data = UNLIMITED")
    assert [line[:4] for line in result.about("rlimit_data = UNLIMITED")] == ["note"]
    assert imported(tmp_path, *CAT, "rlimit_data = much").services["x"]["enabled"] is False


def test_descriptors_are_limited_in_the_fork_only(tmp_path: Path) -> None:
    result = imported(tmp_path, *CAT, "rlimit_files = 64", dialect="rhel")
    assert "limits" not in result.services["x"]["options"]
