"""Certificate rules: what they match, names made to deceive, and rules that cannot hold."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.admission.certificates import CertificateRules, parse_rule
from netd.peer import Tls

DIGITS = "0123456789abcdef" * 4


def allow(rule: str, *names: str, common_name: str = "", fingerprint: str = "f" * 64) -> bool:
    return CertificateRules([rule]).allow(Tls(common_name=common_name, names=names, fingerprint=fingerprint))


@pytest.mark.parametrize(
    ("rule", "common_name", "allowed"),
    [
        ("cn:alex", "alex", True),
        ("cn:Alex", "aLEX", True),
        ("cn:alex", "alexa", False),
        ("cn:Acme, Inc.", "acme, inc.", True),
        ("cn:J\u00fcrgen", "j\u00fcrgen", True),
        ("cn:J\u00fcrgen", "J\u00dcRGEN", False),
        ("cn:kay", "\u212aay", False),  # the sign for kelvin, of which k is the lower case
        ("cn:*.ops.example", "a.ops.example", True),
        ("cn:*.ops.example", "A.OPS.EXAMPLE.", True),
        ("cn:*.ops.example", "*.ops.example", True),
        ("cn:*.ops.example", "ops.example", False),
        ("cn:*.ops.example", ".ops.example", False),
        ("cn:*.ops.example", "a.b.ops.example", False),
        ("cn:*.ops.example", "a.ops.example.org", False),
        ("cn:*.ops.example", "aXops.example", False),
        ("cn:*.ops.example", "a\0b.ops.example", False),
        ("cn:*.ops.example", "a\n.ops.example", False),
        ("cn:*.ops.example", "a.ops.example\0", False),
        ("cn:*.ops.example", "a.ops.example\0.evil.org", False),
        ("cn:*.ops.example", "a\u3002ops.example", False),  # an ideographic full stop
        ("cn:*.ops.example", "\u202ea.ops.example", False),
        ("cn:a.*.example", "a.b.example", True),
        ("cn:a.*.example", "b.b.example", False),
        ("cn:*.*", "a.b", True),
        ("cn:*.*", "a", False),
        ("cn:*", "alex", True),
        ("cn:*", "", False),
        ("cn:*", "a.b", False),
        ("cn:a*", "ab", None),
    ],
)
def test_common_names(rule: str, common_name: str, allowed: bool | None) -> None:
    if allowed is None:
        with pytest.raises(ValueError, match="one whole label"):
            parse_rule(rule)
    else:
        assert allow(rule, common_name=common_name) is allowed
        assert not allow(rule, f"dns:{common_name}", f"uri:{common_name}", f"email:{common_name}")


@pytest.mark.parametrize(
    ("rule", "name", "allowed"),
    [
        ("san:dns:*.ops.example", "dns:a.ops.example", True),
        ("san:dns:A.ops.example", "dns:a.OPS.example.", True),
        ("san:dns:*.ops.example", "uri:a.ops.example", False),
        ("san:dns:*.ops.example", "email:a.ops.example", False),
        ("san:dns:a.ops.example", "dns:*.ops.example", False),
        ("san:dns:a.ops.example", "dns:a.ops.example\0.evil.org", False),
        ("san:uri:spiffe://example/a", "uri:spiffe://example/a", True),
        ("san:uri:spiffe://example/a", "uri:spiffe://example/A", False),
        ("san:uri:spiffe://example/a", "uri:spiffe://example/a/", False),
        ("san:uri:spiffe://example/a", "uri:spiffe://example/a\0", False),
        ("san:uri:spiffe://example/a", "dns:spiffe://example/a", False),
        (f"sha256:{DIGITS}", f"sha256:{DIGITS}", False),
        (f"sha256:{DIGITS}", f"dns:{DIGITS}", False),
    ],
)
def test_alternative_names(rule: str, name: str, allowed: bool) -> None:
    assert allow(rule, "email:x@example.org", name) is allowed
    assert not allow(rule, common_name=name.partition(":")[2])


@pytest.mark.parametrize("digits", [DIGITS, DIGITS.upper(), ":".join(re.findall("..", DIGITS.upper()))])
def test_fingerprints(digits: str) -> None:
    assert allow(f"sha256:{digits}", fingerprint=DIGITS)
    assert not allow(f"sha256:{digits}", common_name=DIGITS)


def test_peer_without_a_certificate_is_allowed_by_no_rules_alone() -> None:
    unverified = Tls(common_name="alex", names=("dns:alex",), server_name="alex")
    for tls in (None, Tls(), unverified):
        assert CertificateRules([]).allow(tls)
        assert not CertificateRules(["cn:alex", "san:dns:alex", "cn:*"]).allow(tls)


@pytest.mark.parametrize("rule", ["10.0.0.0/8", "::1", "any", "uid:alex", "CN:alex", "", 7, None])
def test_other_rules_are_none(rule: object) -> None:
    assert parse_rule(rule) == ""


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("cn:", "expected cn:NAME, san:dns:NAME, san:uri:URI or sha256:DIGITS, got 'cn:'"),
        ("san:email:a@b", "expected cn:NAME"),
        ("san:dns:", "expected cn:NAME"),
        ("cn:a\0b", "expected cn:NAME"),
        ("cn:.", "expected cn:NAME"),
        ("cn:a..", "expected cn:NAME"),
        ("cn:" + "a" * 2049, "expected cn:NAME"),
        ("cn:*..example", "one whole label"),
        ("san:dns:a*.example", "one whole label"),
        ("san:dns:b\u00fccher.example", "in ASCII"),
        ("san:dns:a..example", "in ASCII"),
        ("san:dns:a b", "in ASCII"),
        ("san:uri:spiffe://example/*", "as a whole"),
        ("sha256:abc", "64 hexadecimal digits"),
        (f"sha256:{DIGITS}0", "64 hexadecimal digits"),
    ],
)
def test_rules_that_cannot_hold_are_errors(rule: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_rule(rule)


_LABELS = st.lists(st.sampled_from(["a", "b", "*", "ops"]), min_size=1, max_size=4)


def fits(rule: list[str], name: list[str]) -> bool:
    """The meaning of a rule, label by label."""
    return len(rule) == len(name) and all(one in ("*", other) for one, other in zip(rule, name, strict=True))


@given(st.lists(_LABELS, min_size=1, max_size=4), _LABELS)
def test_look_ups_agree_with_a_comparison_label_by_label(rules: list[list[str]], name: list[str]) -> None:
    compiled = CertificateRules("cn:" + ".".join(rule) for rule in rules)
    found = compiled.allow(Tls(common_name=".".join(name), fingerprint=DIGITS))
    assert found is any(fits(rule, name) for rule in rules)


@given(st.text(), st.lists(st.text().map("dns:".__add__) | st.text()))
def test_any_text_is_a_name_and_matches_only_what_it_should(common_name: str, names: list[str]) -> None:
    rules = CertificateRules(["cn:*.ops.example", "san:dns:*.ops.example", "san:uri:x://y"])
    expected = re.compile(r"[^.]+\.ops\.example\.?", re.ASCII | re.IGNORECASE)
    allowed = rules.allow(Tls(common_name=common_name, names=tuple(names), fingerprint=DIGITS))
    certain = [common_name, *(name.removeprefix("dns:") for name in names if name.startswith("dns:"))]
    assert allowed is ("uri:x://y" in names or any(one.isprintable() and expected.fullmatch(one) for one in certain))


@given(st.text())
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    for prefix in ("cn:", "san:dns:", "san:uri:", "sha256:", "san:"):
        try:
            rule = parse_rule(prefix + text)
        except ValueError:
            continue
        assert parse_rule(rule if rule.startswith(("cn:", "sha256:")) else f"san:{rule}") == rule


def test_long_names_match_nothing_and_many_rules_cost_one_look_up_each() -> None:
    rules = CertificateRules([*(f"cn:*.h{number}.example" for number in range(10_000)), "cn:*", "san:uri:x://y"])
    assert len(rules._wildcards) == 2
    for long in ("a" * 65536, "a." * 32768, "\0" * 65536, "*." * 32768):
        hostile = Tls(common_name=long, names=(f"dns:{long}", f"uri:{long}") * 10, fingerprint=DIGITS)
        assert not rules.allow(hostile)
