"""Responses to ``netd status``."""

import json
from collections.abc import Mapping
from typing import Any

from netd.shared.table import Counts


def status(services: Mapping[str, Counts], *, enabled: bool = True, **changes: object) -> dict[str, Any]:
    """A status as the control socket sends it."""
    answer = {
        "version": "0.1.0",
        "started": 1_700_000_000.5,
        "ready": True,
        "healthy": True,
        "generation": 3,
        "last_reload_successful": True,
        "bans": 2,
        "log_lines_lost": 7,
        "counts": {
            "worker_lost": 1,
            "reload_applied": 2,
            "reload_rejected": 3,
            "source_banned": 4,
            "control_refused": 5,
        },
        "workers": [{"worker": 0}, {"worker": 1}, {"worker": 0, "leaving": True}],
        "services": [
            {
                "service": name,
                "enabled": enabled,
                "endpoints": ["tcp://127.0.0.1:7", "tcp://[::1]:7", "udp://127.0.0.1:7", "unix:///run/x.sock"],
                "counters": one.summary(),
            }
            for name, one in services.items()
        ],
        **changes,
    }
    decoded: dict[str, Any] = json.loads(json.dumps(answer))
    return decoded
