"""Certificate rules of `access.allow`: the certificates of clients that a service accepts, by name or fingerprint.

The names come from a certificate that TLS has verified. Its authority vouches for them, but they may be any text.
"""

import re
from collections.abc import Iterable
from string import ascii_lowercase, ascii_uppercase

from netd.peer import Tls
from netd.text import shown

FORMS = "cn:NAME, san:dns:NAME, san:uri:URI or sha256:DIGITS"
_LONGEST = 2048
"""Characters of the longest name that is compared. A host has 253 at most, and a URI seldom more than a hundred."""
_RULE = re.compile(r"(cn|san:dns|san:uri|san|sha256):(.*)", re.DOTALL)
_LABEL = re.compile(r"\*|[a-z0-9_-]{1,63}", re.ASCII)
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""Of ASCII alone: str.lower would also make a k of the sign for kelvin, which is another name."""


def parse_rule(text: object) -> str:
    """The form of a rule in which equal ones are equal, as ``dns:*.ops.example``; empty: it is no certificate rule.

    ValueError: it is one, and cannot hold.
    """
    match = _RULE.fullmatch(text) if isinstance(text, str) else None
    if not match:
        return ""
    kind, value = match[1].removeprefix("san:"), match[2]
    if kind == "san" or not value or len(value) > _LONGEST or not value.isprintable():
        raise ValueError(f"expected {FORMS}, got {shown(text)}")
    if kind == "sha256":
        value = value.replace(":", "").lower()
        if not re.fullmatch("[0-9a-f]{64}", value):
            raise ValueError(f"expected sha256: and 64 hexadecimal digits, got {shown(text)}")
    elif kind == "uri":
        if "*" in value:
            raise ValueError(f"a URI is compared as a whole, and * stands for nothing in it: {shown(text)}")
    else:
        value = _host(value)
        labels = value.split(".")
        if not labels[-1]:
            raise ValueError(f"expected {FORMS}, got {shown(text)}")
        if "*" in value and not all(label == "*" or (label and "*" not in label) for label in labels):
            raise ValueError(f"* stands for one whole label, as in cn:*.ops.example, got {shown(text)}")
        if kind == "dns" and not all(map(_LABEL.fullmatch, labels)):
            raise ValueError(f"expected the name of a host in ASCII, as in san:dns:*.ops.example, got {shown(text)}")
    return f"{kind}:{value}"


class CertificateRules:
    """The certificate rules of a service. A certificate needs one of them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(texts)
        """As the operator wrote them; none: every peer is allowed."""
        self._rules = frozenset(map(parse_rule, self.texts))
        self._wildcards = {_wildcard(rule) for rule in self._rules if "*" in rule}

    def allow(self, tls: Tls | None) -> bool:
        """Whether a peer is allowed, given what is known of its TLS connection."""
        if not self._rules:
            return True
        if tls is None or not tls.fingerprint:
            return False
        return f"sha256:{tls.fingerprint}" in self._rules or any(map(self._has, (f"cn:{tls.common_name}", *tls.names)))

    def _has(self, name: str) -> bool:
        """Whether a rule matches this name, which has its kind in front."""
        if len(name) > _LONGEST or not name.isprintable():
            return False
        kind, _, value = name.partition(":")
        if kind not in ("cn", "dns"):
            return kind == "uri" and name in self._rules
        value = _host(value)
        if f"{kind}:{value}" in self._rules:
            return True
        labels = value.split(".")
        if not all(labels):
            return False
        # Each place of a * costs one look-up, however many rules have it there.
        return any(
            f"{kind}:{'.'.join('*' if number in places else label for number, label in enumerate(labels))}"
            in self._rules
            for wanted, length, places in self._wildcards
            if wanted == kind and length == len(labels)
        )


def _host(name: str) -> str:
    return name.translate(_LOWER).removesuffix(".")


def _wildcard(rule: str) -> tuple[str, int, frozenset[int]]:
    """Of a rule with *: its kind, the number of its labels, and which of them are *."""
    kind, _, value = rule.partition(":")
    labels = value.split(".")
    return kind, len(labels), frozenset(number for number, label in enumerate(labels) if label == "*")
