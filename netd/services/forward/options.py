"""The options of `forward`: the targets, how one is chosen, and how netd connects to it."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from netd.addresses import host_text, parse_address
from netd.errors import InvalidValueError
from netd.notation import Notation
from netd.services.forward.balance import Balance
from netd.services.forward.health import Check
from netd.services.forward.target import Target
from netd.services.forward.to_tls import ToTls
from netd.text import shown
from netd.values import Duration, Model, list_hint

_MOST_TARGETS = 64


def _targets(value: object) -> tuple[object, ...]:
    if not isinstance(value, list | tuple) or not value:
        message = f"expected a list of URLs such as [tcp://192.0.2.7:80], got {shown(value)}"
        raise InvalidValueError(message, list_hint(value))
    if len(value) > _MOST_TARGETS:
        raise ValueError(f"expected at most {_MOST_TARGETS} targets, got {len(value)}")
    # `netd target` names one by words, so that any blanks between two are one.
    texts = [" ".join(text.split()) for text in value if isinstance(text, str)]
    if twice := next((text for text in texts if texts.count(text) > 1), None):
        raise ValueError(f"the target {shown(twice)} is given twice")
    return tuple(value)


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidValueError(f"expected an address such as 192.0.2.7, got {shown(value)}")
    return host_text(parse_address(value)) + "".join(value.partition("%")[1:])


TargetUrl = Annotated[
    Target,
    BeforeValidator(Target.parse),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": r"^(tcp|tls|udp)://[^ ?]+:\d{1,5}$|^unix(gram)?://[/@][^?]+$"}),
    Notation("URL"),
]


class ForwardOptions(Model):
    """Options of ``forward``."""

    to: Annotated[
        tuple[TargetUrl, ...],
        BeforeValidator(_targets),
        Field(json_schema_extra={"minItems": 1, "maxItems": _MOST_TARGETS}),
    ]
    """The targets, 1 to 64: tcp://HOST:PORT, tls://HOST:PORT and unix:///PATH for connections, udp://HOST:PORT and
    unixgram:///PATH for datagrams; unix://@NAME is an abstract one. HOST is an address or a name."""
    balance: Balance = "round_robin"
    """Which target a connection gets: `round_robin` (one after the other), `least` (the one with the fewest
    connections), `source` (the same one for each source address) or `first` (the first that can be reached, so that the
    others stand by). A target that cannot be reached is left out for a while."""
    connect: Duration = 5.0
    """How long a target may take to accept a connection; then the next one is tried. 5 s is enough to send a lost
    packet twice more (RFC 6298)."""
    resolve: Duration = 30.0
    """How long the addresses of a name are used before it is resolved again; the old ones stay if that fails. 30 s is
    short beside an outage, and next to nothing for a name server."""
    bind: Annotated[str, BeforeValidator(_address), WithJsonSchema({"type": "string"}), Notation("address")] | None = (
        None
    )
    """The local address from which netd connects, where the host has several; a link-local one has its interface, as in
    fe80::1%eth0. Unset: the kernel chooses it."""
    proxy_protocol: Literal["v1", "v2"] | None = None
    """The version of the PROXY protocol in which each connection to a target begins with a header that names the
    client. Unset: there is none, and targets see the address of this host. A target that expects no header takes it for
    input."""
    to_tls: ToTls = ToTls()
    """TLS to targets that are tls://HOST:PORT."""
    check: Check | None = None
    """Checks of each target, by which one that is down gets no connections: a mapping, {} for one with the defaults.
    Unset: only connections of clients show that a target cannot be reached."""
    session: Duration = 60.0
    """How long answers of a target still reach a client that has sent no datagram; then the next one is a new session.
    60 s is more than most questions take, and as long as common firewalls keep it (RFC 4787 asks for 2 minutes)."""

    @property
    def has_unverified_targets(self) -> bool:
        """Whether there are targets with TLS, of which no certificate is verified."""
        return not self.to_tls.verify and any(target.transport == "tls" for target in self.to)
