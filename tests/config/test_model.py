"""The sections of a config: values that each key accepts."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from netd.config.model import DaemonSection, LogSection, ServiceSection
from netd.shared.memory import MOST_WORKERS
from netd.values import Model


def read(model: type[Model], key: str, value: object) -> Any:
    """The value of a key after validation, from JSON as in the loader."""
    return getattr(model.model_validate_json(json.dumps({key: value})), key)


def failure(model: type[Model], **values: object) -> str:
    with pytest.raises(ValidationError) as raised:
        model.model_validate_json(json.dumps(values))
    return "; ".join(str(error.get("ctx", {}).get("error", error["msg"])) for error in raised.value.errors())


def test_workers_are_a_number_or_auto() -> None:
    assert [read(DaemonSection, "workers", value) for value in (1, MOST_WORKERS, "auto")] == [1, MOST_WORKERS, "auto"]
    for value in (0, MOST_WORKERS + 1, True, "2", None):
        assert failure(DaemonSection, workers=value).startswith(f"expected a number from 1 to {MOST_WORKERS}, or auto")


@pytest.mark.parametrize("value", ["x", "./x", "", "/a\0b", 7, False])
def test_path_is_absolute(value: object) -> None:
    assert read(DaemonSection, "pid_file", "/x/y") == "/x/y"
    assert failure(DaemonSection, pid_file=value).startswith("expected an absolute path, got ")


def test_control_socket_is_a_path_the_default_or_off() -> None:
    assert [read(DaemonSection, "control", value) for value in ("/x", "", "off", False)] == ["/x", "", None, None]
    assert failure(DaemonSection, control="x") == "expected an absolute path, got 'x'"


@pytest.mark.parametrize("value", ["netd", "0", "a.b-c_d", "machine$"])
def test_account_is_a_name_or_number(value: str) -> None:
    assert read(DaemonSection, "user", value) == value


def test_number_of_an_account_needs_no_quotes() -> None:
    for key in ("user", "group", "control_group"):
        assert read(DaemonSection, key, 65534) == "65534"


@pytest.mark.parametrize("value", ["", "-x", "a b", "a/b", "x" * 34, "x\n", -1, 2**32 - 1, True, 1.5])
def test_account_without_a_valid_name_is_refused(value: object) -> None:
    assert failure(DaemonSection, user=value).startswith("expected the name or number of an account, got ")


@pytest.mark.parametrize(("value", "seconds"), [("100ms", 0.1), ("1h", 3600.0)])
def test_heartbeat_has_a_range(value: str, seconds: float) -> None:
    assert read(DaemonSection, "heartbeat", value) == seconds
    for other in ("99ms", "61m"):
        assert failure(DaemonSection, heartbeat=other)


@pytest.mark.parametrize(
    ("value", "which"), [("all", "all"), ("summary", "summary"), ("off", "off"), (False, "off"), ("sample 1", 1)]
)
def test_logged_connections_are_written_as_they_are_read(value: object, which: object) -> None:
    section = LogSection.model_validate_json(json.dumps({"connections": value}))
    assert section.connections == which
    assert LogSection.model_validate_json(section.model_dump_json()) == section


@pytest.mark.parametrize("value", ["sample", "sample 0", "sample 1000000000", "sample ٣", True, 7, "none"])
def test_logged_connections_of_another_kind_are_refused(value: object) -> None:
    assert failure(LogSection, connections=value).startswith("expected all, debug, summary, off, or a sample such as")


def test_file_and_journal_are_mutually_exclusive() -> None:
    assert failure(LogSection, file="/x", format="journal") == "file and format: journal are mutually exclusive"
    assert read(LogSection, "file", "/x") == "/x"


def test_listen_is_a_list_of_urls() -> None:
    [endpoint] = read(ServiceSection, "listen", ["tcp://*:7"])
    assert str(endpoint) == "tcp://*:7"
    for value in ("tcp://*:7", list[str](), None):
        assert failure(ServiceSection, listen=value).startswith("expected a list of URLs such as")
    assert failure(ServiceSection, listen=["tcp://*:7", "x"]).startswith("expected a URL such as")
