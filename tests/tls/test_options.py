"""The options of TLS."""

from typing import Any

import pytest
from pydantic import ValidationError

from netd.tls.options import TlsOptions, merge


def options(**given: Any) -> TlsOptions:
    return TlsOptions.model_validate(given)


def test_a_path_is_a_list_of_one() -> None:
    assert options(certificate="/a.pem").certificate == ("/a.pem",)
    assert options(certificate=["/a.pem", "/b.pem"], key=["/a.key", "/b.key"]).key == ("/a.key", "/b.key")
    assert options(certificate=None).certificate == ()


@pytest.mark.parametrize("given", [options(), options(certificate="/a"), options(key=["/a", "/b"], client="required")])
def test_options_are_the_same_after_a_transfer(given: TlsOptions) -> None:
    assert TlsOptions.model_validate_json(given.model_dump_json()) == given


@pytest.mark.parametrize(
    "given",
    [
        {"certificate": "a.pem"},
        {"certificate": []},
        {"certificate": ["/a"] * 65},
        {"key": 5},
        {"client": "maybe"},
        {"minimum": "TLSv1.1"},
        {"alpn": [""]},
        {"alpn": ["x" * 256]},
        {"ciphers": ""},
        {"versions": []},
    ],
)
def test_other_values_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        options(**given)


def test_keys_that_a_service_gives_replace_the_defaults_and_a_certificate_comes_with_its_key() -> None:
    defaults = options(certificate="/a.pem", key="/a.key", minimum="TLSv1.3")
    assert merge(defaults, options(client_ca="/ca")) == defaults.model_copy(update={"client_ca": "/ca"})
    assert merge(defaults, options(certificate="/b.pem")) == options(certificate="/b.pem", minimum="TLSv1.3")
    assert merge(defaults, options(certificate="/b.pem", key="/b.key")).key == ("/b.key",)
