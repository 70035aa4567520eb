"""Why something ended or was not taken: the reasons that logs, counters and metrics give."""

from typing import Literal

Outcome = Literal["done", "reset", "idle", "lifetime", "bytes", "peer_error", "failed", "kicked", "stopped", "lost"]
"""How a connection ended: the service closed it, the peer broke it off, a limit ended it (three kinds), the peer broke
the rules, the service has a bug, the operator ended it, netd or the service stops, the worker died."""
Refusal = Literal[
    "banned",
    "access",
    "times",
    "connections",
    "daemon_connections",
    "per_source",
    "rate",
    "total_rate",
    "threads",
    "no_resources",
    "backlog",
]
"""Why a connection was closed before a word: the name of the limit or rule; or all threads for blocking handlers are
taken, the system has no means for it, or the listener's queue was full (the kernel's own refusal)."""
Drop = Literal[
    "banned",
    "access",
    "times",
    "rate",
    "total_rate",
    "source_port",
    "source_address",
    "source_path",
    "destination",
    "amplification",
    "too_long",
    "no_address",
    "no_room",
    "unsendable",
    "receive_failed",
    "kernel",
]
"""Why a datagram was not taken, or its answer not sent: the name of the limit or rule, or what the reply guard minds;
or the path of a UNIX sender does not lead to a socket of that user's, or is one of this netd; or the socket's queue was
full (the kernel's own drop)."""
