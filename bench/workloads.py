"""The table of workloads, and the arguments of the load for each."""

from dataclasses import dataclass
from typing import Literal

Measure = Literal["rate", "bytes", "delay", "idle", "cost"]
"""The value that a workload measures: answers a second, octets a second, the time of an answer at a fixed rate, the
memory of idle connections, or answers for a second of the server's processor time."""

PROTOCOLS = (
    "tcp",
    "udp",
    "pingpong",
    "time",
    "chargen",
    "check",
    "logged",
    "handler",
    "programs",
    "beside",
    "forward",
    "udp-forward",
    "tls",
)
"""The protocols of servers: `tcp` and `udp` are echoes, `check` answers HTTP, `logged` is an echo that logs each
connection, `handler` is an echo of lines by a StreamRequestHandler of socketserver, `programs` is an echo by a program
for each connection (cat(1)), and `beside` is both `tcp` and, on a second port, `programs`. `forward` passes connections
on to an echo at the second port, which is no part of the server, and `udp-forward` does with datagrams; `tls` is
`forward` for clients over TLS."""


@dataclass(frozen=True)
class Workload:
    """One measurement, made with every server of its protocol."""

    name: str
    title: str
    group: str
    protocol: str
    kind: str
    """The kind of load; see load.c, and tls_load.py for those that begin with `tls-`."""
    connections: int
    """Connections; for datagrams, outstanding requests."""
    options: tuple[str, ...] = ()
    measure: Measure = "rate"
    as_echo: tuple[str, ...] | None = None
    """The options for an echo, in a workload in which other servers answer lines."""
    variants: tuple[str, ...] = ()
    """Servers that take part only in workloads that name them."""
    programs: int = 0
    """Programs that start in a second on the second port, while the load runs on the first."""
    quick: bool = True
    """Whether a quick run measures it."""

    @property
    def has_target(self) -> bool:
        """Whether servers pass on what they get, to an echo at the second port."""
        return self.protocol in ("forward", "udp-forward", "tls")

    @property
    def over_tls(self) -> bool:
        """Whether its load is tls_load.py, which has no echo for a target in it, as load.c does."""
        return self.protocol == "tls"

    def arguments(self, *, of_echo: bool) -> list[str]:
        """The arguments of the load, but for the port and the times."""
        options = self.as_echo if of_echo and self.as_echo is not None else self.options
        return [self.kind, "-n", str(self.connections), *options]

    def beside(self) -> list[list[str]]:
        """The same for each load on the second port: none or one, which gives up programs that do not answer."""
        return [["connect", "-n", "100", "-r", str(self.programs)]] if self.programs else []

    @property
    def saturates(self) -> bool:
        """Whether there is always a request waiting for the server."""
        return self.connections > 1 and not self.over_tls and self.measure in ("rate", "bytes", "cost")


TCP = "TCP"
UDP = "UDP"
LINES = "Lines and streams"
LOG = "Access log"
HANDLERS = "Handlers of socketserver"
HANDLERS_IDLE = "Idle connections of handlers"
PROGRAMS = "Programs"
FORWARD = "Forwarding"
FORWARD_UDP = "Forwarding datagrams"
TLS = "TLS"
TLS_IDLE = "Idle connections over TLS"
RATE = "At a fixed rate"
IDLE = "Idle connections"
COST = "How cost grows"
GROUPS = (
    TCP,
    UDP,
    LINES,
    LOG,
    HANDLERS,
    HANDLERS_IDLE,
    PROGRAMS,
    FORWARD,
    FORWARD_UDP,
    TLS,
    TLS_IDLE,
    RATE,
    IDLE,
    COST,
)

_PER_SECOND = 20_000  # requests: a slow server still keeps up, a fast one is mostly idle

WORKLOADS = (
    Workload("tcp-1", "TCP 64 B, 1 connection", TCP, "tcp", "tcp", 1),
    Workload("tcp-64", "TCP 64 B, 64 connections", TCP, "tcp", "tcp", 64),
    Workload("tcp-1000", "TCP 64 B, 1,000 connections", TCP, "tcp", "tcp", 1000),
    Workload("connect", "connect, echo, close", TCP, "tcp", "connect", 64),
    Workload("bulk", "bulk echo, 64 KiB writes, 8 connections", TCP, "tcp", "bulk", 8, ("-s", "65536"), "bytes"),
    Workload("udp-1", "UDP 64 B, 1 in flight", UDP, "udp", "udp", 1),
    Workload("udp-128", "UDP 64 B, 128 in flight", UDP, "udp", "udp", 128),
    Workload(
        "udp-sources", "UDP 64 B, 1,000 sources, 128 in flight", UDP, "udp", "udp", 128, ("-m", "1000"), quick=False
    ),
    Workload(
        "pingpong",
        "pingpong lines, 64 connections",
        LINES,
        "pingpong",
        "tcp",
        64,
        ("-q", r"ping 0123456789\n"),
        as_echo=("-q", r"ping 0123456789\n"),
        variants=("netd echo",),
    ),
    Workload(
        "time",
        "time lines, 64 connections",
        LINES,
        "time",
        "tcp",
        64,
        ("-q", r"\n", "-a", "20", "-g", "21"),  # 2026-11-24 12:00:00 and LF; greeted with CRLF
        as_echo=("-s", "20"),
        variants=("netd echo",),
    ),
    Workload(
        "check",
        "connect, a health check from its cache, close",
        LINES,
        "check",
        "connect",
        64,
        ("-q", r"GET / HTTP/1.0\n\n", "-a", "214"),
        as_echo=("-s", "214"),
        variants=("netd echo",),
    ),
    Workload("chargen", "chargen, 8 connections", LINES, "chargen", "sink", 8, measure="bytes"),
    Workload(
        "logged", "connect, echo, close, each logged", LOG, "logged", "connect", 64, variants=("netd without log",)
    ),
    *(
        Workload(
            f"handler-{number}",
            f"lines to a StreamRequestHandler, {number:,} connection{'s' * (number > 1)}",
            HANDLERS,
            "handler",
            "tcp",
            number,
            ("-q", r"ping 0123456789\n"),
        )
        for number in (1, 64, 1000)
    ),
    Workload(
        "handler-connect", "connect, a line, close", HANDLERS, "handler", "connect", 16, ("-q", r"ping 0123456789\n")
    ),
    Workload(
        "handler-idle",
        "1,000 idle connections, each with a handler",
        HANDLERS_IDLE,
        "handler",
        "idle",
        1000,
        ("-q", r"ping 0123456789\n"),
        measure="idle",
        quick=False,
    ),
    Workload(
        "programs",
        "connect, 64 B through cat(1), close, 8 connections",
        PROGRAMS,
        "programs",
        "connect",
        8,
        variants=("netd stderr log", "netd without log"),
    ),
    Workload("forward-64", "64 B to an echo behind it, 64 connections", FORWARD, "forward", "tcp", 64),
    Workload("forward-connect", "connect, echo, close through it", FORWARD, "forward", "connect", 64),
    Workload(
        "forward-bulk", "bulk echo through it, 8 connections", FORWARD, "forward", "bulk", 8, ("-s", "65536"), "bytes"
    ),
    Workload(
        "forward-idle",
        "4,000 idle connections through it",
        FORWARD,
        "forward",
        "idle",
        4000,
        measure="idle",
        quick=False,
    ),
    Workload("udp-forward", "64 B to an echo behind it, 128 in flight", FORWARD_UDP, "udp-forward", "udp", 128),
    Workload(
        "udp-forward-sources",
        "the same, from 200 addresses in turn",
        FORWARD_UDP,
        "udp-forward",
        "udp",
        128,
        ("-m", "200"),
        quick=False,
    ),
    *(
        Workload(name, title, TLS, "tls", name, 8, options, "cost", variants=("netd echo",))
        for name, title, options in (
            ("tls-connect", "connect, full handshake, echo, close", ()),
            ("tls-resume", "the same with a session ticket", ()),
            ("tls-bulk", "64 KiB there and back over TLS", ("-s", "65536")),
        )
    ),
    Workload(
        "tls-idle",
        "1,000 idle connections over TLS",
        TLS_IDLE,
        "tls",
        "tls-idle",
        1000,
        measure="idle",
        variants=("netd echo",),
        quick=False,
    ),
    Workload(
        "tcp-rate",
        f"TCP 64 B, {_PER_SECOND:,} a second on 64 connections",
        RATE,
        "tcp",
        "tcp",
        64,
        ("-r", str(_PER_SECOND)),
        "delay",
    ),
    Workload(
        "udp-rate", f"UDP 64 B, {_PER_SECOND:,} a second", RATE, "udp", "udp", 1, ("-r", str(_PER_SECOND)), "delay"
    ),
    Workload(
        "beside",
        "TCP 64 B, 1,000 a second on 16 connections, beside 200 programs a second",
        RATE,
        "beside",
        "tcp",
        16,
        ("-r", "1000"),
        "delay",
        programs=200,
    ),
    Workload("idle", "10,000 idle connections", IDLE, "tcp", "idle", 10_000, measure="idle"),
    *(
        Workload(
            f"cost-{number}",
            f"TCP 64 B, {number:,} connection{'s' * (number > 1)}",
            COST,
            "tcp",
            "tcp",
            number,
            measure="cost",
            variants=("netd 2 workers",),
            quick=number in (1, 1000),
        )
        for number in (1, 10, 100, 1000, 10_000)
    ),
)
