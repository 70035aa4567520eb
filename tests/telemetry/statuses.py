"""Responses to ``netd status``."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from netd.shared.table import Counts
from netd.telemetry.counters import published


def status(
    services: Mapping[str, Counts],
    *,
    enabled: bool = True,
    programs: Collection[str] = (),
    forwards: Collection[str] = (),
    **changes: object,
) -> dict[str, Any]:
    """A status as the control socket sends it. ``programs`` are the services that start some; their last one failed.

    ``forwards`` are those that forward.
    """
    answer = {
        "version": "0.1.0",
        "started": 1_700_000_000.5,
        "ready": True,
        "healthy": True,
        "generation": 3,
        "last_reload_successful": True,
        "banned_sources": 2,
        "counters": {
            "workers_lost": 1,
            "reloads_applied": 2,
            "reloads_rejected": 3,
            "sources_banned": 4,
            "control_refused": 5,
            "log_lines_lost": 7,
        },
        "workers": [{"worker": number, "leaving": number == 2} for number in range(3)],
        "services": [
            {
                "service": name,
                "enabled": enabled,
                "endpoints": ["tcp://127.0.0.1:7", "tcp://[::1]:7", "udp://127.0.0.1:7", "unix:///run/x.sock"],
                "failing": "exit code 1" if name in programs else "",
                "counters": published(one, programs=name in programs, forwards=name in forwards),
            }
            for name, one in services.items()
        ],
        **changes,
    }
    decoded: dict[str, Any] = json.loads(json.dumps(answer))
    return decoded
