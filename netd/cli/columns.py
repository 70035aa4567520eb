"""The table of services, which `netd status` prints once and `netd top` keeps up to date. Values in, values out."""

from typing import Any

from netd.text import printable

Answer = dict[str, Any]
Row = dict[str, Any]

NUMBERS = ("CONNECTIONS", "ANSWERED", "REFUSED", "DROPPED", "FAILED")
HEADS = ("SERVICE", "ENDPOINT", *NUMBERS, "STATE")


def service_rows(answer: Answer) -> list[Row]:
    """What a status answer says of each service, by head. Text, but for the numbers and the list of endpoints."""
    return [
        {
            "SERVICE": printable(service["service"]),
            "ENDPOINT": [printable(url) for url in service["endpoints"]],
            **{head: service[head.lower()] for head in NUMBERS},
            "STATE": ("on" if service["enabled"] else "off") + (f" ({service['why']})" if service["why"] else ""),
        }
        for service in answer["services"]
    ]


def daemon_lines(answer: Answer) -> list[str]:
    """What a status answer says of the daemon itself."""
    gone = sum("leaving" in worker for worker in answer["workers"])
    workers = len(answer["workers"]) - gone
    leaving = f", {gone} leaving" if gone else ""
    stopping = ", stopping" if answer["stopping"] else ""
    bans = f", {answer['bans']} source{'s' * (answer['bans'] != 1)} banned" if answer["bans"] else ""
    daemon = (
        f"netd {answer['version']}, pid {answer['pid']}, up {readable_duration(answer['seconds'])}{stopping}, "
        f"{workers} worker{'s' * (workers != 1)}{leaving}, log level {answer['log_level']}"
    )
    rejected = "" if answer["last_reload_successful"] else ", last reload rejected"
    return [daemon, f"config {printable(answer['config'])}, generation {answer['generation']}{rejected}{bans}"]


def readable_duration(seconds: float) -> str:
    """For people: two units at most."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if hours == 0:
        return f"{minutes}m{int(seconds % 60)}s"
    return f"{hours}h{minutes % 60}m" if days == 0 else f"{days}d{hours % 24}h"
