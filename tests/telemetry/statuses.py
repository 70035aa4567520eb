"""Responses to ``netd status``."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from netd.shared.table import Counts
from netd.telemetry.counters import published

TARGETS = [
    {"target": "tcp://192.0.2.7:80", "state": "up", "connections": 3, "failures": 1},
    {"target": "unix:///x", "state": "drain", "connections": 0, "failures": 0},
]

CRASHES = {"number": 4, "at": 1.7e9, "sources": ["192.0.2.7"], "rests_until": 1.8e9}
CERTIFICATES = [{"file": "/tls/web.pem", "names": ["www.example.org"], "expires": 1_800_000_000.0}]


def status(
    services: Mapping[str, Counts],
    *,
    enabled: bool = True,
    programs: Collection[str] = (),
    forwards: Collection[str] = (),
    tls: Collection[str] = (),
    code: Collection[str] = (),
    **changes: object,
) -> dict[str, Any]:
    """A status as the control socket sends it. ``programs`` are the services that start some; their last one failed.

    ``forwards`` are those that forward, ``tls`` those with TLS, ``code`` those of the type
    `python`, which has taken workers down.
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
                "type": "python" if name in code else "echo",
                "enabled": enabled,
                "endpoints": [
                    f"{'tls' if name in tls else 'tcp'}://127.0.0.1:7",
                    "tcp://[::1]:7",
                    "udp://127.0.0.1:7",
                    "unix:///run/x.sock",
                ],
                "failing": "exit code 1" if name in programs else "",
                "counters": published(one, programs=name in programs, forwards=name in forwards),
                **({"targets": TARGETS} if name in forwards else {}),
                **({"crashes": CRASHES} if name in code else {}),
                **({"certificates": CERTIFICATES} if name in tls else {}),
            }
            for name, one in services.items()
        ],
        **changes,
    }
    decoded: dict[str, Any] = json.loads(json.dumps(answer))
    return decoded
