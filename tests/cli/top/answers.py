"""What netd answers to `netd top` and `netd status`."""

from typing import Any

from netd.shared.table import Counts
from netd.telemetry.counters import published


def service(name: str, **given: Any) -> dict[str, Any]:
    return {
        "service": name,
        "type": "echo",
        "enabled": True,
        "why": "",
        "endpoints": [f"tcp://127.0.0.1/{name}"],
        "connections": 0,
        "requests": 0,
        "refused": 0,
        "dropped": 0,
        "failed": 0,
        **given,
        "counters": {**published(Counts()), **given.get("counters", {})},
    }


def answer(*services: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "pid": 1,
        "config": "/etc/netd/netd.yaml",
        "generation": 1,
        "last_reload_successful": True,
        "last_reload_problems": [],
        "run": "1-0",
        "started": 0.0,
        "uptime_seconds": 1.0,
        "ready": True,
        "healthy": True,
        "stopping": False,
        "log_level": "info",
        "banned_sources": 0,
        "counters": {"workers_lost": 0},
        "last": {"workers_lost": None, "reloads_rejected": None},
        "workers_missing": 0,
        "workers": [{"worker": 0, "pid": 2, "leaving": False}],
        "services": list(services),
        **given,
    }
