"""Each directive of a format beside strftime."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from netd.services.time_format import check_format, format_time


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))
def test_directives_are_those_of_strftime(when: datetime) -> None:
    for letter in "aAbBcCdDeFgGHIjmMprRSTuUVwWxXyYzZf%":
        directive = check_format(f"%{letter}")
        assert format_time(directive, when) == when.strftime(directive)
    assert format_time("%s", when) == str((when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1))
