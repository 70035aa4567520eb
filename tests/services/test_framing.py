"""The options of services that read messages, and what `netd check` says about them."""

import pytest
from pydantic import ValidationError

from netd.lines import Chunks, Lines, Messages
from netd.services.framing import Framed


def test_each_framing_has_its_reader() -> None:
    kinds = {"auto": Messages, "line": Lines, "chunk": Chunks}
    assert {name: type(Framed(framing=name).reader(64)) for name in kinds} == kinds  # type: ignore[arg-type]
    assert isinstance(Framed().reader(64), Messages)


@pytest.mark.parametrize("pause", ["99ms", "61s", "off", 1, True])
def test_pause_is_a_duration_from_a_tenth_of_a_second_to_a_minute(pause: object) -> None:
    with pytest.raises(ValidationError, match="pause"):
        Framed.model_validate({"pause": pause})
    assert Framed.model_validate({"pause": "100ms"}).pause == 0.1
    assert Framed.model_validate({"pause": "1m"}).pause == 60.0
