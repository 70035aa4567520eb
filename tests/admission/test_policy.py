"""The policy of a service: the values of `refuse`, and JSON."""

import json

import pytest

from netd.admission.policy import Policy, RefusalLine


@pytest.mark.parametrize("refuse", ["close", "reset", {"line": "421 too busy"}])
def test_policy_is_equal_after_a_round_trip_through_json(refuse: object) -> None:
    text = json.dumps(
        {
            "limits": {"rate": "5/m burst 9", "idle": "off", "lifetime": "250ms", "bytes": "1MiB", "exempt": ["any"]},
            "refuse": refuse,
            "reply_guard": False,
            "amplify": ["2001:db8::/32"],
        }
    )
    policy = Policy.model_validate_json(text)
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
    assert Policy.model_validate_json(Policy().model_dump_json()) == Policy()


@pytest.mark.parametrize(
    "value", ["rest", "", None, 1, {}, {"line": ""}, {"line": "a\nb"}, {"line": "x" * 513}, {"line": 5}]
)
def test_refuse_rejects_other_values(value: object) -> None:
    with pytest.raises(ValueError, match="expected close, reset, or {line: TEXT}"):
        Policy.model_validate_json(json.dumps({"refuse": value}))


def test_refuse_takes_a_line_of_up_to_512_characters() -> None:
    for line in ("no", "x" * 512):
        assert Policy.model_validate_json(json.dumps({"refuse": {"line": line}})).refuse == RefusalLine(line)


@pytest.mark.parametrize("refuse", ["close", "reset"])
def test_refuse_takes_close_and_reset(refuse: str) -> None:
    assert Policy.model_validate_json(json.dumps({"refuse": refuse})).refuse == refuse
