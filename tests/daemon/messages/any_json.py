"""Any JSON value, and any with the kind and the fields of a message, for tests with hypothesis."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def nearly(draw: st.DrawFn, examples: Sequence[object], known: Sequence[object] = ()) -> dict[str, Any]:
    """An object with the kind and the fields of one of these messages, and any values, often ``known`` ones."""
    kinds = {type(one).__name__: sorted(vars(one)) for one in examples}
    kind = draw(st.sampled_from(sorted(kinds)))
    message = {"kind": kind, "request": draw(st.integers(0, 3))}
    for name in kinds[kind]:
        message[name] = draw(JSON | st.sampled_from(["echo", 0, 2**64, *known]))
    for name in draw(st.lists(st.sampled_from(sorted(message)), max_size=1)):
        del message[name]
    return message
