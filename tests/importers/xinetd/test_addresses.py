"""Addresses in the forms of xinetd."""

import pytest

from netd.importers.xinetd.addresses import parse
from tests.importers.hosts import KnownHost


@pytest.mark.parametrize(
    ("word", "networks"),
    [
        ("192.0.2.1", ["192.0.2.1"]),
        ("10.0.0.0", ["10.0.0.0/8"]),
        ("172.16.0.0", ["172.16.0.0/16"]),
        ("192.0.2.0", ["192.0.2.0/24"]),
        ("0.0.0.0", ["0.0.0.0/0"]),
        ("192.0.2.77/24", ["192.0.2.0/24"]),
        ("192.0.2.7/32", ["192.0.2.7"]),
        ("192.0.2.7/33", ["192.0.2.7"]),
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        ("2001:db8::7", ["2001:db8::7"]),
        ("2001:db8::7/32", ["2001:db8::/32"]),
        ("::/0", ["::/0"]),
        ("::ffff:192.0.2.1", ["192.0.2.1"]),
        ("192.0.2.{1,2}", ["192.0.2.1", "192.0.2.2"]),
        ("10.1.{4,5}", ["10.1.4.0/24", "10.1.5.0/24"]),
    ],
)
def test_usual_forms_are_networks_without_a_note(word: str, networks: list[str]) -> None:
    form = parse(word, KnownHost())
    assert (form.kind, list(form.networks), form.note) == ("networks", networks, "")


@pytest.mark.parametrize(
    ("word", "networks", "note"),
    [
        ("10.0.0.0/255.0.0.0", ["10.0.0.0"], "the one address 10.0.0.0; 10.0.0.0/8 was probably meant"),
        ("192.0.2.0/24.0.0.0", ["192.0.2.0/24"], "the prefix /24"),
        ("192.168.1", ["192.168.0.1"], "192.168.1.0/24 was probably meant"),
        ("192.168.0", ["192.168.0.0/16"], "192.168.0.0/24 was probably meant"),
        ("10", ["0.0.0.10"], "10.0.0.0/8 was probably meant"),
        ("10.1", ["10.0.0.1"], "10.1.0.0/16 was probably meant"),
        ("65536", ["0.1.0.0/16"], "xinetd reads it as 0.1.0.0/16"),
        ("192.0.2.010", ["192.0.2.8"], "xinetd reads it as 192.0.2.8"),
        ("0xc0.0.2.1", ["192.0.2.1"], "xinetd reads it as 192.0.2.1"),
        ("::", ["::"], "the one address ::"),
        ("lab-net", ["192.0.2.0/24"], "from /etc/networks"),
    ],
)
def test_surprising_forms_have_a_note(word: str, networks: list[str], note: str) -> None:
    form = parse(word, KnownHost())
    assert (form.kind, list(form.networks)) == ("networks", networks)
    assert note in form.note


@pytest.mark.parametrize(
    ("word", "kind", "note"),
    [
        ("2001:db8::1/128", "never", "matches no peer"),
        (".example.net", "name", "names of peers"),
        ("known.example", "name", "known.example is 192.0.2.80, 2001:db8::80 now"),
        ("office", "skipped", "no host of this name"),
        ("a$b", "skipped", "no address"),
        ("2001:db8::x", "skipped", "no address"),
        ("x/8", "skipped", "no address"),
        ("192.0.2.1,192.0.2.2", "error", "comma"),
        ("192.0.2.{1-3}", "error", "does not read"),
        ("192.0.2.{1,300}", "error", "no octet"),
    ],
)
def test_forms_that_are_no_networks_say_what_they_are(word: str, kind: str, note: str) -> None:
    form = parse(word, KnownHost())
    assert (form.kind, form.networks) == (kind, ())
    assert note in form.note
