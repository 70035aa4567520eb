"""The options of programs: the values that each accepts."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netd.errors import InvalidValueError
from netd.services.exec.options import ProgramOptions


def options(**values: object) -> ProgramOptions:
    """Options with these values, from JSON as in the loader."""
    return ProgramOptions.model_validate_json(json.dumps({"command": ["/bin/cat"]} | values))


def failure(**values: object) -> str:
    with pytest.raises(ValidationError) as raised:
        options(**values)
    return "; ".join(str(error.get("ctx", {}).get("error", error["msg"])) for error in raised.value.errors())


def test_command_is_a_list_that_begins_with_a_path() -> None:
    for command in (["/bin/cat"], ["/bin/sh", "-c", "echo a\necho b", ""], ["/x"] * 256):
        assert options(command=command).command == tuple(command)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/bin/cat", "expected a list such as [/usr/bin/rsync, --daemon], got '/bin/cat'; did you mean [/bin/cat]?"),
        ("/bin/cat -n x", "did you mean [/bin/cat, -n, x]?"),
        ("/bin/sh -c 'x; y'", "expected a list"),
        ([], "expected a list"),
        (None, "expected a list"),
        (["cat"], "expected an absolute path, got 'cat'"),
        (["/bin/cat\0"], "expected an absolute path"),
        (["/bin/sleep", 10], 'expected text, got 10; write it in quotes: "10"'),
        (["/bin/echo", True], "expected text, got true; write it in quotes"),
        (["/bin/echo", None], "expected text, got nothing"),
        (["/bin/echo", ["x"]], "expected text, got ['x']"),
        (["/bin/echo", "a\0b"], "without NUL"),
        (["/bin/echo", "x" * 4097], "expected text of at most 4096 characters"),
        (["/" + "x" * 4096], "expected text of at most 4096 characters"),
        (["/x"] * 257, "expected a command of at most 256 words, got 257"),
    ],
)
def test_other_commands_are_refused(command: object, message: str) -> None:
    assert message in failure(command=command)


def test_command_is_required() -> None:
    with pytest.raises(ValidationError, match="command"):
        ProgramOptions.model_validate_json("{}")


@pytest.mark.parametrize(
    ("value", "mask"),
    [("022", 0o022), ("22", 0o022), ("0o27", 0o027), ("0", 0), ("000", 0), ("0777", 0o777), (0o77, 0o77), (0, 0)],
)
def test_umask_is_octal_text_or_the_mask_itself(value: object, mask: int) -> None:
    assert options(umask=value).umask == mask


@pytest.mark.parametrize("value", ["", "8", "08", "0o8", "01777", "u=rwx", "-1", -1, 512, True, None, 2.0, [0]])
def test_other_masks_are_refused(value: object) -> None:
    assert "expected a mask in octal such as 022 or 077, got " in failure(umask=value)


def test_groups_are_all_none_or_a_list() -> None:
    for given_groups, groups in ((True, True), (False, False), (["tty", 5], ("tty", "5")), ([], ())):
        assert options(groups=given_groups).groups == groups
    assert failure(groups="tty").endswith("got 'tty'; did you mean [tty]?")
    assert "expected the name or number of an account, got 'a b'" in failure(groups=["a b"])
    assert "at most 64 groups" in failure(groups=[str(number) for number in range(65)])


def test_user_and_group_are_accounts() -> None:
    assert (options(user="daemon", group=2).user, options(group=2).group) == ("daemon", "2")
    assert "expected the name or number of an account" in failure(user=True)


@pytest.mark.parametrize("key", ["root", "directory"])
def test_directories_are_absolute_paths(key: str) -> None:
    assert getattr(options(**{key: "/srv"}), key) == "/srv"
    assert failure(**{key: "srv"}) == "expected an absolute path, got 'srv'"


def test_nice_has_a_range() -> None:
    assert [options(nice=value).nice for value in (-20, 19)] == [-20, 19]
    assert all(failure(nice=value) for value in (-21, 20, "5", True, 1.5))


def test_name_of_the_program_is_text() -> None:
    assert options(argv0="-sh").argv0 == "-sh"
    assert all(failure(argv0=value) for value in ("", "a\0", 7))


def test_environment_is_text_by_name() -> None:
    assert options(environment={"A_1": "x=y\n", "_b": ""}).environment == {"A_1": "x=y\n", "_b": ""}
    for name in ("", "1A", "A-B", "A=B", "A\n", "Ä", "A" * 129):
        assert failure(environment={name: "x"}), name
    for value in (7, True, None, "a\0b", "x" * 4097):
        assert failure(environment={"A": value}), value
    assert failure(environment={f"A{number}": "" for number in range(257)})


def test_variables_of_netd_are_passed_by_name() -> None:
    assert options(pass_environment=["TZ", "LISTENER", "http_proxy"]).pass_environment == (
        "TZ",
        "LISTENER",
        "http_proxy",
    )
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"):
        assert failure(pass_environment=[name]) == f"{name} is for netd alone: its service manager has set it"
    assert failure(pass_environment=["A=B"])


def test_limits_are_times_sizes_and_counts() -> None:
    limits = options(
        limits={"cpu": "2m", "memory": "4GiB", "files": 64, "file_size": 0, "stack": "8MiB", "core": "0"}
    ).limits
    assert (limits.cpu, limits.memory, limits.files) == (120, 2**32, 64)
    assert (limits.file_size, limits.stack, limits.core) == (0, 2**23, 0)
    assert set(options(limits=dict.fromkeys(limits.model_fields_set)).limits.model_dump().values()) == {None}


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"cpu": "1500ms"}, "expected whole seconds, at least 1s"),
        ({"cpu": "500ms"}, "expected whole seconds, at least 1s"),
        ({"cpu": 5}, "expected a duration"),
        ({"memory": "512KiB"}, "expected at least 1MiB, got '512KiB'"),
        ({"memory": 0}, "expected at least 1MiB, got 0"),
        ({"memory": "9999999999GiB"}, "expected at most 9223372036854775807, got"),
        ({"stack": False}, "expected a size such as 512 or 64KiB, got false"),
        ({"core": "off"}, "expected a size such as 512 or 64KiB, got 'off'"),
        ({"files": 7}, "greater than or equal to 8"),
        ({"processes": 7}, "Extra inputs"),
    ],
)
def test_implausible_limits_are_refused(limits: dict[str, Any], message: str) -> None:
    assert message in failure(limits=limits)


def test_stop_is_a_signal_and_a_time() -> None:
    stop = options(stop={"signal": "INT", "after": "1m"}).stop
    assert (stop.signal, stop.after) == ("INT", 60.0)
    assert all(failure(stop=value) for value in ({"signal": "STOP"}, {"signal": 15}, {"after": "0s"}))


@given(
    command=st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=9), max_size=3),
    umask=st.integers(0, 0o777),
    groups=st.one_of(st.booleans(), st.lists(st.sampled_from(["tty", "0"]), max_size=2)),
    limits=st.dictionaries(st.sampled_from(["memory", "file_size", "stack", "core"]), st.integers(2**20, 2**63 - 1)),
)
def test_options_are_the_same_after_they_are_written(**values: Any) -> None:
    values["command"] = ["/x", *values["command"]]
    read = options(**values)
    assert ProgramOptions.model_validate_json(json.dumps(read.model_dump(mode="json"))) == read


def test_error_of_a_word_is_that_of_the_operator() -> None:
    with pytest.raises(ValidationError) as raised:
        options(command=["/x", 1])
    assert isinstance(raised.value.errors()[0]["ctx"]["error"], InvalidValueError)
