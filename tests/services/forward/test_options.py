"""The options of `forward`: the values that each accepts."""

import json

import pytest
from pydantic import ValidationError

from netd.services.forward.options import ForwardOptions

TO = ["tcp://192.0.2.7:80"]


def options(**values: object) -> ForwardOptions:
    """Options with these values, from JSON as in the loader."""
    return ForwardOptions.model_validate_json(json.dumps({"to": TO} | values))


def failure(**values: object) -> str:
    with pytest.raises(ValidationError) as raised:
        options(**values)
    return "; ".join(str(error.get("ctx", {}).get("error", error["msg"])) for error in raised.value.errors())


def test_defaults() -> None:
    found = options()
    assert (found.balance, found.connect, found.resolve, found.bind, found.proxy_protocol, found.session) == (
        *("round_robin", 5.0, 30.0, None),
        *(None, 60.0),
    )


def test_options_are_the_same_after_they_were_written() -> None:
    found = options(to=["tcp://DB.example:5432", "unix:///run/x"], bind="192.0.2.1", proxy_protocol="v2", connect="2s")
    assert ForwardOptions.model_validate_json(json.dumps(found.written())) == found
    assert found.written()["to"] == ["tcp://DB.example:5432", "unix:///run/x"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"to": "tcp://192.0.2.7:80"}, "expected a list of URLs such as"),
        ({"to": []}, "expected a list of URLs"),
        ({"to": TO * 2}, "the target 'tcp://192.0.2.7:80' is given twice"),
        ({"to": ["unix:///a b", "unix:///a  b"]}, "the target 'unix:///a b' is given twice"),
        ({"to": [f"tcp://192.0.2.7:{port}" for port in range(1, 66)]}, "expected at most 64 targets, got 65"),
        ({"to": ["tcp://*:80"]}, "expected one address or name"),
        ({"bind": "eth0"}, "expected an address such as 192.0.2.7"),
        ({"bind": 7}, "expected an address"),
        ({"bind": "192.0.2.1%eth0"}, "expected an address"),
        ({"proxy_protocol": "v3"}, "v1"),
        ({"balance": "random"}, "round_robin"),
        ({"connect": "0s"}, "expected a duration"),
    ],
)
def test_other_values_are_refused(values: dict[str, object], message: str) -> None:
    assert message in failure(**values)


def test_local_address_keeps_its_interface() -> None:
    assert options(to=["tcp://192.0.2.7:80"], bind="FE80::1%eth0").bind == "fe80::1%eth0"
