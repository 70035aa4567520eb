"""The key ``tcpmux`` of a service."""

from typing import Any

import pytest
from pydantic import ValidationError

from netd.admission.policy import Policy


@pytest.mark.parametrize(
    ("given", "name", "plain"),
    [
        (True, None, False),
        ("Day", "Day", False),
        ({"plain": True}, None, True),
        ({"name": "+a/b", "plain": False}, "+a/b", False),
    ],
)
def test_service_has_a_name_and_is_plain_or_not(given: Any, name: str | None, plain: bool) -> None:
    policy = Policy.model_validate({"tcpmux": given})
    assert policy.tcpmux
    assert (policy.tcpmux.name, policy.tcpmux.plain) == (name, plain)
    assert Policy.model_validate_json(policy.model_dump_json()) == policy


@pytest.mark.parametrize("given", [None, False])
def test_service_is_not_reached_through_tcpmux_by_default(given: Any) -> None:
    assert Policy.model_validate({"tcpmux": given}) == Policy()


@pytest.mark.parametrize("given", [7, [], "", "HELP", "help", "a b", "é", "x" * 65, {"name": "x\r\n"}, {"plan": True}])
def test_another_value_is_a_mistake(given: Any) -> None:
    with pytest.raises(ValidationError):
        Policy.model_validate({"tcpmux": given})
