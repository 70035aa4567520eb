"""Durations, sizes, counts, switches, time zones."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.errors import InvalidValueError
from netd.values import (
    Duration,
    Model,
    Size,
    SizeOrOff,
    duration_text,
    list_hint,
    parse_count,
    parse_duration,
    parse_rate,
    parse_size,
    parse_switch,
    parse_timeout,
    parse_zone,
    size_text,
    switch_hint,
)

anything = st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.text()))


@pytest.mark.parametrize(
    ("text", "seconds"), [("250ms", 0.25), ("30s", 30), ("1.5m", 90), ("1h", 3600), ("1d", 86400), ("366d", 31622400)]
)
def test_duration_is_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == parse_timeout(text) == seconds


@pytest.mark.parametrize("value", ["soon", "30", 30, "0s", "-1s", "1w", "1 s", "", None, "1e9s", "٣s", [], True])
def test_invalid_duration_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 30s"):
        parse_duration(value)
    with pytest.raises(ValueError, match="expected a duration such as 30s"):
        parse_timeout(value)


@pytest.mark.parametrize("value", ["off", "0", 0, False])
def test_off_lifts_a_limit(value: object) -> None:
    assert parse_timeout(value) is None
    assert parse_count(value) is None


@pytest.mark.parametrize(
    ("value", "octets"), [(512, 512), ("512", 512), ("64KiB", 65536), ("1MiB", 2**20), ("1GiB", 2**30)]
)
def test_size_is_parsed(value: object, octets: int) -> None:
    assert parse_size(value) == octets


@pytest.mark.parametrize("value", [0, -1, "64kb", "64 KiB", True, None, 1.5, "", "1" * 5000])
def test_invalid_size_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="expected a size such as 512 or 64KiB"):
        parse_size(value)


@pytest.mark.parametrize(
    ("parse", "value", "most"),
    [
        (parse_duration, "367d", "366d"),
        (parse_timeout, "999999999h", "366d"),
        (parse_size, "2GiB", "2147483647"),
        (parse_size, 2**31, "2147483647"),
    ],
)
def test_value_that_is_too_large_is_told_the_largest(
    parse: Callable[[object], object], value: object, most: str
) -> None:
    with pytest.raises(ValueError, match=f"^expected at most {most}, got {value!r}$"):
        parse(value)


@pytest.mark.parametrize("value", [-1, "many", 1.5, None, True, 2**31, "64"])
def test_invalid_count_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="expected a number such as 64"):
        parse_count(value)


@pytest.mark.parametrize(
    ("parse", "value", "hint"),
    [
        (parse_duration, 30, "did you mean '30s'?"),
        (parse_duration, "30", "did you mean '30s'?"),
        (parse_duration, 1.5, "did you mean '1.5s'?"),
        (parse_duration, "5 min", "did you mean '5m'?"),
        (parse_duration, "1hour", "did you mean '1h'?"),
        (parse_duration, "2 Days", "did you mean '2d'?"),
        (parse_duration, "1h30m", "did you mean '90m'?"),
        (parse_duration, "1m 500ms", "did you mean '60500ms'?"),
        (parse_timeout, "never", "did you mean 'off'?"),
        (parse_timeout, "10sec", "did you mean '10s'?"),
        (parse_size, "1MB", "did you mean '1MiB'?"),
        (parse_size, "4k", "did you mean '4KiB'?"),
        (parse_size, "4 kib", "did you mean '4KiB'?"),
        (parse_size, "512 bytes", "did you mean '512'?"),
        (parse_rate, "20/sec", "did you mean '20/s'?"),
        (parse_rate, 20, "did you mean '20/s'?"),
        (parse_rate, "10r/s", "did you mean '10/s'?"),
        (parse_rate, "5 per minute", "did you mean '5/m'?"),
        (parse_rate, "UDP 50/s burst=100", "did you mean 'udp 50/s burst 100'?"),
        (parse_rate, "unlimited", "did you mean 'off'?"),
        (parse_count, "64", "write it without quotes"),
        (parse_count, "064", "did you mean 64?"),
        (parse_count, "none", "did you mean 'off'?"),
    ],
)
def test_value_in_another_notation_has_a_hint(parse: Callable[[object], object], value: object, hint: str) -> None:
    with pytest.raises(InvalidValueError) as raised:
        parse(value)
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("parse", "values"),
    [
        (parse_duration, ["soon", "0s", "367d", "5 apples", "1h30", "s", True, None, [5], "9" * 5000]),
        (parse_size, ["2GiB", "9999999MB", "1e3", "k", True, None]),
        (parse_rate, ["0/s", "20/fortnight", "burst 5", "1/d burst 9999999", None]),
        (parse_count, ["many", -5, 2**31, True]),
    ],
)
def test_value_that_cannot_be_guessed_has_no_hint(parse: Callable[[object], object], values: list[object]) -> None:
    for value in values:
        with pytest.raises(ValueError, match="expected") as raised:
            parse(value)
        assert getattr(raised.value, "hint", "") == ""


@given(st.one_of(st.text(max_size=20), st.integers(), st.from_regex(r"[0-9]{1,4} ?[a-zA-Z/]{0,8}", fullmatch=True)))
def test_hint_at_a_value_can_be_used(value: object) -> None:
    for parse in (parse_duration, parse_timeout, parse_size, parse_rate):
        try:
            parse(value)
        except ValueError as error:
            if match := re.fullmatch("did you mean '(.*)'\\?", getattr(error, "hint", "")):
                parse(match[1])


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("No", "write it without quotes"),
        ("y", "did you mean true?"),
        (0, "did you mean false?"),
        ("disabled", "did you mean false?"),
        (2, ""),
        ("maybe", ""),
    ],
)
def test_switch_in_another_notation_has_a_hint(value: object, hint: str) -> None:
    assert switch_hint(value) == hint


def test_list_in_another_notation_has_a_hint() -> None:
    assert list_hint("tcp://*:7") == "did you mean [tcp://*:7]?"
    assert list_hint("-tcp://*:7 -udp://*:7") == "a space is missing after '-'"
    assert [list_hint(value) for value in ("a, b", "a b", "", 7, None)] == [""] * 5


def test_switch_is_parsed() -> None:
    assert [parse_switch(text) for text in ("1", "on", "yes", "true")] == [True] * 4
    assert [parse_switch(text) for text in ("0", "off", "no", "false")] == [False] * 4
    with pytest.raises(ValueError, match="expected on or off, got 'maybe'"):
        parse_switch("maybe")


@given(anything)
def test_no_value_does_worse_than_a_value_error(value: object) -> None:
    for parse in (parse_duration, parse_timeout, parse_size, parse_count):
        try:
            result = parse(value)
        except ValueError as error:
            assert len(str(error)) < 160
        else:
            assert result is None or result > 0


@given(st.integers(1, 999_999), st.integers(0, 999_999_999), st.sampled_from(["ms", "s", "m", "h", "d"]))
def test_a_duration_written_and_read_again_is_the_same(whole: int, part: int, unit: str) -> None:
    try:
        seconds = parse_duration(f"{whole}.{part:09d}{unit}")
    except ValueError:
        return  # longer than a year
    assert parse_duration(duration_text(seconds)) == seconds


@given(st.integers(1, 366 * 86400 * 1000))
def test_duration_of_whole_milliseconds_is_written_without_a_fraction_unless_it_has_ten_digits(number: int) -> None:
    text = duration_text(parse_duration(f"{number // 1000}.{number % 1000:03}s"))
    assert "." not in text or number >= 10**9
    assert parse_duration(text) == number / 1000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (300.0, "5m"),
        (0.3, "300ms"),
        (3600.0, "1h"),
        (90.0, "90s"),
        (5400.0, "90m"),
        (86400.0, "1d"),
        (1.5, "1500ms"),
        (0.00025, "0.25ms"),
        (2.0005, "2.0005s"),
        (1e-9, "0.000001ms"),
        (1000000.001, "1000000.001s"),
        (31622400.0, "366d"),
    ],
)
def test_duration_is_written_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert parse_duration(text) == seconds


@given(st.integers(1, 2**31 - 1))
def test_a_size_written_and_read_again_is_the_same(octets: int) -> None:
    assert parse_size(size_text(octets)) == octets


@pytest.mark.parametrize(
    ("octets", "text"),
    [(512, "512"), (65536, "64KiB"), (65535, "65535"), (2**20, "1MiB"), (3 * 2**29, "1536MiB"), (0, "0")],
)
def test_size_is_written_in_the_largest_whole_unit(octets: int, text: str) -> None:
    assert size_text(octets) == text


def test_sizes_are_numbers_in_json_and_have_their_unit_for_an_operator() -> None:
    class Sizes(Model):
        one: Size = 4096
        two: Size = 65535
        off: SizeOrOff = None
        wait: Duration = 60.0

    assert Sizes().model_dump(mode="json") == {"one": 4096, "two": 65535, "off": "off", "wait": "1m"}
    assert Sizes().written() == {"one": "4KiB", "two": 65535, "off": "off", "wait": "1m"}
    assert Sizes.model_validate(Sizes().written()) == Sizes()


@pytest.mark.parametrize("text", ["700ms", "9ms", "1.1h", "4.1d", "350ms"])
def test_parsed_duration_is_the_same_after_it_is_written(text: str) -> None:
    seconds = parse_duration(text)
    assert parse_duration(duration_text(seconds)) == seconds


def test_time_zone_is_parsed() -> None:
    assert parse_zone("UTC") is UTC
    for name in ("Europe/Berlin", "Etc/GMT+1"):
        assert str(parse_zone(name)) == name


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "utc/", "../../etc/passwd", "/etc/localtime", "Europe", "a\0b", "\udc80"]
)
def test_unknown_time_zone_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"unknown time zone {name!r}: expected an IANA name such as")):
        parse_zone(name)


def test_host_without_time_zone_data_is_told_so(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['tzdata'] = None; from netd.values import parse_zone\n"
        "try: parse_zone('Europe/Berlin')\nexcept ValueError as error: print(error)\n"
        "print(parse_zone('UTC'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONTZPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "no data for the time zone 'Europe/Berlin': install tzdata (with daemon.chroot, in it), or use UTC",
        "UTC",
    ]
