"""The proxies of a service: their networks as in a config, and their explanation."""

import json

import pytest

from netd.addresses import parse_address
from netd.admission.policy import Policy
from netd.admission.proxies import ProxyProtocol


def proxies(*sources: str, **more: object) -> ProxyProtocol:
    return ProxyProtocol.model_validate_json(json.dumps({"from": sources, **more}))


@pytest.mark.parametrize("more", [{}, {"versions": [2]}, {"versions": [2, 1], "others": "direct"}])
def test_proxies_are_written_and_read_as_in_a_config(more: dict[str, object]) -> None:
    written = {"from": ["10.0.0.1", "local", "2001:db8::/32"], **more}
    policy = Policy.model_validate_json(json.dumps({"proxy_protocol": written}))
    assert policy.written()["proxy_protocol"] == written
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
    assert Policy().proxy_protocol is None


@pytest.mark.parametrize("given", [{}, {"from": []}, {"from": "10.0.0.1"}, {"from": ["x"]}, {"sources": ["any"]}, True])
def test_proxies_are_a_list_of_networks(given: object) -> None:
    with pytest.raises(ValueError, match="proxy_protocol"):
        Policy.model_validate_json(json.dumps({"proxy_protocol": given}))


@pytest.mark.parametrize(
    ("sources", "host", "is_proxy"),
    [
        (["10.0.0.0/8"], "10.6.6.6", True),
        (["10.0.0.0/8"], "11.0.0.0", False),
        (["10.0.0.0/8"], "::ffff:10.0.0.1", True),
        (["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", True),
        (["local"], "::1", True),
        (["any"], "2001:db8::1", True),
        (["any"], None, True),
        (["local"], None, True),
        (["10.0.0.0/8"], None, False),
    ],
)
def test_explanation_says_whether_a_peer_is_a_proxy(sources: list[str], host: str | None, is_proxy: bool) -> None:
    why = proxies(*sources).explain(parse_address(host) if host else None)
    assert why.startswith("a proxy") == is_proxy
    assert ("not in proxy_protocol.from" in why) != is_proxy


@pytest.mark.parametrize("more", [{"versions": []}, {"versions": [3]}, {"versions": [1, 1]}, {"others": "serve"}])
def test_versions_and_what_holds_for_others_are_known_words(more: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="versions|others"):
        proxies("any", **more)


def test_explanation_says_that_others_are_served_themselves() -> None:
    assert "has no header" in proxies("10.0.0.1", others="direct").explain(parse_address("10.0.0.2"))
    assert "has no header" in proxies("10.0.0.1", others="direct").explain(None)
    assert proxies("10.0.0.1", others="direct").explain(parse_address("10.0.0.1")).startswith("a proxy")
