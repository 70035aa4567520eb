"""The table of services that `netd status` prints and `netd top` updates. Values only: no input, no output."""

from collections.abc import Iterator
from typing import Any

from netd.text import printable

Answer = dict[str, Any]
Row = dict[str, Any]

NUMBERS = {
    "OPEN": "connections",
    "REQUESTS": "requests",
    "REFUSED": "refused",
    "DROPPED": "dropped",
    "FAILED": "failed",
}
"""The columns of numbers by head, with their fields in a status answer."""
_LONGEST_WHY = 200  # characters
HEADS = ("SERVICE", "ENDPOINT", *NUMBERS, "STATE")


def service_rows(answer: Answer) -> list[Row]:
    """A row for each service of a status answer, by head. Cells are text, but for numbers and the list of endpoints."""
    return [
        {
            "SERVICE": printable(service["service"]),
            "ENDPOINT": [printable(url) for url in service["endpoints"]],
            **{head: service[field] for head, field in NUMBERS.items()},
            "STATE": ("failing" if service.get("failing") else "on") if service["enabled"] else "off",
        }
        for service in answer["services"]
    ]


def reasons(service: Answer, answer: Answer) -> list[str]:
    """Why a service fails, why connections were refused and datagrams dropped: ``refused: rate 5, access 2``.

    ``answer`` is the status answer that has the service.
    """
    failing = printable(service.get("failing", ""))[:_LONGEST_WHY]
    fails = [f"failing: {failing}{_ago(answer, service.get('failed_at'), ', ')}"] if failing else []
    return fails + [
        f"{name}: {', '.join(f'{reason} {number}' for reason, number in _most(service['counters'][counter]))}"
        for name, counter in (("refused", "connections_refused"), ("dropped", "datagrams_dropped"))
        if service["counters"][counter]
    ]


def _most(numbers: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(numbers.items(), key=lambda one: -one[1])


def daemon_lines(answer: Answer) -> list[str]:
    """Two lines about the daemon, from a status answer, and one for each problem: not healthy, or a rejected reload."""
    draining = sum(worker["leaving"] for worker in answer["workers"])
    workers = len(answer["workers"]) - draining
    leaving = f", {draining} leaving" if draining else ""
    state = ", stopping" if answer["stopping"] else "" if answer["ready"] else ", not ready"
    lost = answer["counters"]["workers_lost"]
    last = answer.get("last", {})
    ago = _ago(answer, last.get("workers_lost"), ", the last ")
    losses = f", {lost} worker{'s' * (lost != 1)} lost{ago}" if lost else ""
    banned = answer["banned_sources"]
    bans = f", {banned} source{'s' * (banned != 1)} banned" if banned else ""
    daemon = (
        f"netd {answer['version']}, pid {answer['pid']}, up {readable_duration(answer['uptime_seconds'])}{state}, "
        f"{workers} worker{'s' * (workers != 1)}{leaving}{losses}, log level {answer['log_level']}"
    )
    config = f"config {printable(answer['config'])}, generation {answer['generation']}{bans}"
    return [daemon, config, *_problems(answer)]


def _problems(answer: Answer) -> Iterator[str]:
    # A netd before this version reports neither missing workers nor missed heartbeats, nor why it rejected a reload.
    if not answer["healthy"]:
        missing = answer.get("workers_missing", 0)
        why = [f"{missing} worker{'s' * (missing != 1)} missing"] if missing else []
        for worker in answer["workers"]:
            if worker.get("missed_heartbeats", 0) >= 2 and not worker["leaving"]:
                silent = readable_duration(worker["heartbeat_seconds"])
                why.append(f"worker {worker['worker']} (pid {worker['pid']}) silent for {silent}")
        yield f"NOT HEALTHY: {', '.join(why) or 'a worker is missing or silent'}"
    if not answer["last_reload_successful"]:
        first, *others = answer.get("last_reload_problems") or ["the log says why"]
        more = f" and {len(others)} more" if others else ""
        ago = _ago(answer, answer.get("last", {}).get("reloads_rejected"))
        yield f"reload rejected{ago}: {printable(first)}{more}"


def _ago(answer: Answer, when: float | None, before: str = " ") -> str:
    """How long before this answer a time was, by the clock of netd; empty where that is not known."""
    seconds = answer["started"] + answer["uptime_seconds"] - (when or 0)
    return "" if when is None else f"{before}{readable_duration(max(0.0, seconds))} ago"


def readable_duration(seconds: float) -> str:
    """A duration as text, with two units at most: ``3h12m``."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if hours == 0:
        return f"{minutes}m{int(seconds % 60)}s"
    return f"{hours}h{minutes % 60}m" if days == 0 else f"{days}d{hours % 24}h"
