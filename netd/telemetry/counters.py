"""The counters of a service as JSON has them: under the names of the metrics, without ``netd_`` and ``_total``."""

import math
from collections import Counter
from itertools import accumulate
from typing import Any, get_args

from netd.shared.table import DURATIONS, Counts
from netd.telemetry import forward_events
from netd.telemetry.program_events import COUNTERS, How

_BOUNDS = [*(str(float(bound)) for bound in DURATIONS), "+Inf"]
_CLASSES = [f"{bound:g}" for bound in (*DURATIONS, math.inf)]


def published(counts: Counts, *, programs: bool = False, forwards: bool = False) -> dict[str, Any]:
    """The counters, with those of ``programs``, or of one that ``forwards``, where the service type has them.

    Numbers are always there; in those by reason, a reason that is missing has not occurred.
    """
    known = (*(COUNTERS if programs else ()), *(forward_events.COUNTERS if forwards else ()))
    return {
        "connections_active": counts.active,
        "threads_active": counts.threads,
        "handlers_hanging": counts.hanging,
        "connections_accepted": counts.accepted,
        "connections_requests": counts.requests,
        "connections_checks": counts.checks,
        "connections_closed": dict(counts.closed),
        "connections_refused": dict(counts.refused),
        "connections_duration_seconds": _histogram(counts.durations, counts.duration_us),
        "received_bytes": counts.bytes_in,
        "sent_bytes": counts.bytes_out,
        "datagrams_received": counts.datagrams_in,
        "datagrams_answered": counts.datagrams_out,
        "datagrams_dropped": dict(counts.dropped),
        "conversations_failed": counts.failed,
        "loops_detected": counts.loops,
        "tls_handshakes": counts.handshakes,
        "tls_handshakes_resumed": counts.handshakes_resumed,
        "tls_handshakes_failed": dict(counts.handshakes_failed),
        **(_of_programs(counts.own) if programs else {}),
        **(_of_forwards(counts.own) if forwards else {}),
        "own": {name: number for name, number in counts.own.items() if name not in known},
    }


def _of_programs(own: Counter[str]) -> dict[str, Any]:
    ended = {how: number for how in get_args(How) if (number := own[f"programs_ended.{how}"])}
    durations = Counter({name: own[f"programs_durations.{name}"] for name in _CLASSES})
    return {
        "programs_started": own["programs_started"],
        "programs_not_started": own["programs_not_started"],
        "programs_ended": ended,
        "programs_duration_seconds": _histogram(durations, own["programs_duration_us"]),
        "programs_cpu_seconds": own["programs_cpu_us"] / 1e6,
        "programs_error_lines": own["programs_error_lines"],
    }


def _of_forwards(own: Counter[str]) -> dict[str, Any]:
    failures = {why: number for why in get_args(forward_events.Why) if (number := own[f"forward_failures.{why}"])}
    numbers = ("forward_connects", "forward_tls_handshakes", "forward_tls_handshakes_resumed")
    return {**{name: own[name] for name in numbers}, "forward_failures": failures}


def _histogram(classes: Counter[str], microseconds: int) -> dict[str, Any]:
    buckets = list(accumulate(classes[name] for name in _CLASSES))
    return {"count": buckets[-1], "sum": microseconds / 1e6, "buckets": dict(zip(_BOUNDS, buckets, strict=True))}
