"""The table of services that `netd status` prints and `netd top` updates. Values only: no input, no output."""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
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
_SOON = 30 * 86400.0  # seconds before a certificate expires, as for the event expiry_neared
_MOST_TARGETS = 3  # that are named in the list of services
HEADS = ("SERVICE", "ENDPOINT", *NUMBERS, "STATE")

TARGET_NUMBERS = ("OPEN", "SERVED", "FAILED", "SINCE")
TARGET_HEADS = ("TARGET", "STATE", *TARGET_NUMBERS, "WHY")
"""The columns of the targets of a service."""


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


def target_rows(targets: Iterable[Answer]) -> list[Row]:
    """A row for each target of a service that forwards, by head."""
    now = time.time()
    return [
        {
            "TARGET": target["target"],
            "STATE": target["state"],
            "OPEN": target["connections"],
            "SERVED": target["connections_served"],
            "FAILED": target["failures"],
            "SINCE": "" if target["since"] is None else readable_duration(max(0.0, now - target["since"])),
            "WHY": target["why"][:_LONGEST_WHY],
        }
        for target in targets
    ]


def reasons(service: Answer, answer: Answer) -> list[str]:
    """Why a service fails, why connections were refused and datagrams dropped: ``refused: rate 5, access 2``.

    ``answer`` is the status answer that has the service.
    """
    failing = printable(service.get("failing", ""))[:_LONGEST_WHY]
    fails = [f"failing: {failing}{_ago(answer, service.get('failed_at'), ', ')}"] if failing else []
    return (
        fails
        + _hanging(service)
        + _losses(service, answer)
        + _out_of_service(service)
        + _expiring(service)
        + [
            f"{name}: {', '.join(f'{reason} {number}' for reason, number in _most(service['counters'][counter]))}"
            for name, counter in (("refused", "connections_refused"), ("dropped", "datagrams_dropped"))
            if service["counters"][counter]
        ]
    )


def own_workers(answer: Answer) -> dict[str, Answer]:
    """The workers that serve one service alone, by the service."""
    # A netd before this version has none.
    found = [worker for worker in answer["workers"] if worker.get("service") and not worker["leaving"]]
    return {printable(worker["service"]): worker for worker in found}


def _hanging(service: Answer) -> list[str]:
    """``hanging: /srv/x.py:7 in handle for 34s, 33s of processor time; 2 more`` for the first of its handlers."""
    first, *others = service.get("hanging") or [None]
    if not first:
        return []
    seconds, used = readable_duration(first["seconds"]), readable_duration(first["cpu_seconds"])
    more = f"; {len(others)} more" if others else ""
    return [f"hanging: {printable(first['at'])[:_LONGEST_WHY]} for {seconds}, {used} of processor time{more}"]


def lost_workers(crashes: Answer, answer: Answer) -> str:
    """``3, the last 5s ago; rests for 4m55s``."""
    left = (crashes["rests_until"] or 0) - answer["started"] - answer["uptime_seconds"]
    rests = f"; rests for {readable_duration(left)}" if left >= 1 else ""
    return f"{crashes['number']}{_ago(answer, crashes['at'], ', the last ')}{rests}"


def _losses(service: Answer, answer: Answer) -> list[str]:
    crashes = service.get("crashes")
    if crashes and (service["moved"] or crashes["rests_until"]):
        return [f"lost workers: {lost_workers(crashes, answer)}"]
    return []


def _out_of_service(service: Answer) -> list[str]:
    """``targets: 1 of 2 up; tcp://192.0.2.7:80 down``; nothing where all are up."""
    targets = service.get("targets", ())
    out = [f"{printable(one['target'])} {one['state']}" for one in targets if one["state"] != "up"]
    more = [f"{len(out) - _MOST_TARGETS} more"] if len(out) > _MOST_TARGETS else []
    told = ", ".join(out[:_MOST_TARGETS] + more)
    return [f"targets: {len(targets) - len(out)} of {len(targets)} up; {told}"] if out else []


def _expiring(service: Answer) -> list[str]:
    """``certificate: /tls/a.pem expires on 2027-01-02, in 9 days`` for the first one to expire, from 30 days before."""
    first = min(service.get("certificates", ()), key=lambda one: one["expires"], default=None)
    return [f"certificate: {expiry(first)}"] if first and first["expires"] - time.time() < _SOON else []


def expiry(certificate: Answer) -> str:
    """``/tls/a.pem expires on 2027-01-02, in 9 days``."""
    days = int((certificate["expires"] - time.time()) // 86400)
    ends = f"{datetime.fromtimestamp(certificate['expires'], UTC):%Y-%m-%d}"
    left = f"expires on {ends}, in {days} days" if days >= 0 else f"has expired on {ends}"
    return f"{printable(certificate['file'])} {left}"


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
