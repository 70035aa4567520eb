"""Reasons in logs, counters and metrics: for the end of a connection, for a refusal, for a dropped datagram.

Scripts depend on these terms, and on the JSON that has them (docs/reference/json.md).
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
    "evicted",
    "kicked",
    "stopped",
    "lost",
]
"""Why a connection ended: the service closed it, the peer reset it, it exceeded ``limits.idle`` (or the peer
acknowledged nothing for as long), ``lifetime`` or ``bytes``, the peer violated the protocol, the service has a bug, its
program could not be started, none of its targets could be reached, it was a session of datagrams and made room for
another one, the operator closed it (`netd kick`), netd or the service stopped or its target was disabled, the worker
crashed."""
Refusal = Literal[
    "banned",
    "access",
    "certificate",
    "times",
    "load",
    "connections",
    "daemon_connections",
    "per_source",
    "rate",
    "total_rate",
    "threads",
    "no_resources",
    "backlog",
]
"""Why a connection was refused: the name of the limit or rule (``load``: the host is too busy; ``certificate``: no
certificate rule of ``access.allow`` matches the one that the peer has, if it has one); or all threads for
blocking handlers are in use, the system lacks memory or descriptors, or the accept queue of the listener was full, so
that the kernel refused it."""
HandshakeFailure = Literal[
    "plain_text", "version", "cipher", "certificate", "alert", "protocol", "closed", "timeout", "busy"
]
"""Why a TLS handshake failed: the connection does not begin with one, as where a client speaks HTTP to an HTTPS port;
there is no common version or cipher; the client's certificate is missing or not valid; the client has refused with an
alert, as where it does not trust the certificate of netd; it violated the protocol; it left in the middle; it did not
complete it within ten seconds; too many handshakes were under way."""
Drop = Literal[
    "banned",
    "access",
    "times",
    "load",
    "rate",
    "total_rate",
    "threads",
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
    "no_session",
    "no_target",
    "target_refused",
    "kernel",
]
"""Why a datagram, or the answer to it, was dropped: the name of the limit or rule, or the objection of the reply guard
(``loop``: the exchange with this sender might have no end); or the path of a UNIX sender does not lead to a socket of
the same user, or leads to one of this netd; or it could not be passed on (``no_session``: there is no room for one more
session; ``no_target``: no target has an address or a route; ``target_refused``: no service has the port or path of the
target); or the receive queue of the socket was full, so that the kernel dropped
it; or it was one of too many that wait for a thread (``threads``)."""
