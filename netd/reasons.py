"""Reasons in logs, counters and metrics: for the end of a connection, for a refusal, for a dropped datagram.

Scripts depend on these terms, and on the JSON that has them (docs/json.md).
"""

from typing import Literal

FORMAT_VERSION = 1
"""The version of all JSON that netd prints and serves, ``format_version`` in it. It changes when a field is removed or
renamed, or gets another type, unit or meaning."""

Outcome = Literal[
    "done",
    "reset",
    "idle",
    "lifetime",
    "bytes",
    "peer_error",
    "failed",
    "not_started",
    "no_target",
    "kicked",
    "stopped",
    "lost",
]
"""Why a connection ended: the service closed it, the peer reset it, it exceeded ``limits.idle`` (or the peer
acknowledged nothing for as long), ``lifetime`` or ``bytes``, the peer violated the protocol, the service has a bug, its
program could not be started, none of its targets could be reached, the operator closed it (`netd kick`), netd or the
service stopped, the worker crashed."""
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
"""Why a connection was refused: the name of the limit or rule; or all threads for blocking handlers are in use, the
system lacks memory or descriptors, or the accept queue of the listener was full, so that the kernel refused it."""
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
    "loop",
    "too_long",
    "no_address",
    "no_room",
    "unsendable",
    "receive_failed",
    "kernel",
]
"""Why a datagram, or the answer to it, was dropped: the name of the limit or rule, or the objection of the reply guard
(``loop``: the exchange with this sender might have no end); or the path of a UNIX sender does not lead to a socket of
the same user, or leads to one of this netd; or the receive queue of the socket was full, so that the kernel dropped
it."""
