"""The counters of a service as JSON has them: under the names of the metrics, without ``netd_`` and ``_total``."""

import math
from itertools import accumulate
from typing import Any

from netd.shared.table import DURATIONS, Counts

_BOUNDS = [*(str(float(bound)) for bound in DURATIONS), "+Inf"]
_CLASSES = [f"{bound:g}" for bound in (*DURATIONS, math.inf)]


def published(counts: Counts) -> dict[str, Any]:
    """The counters. Numbers are always there; in those by reason, a reason that is missing has not occurred."""
    buckets = list(accumulate(counts.durations.get(name, 0) for name in _CLASSES))
    return {
        "connections_active": counts.active,
        "connections_accepted": counts.accepted,
        "connections_requests": counts.requests,
        "connections_checks": counts.checks,
        "connections_closed": dict(counts.closed),
        "connections_refused": dict(counts.refused),
        "connections_duration_seconds": {
            "count": buckets[-1],
            "sum": counts.duration_us / 1e6,
            "buckets": dict(zip(_BOUNDS, buckets, strict=True)),
        },
        "received_bytes": counts.bytes_in,
        "sent_bytes": counts.bytes_out,
        "datagrams_received": counts.datagrams_in,
        "datagrams_answered": counts.datagrams_out,
        "datagrams_dropped": dict(counts.dropped),
        "conversations_failed": counts.failed,
        "loops_detected": counts.loops,
        "own": dict(counts.own),
    }
