"""Services with the flag SENSOR."""

from pathlib import Path
from typing import Any

import pytest

from tests.importers.xinetd.reading import Imported, of_text


def sensor(folder: Path, *lines: str, kind: str = "INTERNAL UNLISTED") -> Imported:
    body = "\n".join(lines)
    text = f"type = {kind}\nport = 1025\nsocket_type = stream\nwait = no\nflags = SENSOR\n{body}"
    return of_text(folder, f"service x\n{{\n{text}\n}}\n")


@pytest.mark.parametrize(
    ("time", "ban"),
    [
        ("90", "90m"),
        ("60", "1h"),
        ("FOREVER", "366d"),
        ("NEVER", False),
        ("0", False),
        ("999999", "366d"),
        (None, False),
    ],
)
def test_sensor_bans_for_deny_time(tmp_path: Path, time: str | None, ban: Any) -> None:
    result = sensor(tmp_path, *([f"deny_time = {time}"] if time else []))
    assert result.services == {"x": {"type": "sensor", "listen": ["tcp://*:1025"], "options": {"ban": ban}}}
    assert result.about("flags = SENSOR")[0].startswith("note: netd bans an IPv6 /64")


def test_attributes_without_effect_are_told(tmp_path: Path) -> None:
    result = sensor(tmp_path, "only_from = 10.0.0.0/8", "user = root", "server = /bin/cat", kind="UNLISTED")
    assert result.services["x"] == {"type": "sensor", "listen": ["tcp://*:1025"], "options": {"ban": False}}
    assert result.about("only_from = 10.0.0.0/8") == ["note: had no effect: a sensor bans each source that connects"]
    assert result.about("server = /bin/cat") == ["note: had no effect: SENSOR makes the service an internal one"]


def test_sensor_that_xinetd_did_not_start_is_off(tmp_path: Path) -> None:
    assert sensor(tmp_path, kind="UNLISTED").services["x"]["enabled"] is False
    result = sensor(tmp_path, "deny_time = soon")
    assert result.services["x"]["enabled"] is False
    assert "neither FOREVER nor NEVER" in result.about("deny_time = soon")[0]


def test_time_without_the_flag_had_no_effect(tmp_path: Path) -> None:
    text = "type = INTERNAL\nsocket_type = stream\nwait = no\ndeny_time = 5"
    result = of_text(tmp_path, f"service echo\n{{\n{text}\n}}\n")
    assert result.about("deny_time = 5") == ["note: had no effect: it is for a service with the flag SENSOR"]
