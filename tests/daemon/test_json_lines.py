"""How the control socket tells something."""

import json
from typing import Any

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


@given(st.dictionaries(st.text(), _VALUES))
def test_an_object_is_one_line_of_ascii(given_: dict[str, Any]) -> None:
    line = json_line(given_)
    assert line.isascii()
    assert line.index(b"\n") == len(line) - 1
    assert json.loads(line) == given_


def test_empty_lines_are_posted_until_it_is_over(monkeypatch: Any) -> None:
    monkeypatch.setattr(json_lines, "_ALIVE", 0.001)
    posted: list[bytes] = []
    loop = Loop()

    def post(data: bytes) -> bool:
        posted.append(data)
        return True

    def goes_on() -> bool:
        if len(posted) == 3:
            loop.later(0.3, loop.stop)  # in which another one would come
        return len(posted) < 3

    keep_alive(loop, post, goes_on)
    loop.run()
    loop.close()
    assert posted == [b"\n"] * 3
