"""The events are those of the code, and each says what it means."""

import re
from pathlib import Path

from netd.telemetry.fields import FIELDS
from tests.source_tree import ROOT
from tools.reference.events import FILES, events

EVENTS = events()


def names_in_the_code() -> list[str]:
    """The events that netd logs, by a search of the text."""
    text = "".join((ROOT / "netd" / "telemetry" / f"{file}.py").read_text() for file in FILES)
    names = re.findall(r'(?:self\._log\.\w+|log)\(\s*"(\w+)"', text)
    return names + re.findall(r'"(?:warning|error)",\s*"(\w+)"', text)


def test_events_are_those_of_the_code() -> None:
    names = names_in_the_code()
    assert len(names) == len(set(names))
    assert sorted(event.name for event in EVENTS) == sorted([*names, "log_lines_lost"])


def test_only_files_of_events_log() -> None:
    logging = {
        file.stem
        for file in (ROOT / "netd" / "telemetry").glob("*.py")
        if re.search(r"self\._log[._]", file.read_text())
    }
    assert logging - {"throttle"} == set(FILES)


def test_name_of_an_event_is_snake_case_and_past_tense() -> None:
    past = r"[a-z]+(_[a-z]+)*_([a-z]+ed|lost)"
    for event in EVENTS:
        assert re.fullmatch(rf"{past}|listening|netd_starting|program_error", event.name), event.name


def test_every_event_says_when_it_is_written() -> None:
    for event in EVENTS:
        assert re.fullmatch(r"[A-Z].{12,}\.", event.meaning), event.name


def test_every_field_has_a_meaning_and_every_meaning_a_field() -> None:
    assert FIELDS.keys() == set().union(*(event.fields for event in EVENTS))
    assert list(FIELDS) == sorted(FIELDS)


def test_fields_and_levels_are_those_of_the_calls() -> None:
    known = {event.name: event for event in EVENTS}
    refused = known["connection_refused"]
    assert (refused.level, refused.throttled) == ("warning", True)
    assert {"number", "reason", "source", "service", "via", "subject"} <= set(refused.fields)
    lost = known["worker_lost"]
    assert (lost.level, lost.throttled) == ("error", False)
    assert lost.fields == ("at", "connections", "delay", "pid", "reason", "services", "sources", "stack", "worker")
    assert known["command_failed"].fields == ("command", "exception")
    assert known["netd_stopped"].fields == ()


def test_page_has_each_event_once() -> None:
    page = Path(ROOT / "docs" / "reference" / "events.md").read_text()
    assert re.findall(r"(?m)^### `(\w+)`$", page) == [
        event.name for file in FILES for event in EVENTS if event.file == file
    ]
