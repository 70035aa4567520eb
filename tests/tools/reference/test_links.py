"""Names of pages and keys in texts of the source."""

import pytest

from tools.reference.links import linked


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see docs/tls.md, docs/reference/json.md", "see [tls.md](../tls.md), [json.md](json.md)"),
        ("within `limits.drain`", "within [`limits.drain`](config.md#limitsdrain)"),
        ("`limits.none` and `idle`", "`limits.none` and `idle`"),
    ],
)
def test_names_of_pages_and_keys_are_links(text: str, expected: str) -> None:
    assert linked(text) == expected


def test_on_the_page_of_the_config_a_link_has_no_page() -> None:
    assert linked("`tls.client`", "") == "[`tls.client`](#tlsclient)"
