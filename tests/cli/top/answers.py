"""What netd answers to `netd top` and `netd status`."""

from typing import Any


def service(name: str, **given: Any) -> dict[str, Any]:
    return {
        "service": name,
        "type": "echo",
        "enabled": True,
        "why": "",
        "endpoints": [f"tcp://127.0.0.1/{name}"],
        "connections": 0,
        "answered": 0,
        "refused": 0,
        "dropped": 0,
        "failed": 0,
        "counters": {},
        **given,
    }


def answer(*services: dict[str, Any], **given: Any) -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "pid": 1,
        "config": "/etc/netd/netd.yaml",
        "generation": 1,
        "last_reload_successful": True,
        "started": 0.0,
        "seconds": 1.0,
        "stopping": False,
        "log_level": "info",
        "bans": 0,
        "workers": [{"worker": 0, "pid": 2, "seconds": 1}],
        "services": list(services),
        **given,
    }
