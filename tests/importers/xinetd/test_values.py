"""Values as the parsers of xinetd take them."""

import pytest

from netd.importers.xinetd import values


def test_numbers_have_no_sign_and_counts_may_be_unlimited() -> None:
    assert [values.number(text) for text in ("0", "17", "-1", "+1", "1k", "", "4294967296")] == [
        *(0, 17, None, None, None, None, None)
    ]
    assert [values.number(text, 8) for text in ("007", "0777", "1000", "8")] == [7, 0o777, None, None]
    assert [values.count(text) for text in ("Unlimited", "3", "x")] == [values.UNLIMITED, 3, None]
    assert [values.integer(text) for text in ("-5", "+5", "5", "x")] == [-5, 5, 5, None]
    assert [values.load(text) for text in ("12", "2.5", "0", "x")] == [12.0, 2.5, None, None]


def test_sizes_have_k_and_m_and_no_g() -> None:
    assert [values.size(text) for text in ("1", "2k", "2K", "3m", "3M", "1G", "UNLIMITED")] == [
        *(1, 2048, 2048, 3 * 2**20, 3 * 2**20, None, values.UNLIMITED)
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8:00-17:59", (480, 1079)),
        ("0:0-23:59", (0, 1439)),
        ("22:00-06:00", (1320, 360)),
        ("12:00-24:00", (720, 1440)),
        ("8:00-17:60", None),
        ("8-17", None),
        ("8:00 - 17:00", None),
    ],
)
def test_hours_are_minutes_since_midnight(text: str, expected: tuple[int, int] | None) -> None:
    assert values.hours(text) == expected


def test_yes_and_no_are_in_any_case_of_letters() -> None:
    assert [values.yes_or_no(text) for text in ("YES", "No", "true")] == [True, False, None]
