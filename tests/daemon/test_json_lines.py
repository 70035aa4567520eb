"""The lines of the control socket."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.daemon import json_lines
from netd.daemon.json_lines import json_line, keep_alive
from netd.transport.loop import Loop

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@pytest.mark.slow  # hundreds of objects
@given(st.dictionaries(st.text(), _VALUES))
def test_object_is_one_line_of_ascii(value: dict[str, Any]) -> None:
    line = json_line(value)
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert json.loads(line) == value


@pytest.mark.slow  # waits for seconds
def test_empty_lines_are_posted_until_the_connection_is_closed(monkeypatch: Any) -> None:
    monkeypatch.setattr(json_lines, "_INTERVAL", 0.001)
    posted: list[bytes] = []
    loop = Loop()

    def post(data: bytes) -> bool:
        posted.append(data)
        return True

    def is_open() -> bool:
        if len(posted) == 3:
            loop.later(0.3, loop.stop)  # time enough for another line
        return len(posted) < 3

    keep_alive(loop, post, is_open)
    loop.run()
    loop.close()
    assert posted == [b"\n"] * 3
