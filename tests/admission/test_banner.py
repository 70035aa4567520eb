"""The banners of a service as a config has them."""

from typing import Any

import pytest
from pydantic import ValidationError

from netd.admission.banner import BannerFile, BannerOptions, text_octets


@pytest.mark.parametrize(
    ("given", "always", "accepted", "refused"),
    [
        ("220 ready", "220 ready", None, None),
        ({"file": "/nonexistent/motd"}, BannerFile("/nonexistent/motd"), None, None),
        ({"accepted": "hi", "refused": {"file": "/nonexistent/no"}}, None, "hi", BannerFile("/nonexistent/no")),
        ({"always": "x", "accepted": None}, "x", None, None),
    ],
)
def test_banner_is_a_text_or_a_file_by_verdict(given: object, always: Any, accepted: Any, refused: Any) -> None:
    banner = BannerOptions.model_validate(given)
    assert (banner.always, banner.accepted, banner.refused) == (always, accepted, refused)
    assert BannerOptions.model_validate_json(banner.model_dump_json()) == banner


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "expected a text, or {file: PATH}, got ''"),
        ({}, "expected a text, {file: PATH}, or always, accepted, refused, got {}"),
        (["hi"], "expected a text, {file: PATH}, or always, accepted, refused, got ['hi']"),
        ({"accepted": 220}, "expected a text, or {file: PATH}, got 220"),
        ({"accepted": {"file": "motd"}}, "expected an absolute path, got 'motd'"),
        ({"accepted": {"path": "/x"}}, "expected a text, or {file: PATH}"),
        ("x" * 4095, "expected at most 4096 octets, got 4097"),
        ("é" * 2048, "expected at most 4096 octets, got 4098"),
    ],
)
def test_another_value_is_a_mistake(given: object, message: str) -> None:
    with pytest.raises(ValidationError, match="^") as raised:
        BannerOptions.model_validate(given)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("hello", b"hello\r\n"),
        ("hello\n", b"hello\r\n"),
        ("a\r\nb\n\nc", b"a\r\nb\r\n\r\nc\r\n"),
        ("grüß dich", "grüß dich\r\n".encode()),
    ],
)
def test_each_line_of_a_text_ends_with_cr_lf(text: str, octets: bytes) -> None:
    assert text_octets(text) == octets
