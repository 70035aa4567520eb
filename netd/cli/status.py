"""``netd status``: the services of a running netd and their counters."""

import textwrap
from collections.abc import Iterable, Iterator

import click

from netd.cli.columns import (
    HEADS,
    NUMBERS,
    daemon_lines,
    expiry,
    lost_workers,
    own_workers,
    readable_duration,
    reasons,
    service_rows,
)
from netd.cli.completion import candidates
from netd.cli.control import ControlClient, control_options
from netd.cli.options import json_option
from netd.cli.output import print_answer, table, terminal_width
from netd.cli.target import target_table
from netd.client.control import Answer
from netd.text import printable

_SIZES = ("bytes", "line", "datagram")


@click.command(epilog="Example: netd status echo")
@click.argument("service", required=False, shell_complete=candidates.services)
@click.option("--all", "all_", is_flag=True, help="Show services that are off as rows too.")
@control_options
@json_option
def status(client: ControlClient, service: str | None, *, all_: bool, as_json: bool) -> int:
    """Show the services of a running netd, and their counters since it started; of one SERVICE also its limits.

    \b
    OPEN      connections open now
    REQUESTS  what arrived at once on a connection (at least one for each),
              and datagrams
    REFUSED   connections refused
    DROPPED   datagrams dropped, or their answers not sent
    FAILED    requests that failed by a bug in the service
    """  # noqa: D301  # the backslash is for click, which keeps the lines behind it as they are
    answer = client.ask("status", service=service)
    text = _describe(answer["services"][0], answer) if service else _overview(answer, all_=all_)
    return print_answer(answer, text, as_json=as_json)


def _overview(answer: Answer, *, all_: bool) -> str:
    """The daemon, a table of the services that are on, why they refused, and why they are off, or on by command."""
    rows = service_rows(answer)
    shown = [row for row in rows if all_ or row["STATE"] != "off"]
    cells = []
    for row in shown:
        first, *others = row["ENDPOINT"] or ["-"]
        cells.append([first if head == "ENDPOINT" else row[head] for head in HEADS])
        cells += [[other if head == "ENDPOINT" else "" for head in HEADS] for other in others]
    daemon, config, *problems = daemon_lines(answer)
    parts = [[_wrapped(daemon), config, *map(_wrapped, problems)]]
    parts.append([table(HEADS, cells, tuple(NUMBERS))] if shown else ["no service is on"])
    told = [(service["service"], reasons(service, answer)) for service in answer["services"]]
    parts.append([_wrapped(f"{name}: {'; '.join(why)}") for name, why in told if why])
    parts.append([_wrapped(f"{name}: in a worker of its own") for name in sorted(own_workers(answer))])
    parts.append([_wrapped(line) for line in _explained(answer["services"])])
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _explained(services: Iterable[Answer]) -> list[str]:
    """The services that are off, or on against the config: a line for each reason."""
    names: dict[str, list[str]] = {}
    for service in services:
        if service["why"]:
            state = f"{'on' if service['enabled'] else 'off'} ({service['why']})"
            names.setdefault(state, []).append(printable(service["service"]))
    return [f"{state}: {', '.join(services)}" for state, services in names.items()]


def _describe(service: Answer, answer: Answer) -> str:
    """All about one service, of this answer."""
    counters = service["counters"]
    why = f" ({service['why']})" if service["why"] else ""
    kind = "" if service["type"] == service["service"] else f", type {service['type']}"
    facts = [
        (service["service"], f"{'on' if service['enabled'] else 'off'}{why}{kind}"),
        *(line.split(": ", 1) for line in reasons(service, answer) if line.startswith(("failing", "hanging"))),
        *_own_worker(service["service"], answer),
        ("sockets" if service["enabled"] else "would listen on", " ".join(service["endpoints"]) or "none"),
        (
            "connections",
            f"{service['connections']} open, {counters['connections_accepted']} accepted",
        ),
        *((("threads", f"{counters['threads_active']} of handlers"),) if counters.get("threads_active") else ()),
        ("without an octet", str(counters["connections_checks"])),
        ("ended", f"{_by_reason(counters['connections_closed'])}{_mean(counters['connections_duration_seconds'])}"),
        ("requests", str(service["requests"])),
        ("octets", f"{counters['received_bytes']} received, {counters['sent_bytes']} sent"),
        ("datagrams", f"{counters['datagrams_received']} received, {counters['datagrams_answered']} answered"),
        ("refused", _by_reason(counters["connections_refused"])),
        ("dropped", _by_reason(counters["datagrams_dropped"])),
        ("failed", str(service["failed"])),
        ("loops", str(counters["loops_detected"])),
        *(_programs(service) if "programs_started" in counters else ()),
        *(_forwards(service) if "forward_connects" in counters else ()),
        *(_tls(service) if "certificates" in service else ()),
        *((name, str(number)) for name, number in counters["own"].items()),
        *((f"limits.{name}", _limit(name, value)) for name, value in service["limits"].items()),
    ]
    targets = f"\n\n{target_table(service)}" if "targets" in service else ""
    return table(("", ""), facts).lstrip("\n") + targets


def _own_worker(service: str, answer: Answer) -> Iterator[tuple[str, str]]:
    [found] = [one for one in answer["services"] if one["service"] == service]
    moved = ", since it took others down" if found.get("moved") else ""
    if worker := own_workers(answer).get(service):
        yield "worker", f"{worker['worker']} of its own{moved}, pid {worker['pid']}"
    if crashes := found.get("crashes"):
        yield "lost workers", lost_workers(crashes, answer)
        if crashes["sources"]:
            yield "while it served", ", ".join(map(printable, crashes["sources"]))


def _programs(service: Answer) -> list[tuple[str, str]]:
    counters = service["counters"]
    ended = counters["programs_ended"]
    running = max(0, counters["programs_started"] - sum(ended.values()))
    not_started = counters["programs_not_started"]
    failures = f", {not_started} could not be started" if not_started else ""
    return [
        ("programs", f"{counters['programs_started']} started, {running} running{failures}"),
        ("programs ended", f"{_by_reason(ended)}{_mean(counters['programs_duration_seconds'])}"),
        ("processor time", f"{counters['programs_cpu_seconds']:.3f}s, of programs that have ended"),
        ("lines of errors", str(counters["programs_error_lines"])),
    ]


def _forwards(service: Answer) -> Iterator[tuple[str, str]]:
    counters = service["counters"]
    yield "to targets", f"{counters['forward_connects']} connections begun"
    yield "not reached", _by_reason(counters["forward_failures"])
    if any(one["target"].startswith("tls:") for one in service["targets"]):
        yield "handshakes with targets", _resumed(counters, "forward_tls_handshakes")


def _tls(service: Answer) -> Iterator[tuple[str, str]]:
    counters = service["counters"]
    yield "TLS handshakes", _resumed(counters, "tls_handshakes")
    yield "failed handshakes", _by_reason(counters["tls_handshakes_failed"])
    for one in service["certificates"]:
        yield "certificate", expiry(one)


def _resumed(counters: Answer, handshakes: str) -> str:
    return f"{counters[handshakes]}, {counters[f'{handshakes}_resumed']} of them resumed"


def _mean(durations: Answer) -> str:
    return f"; {readable_duration(durations['sum'] / durations['count'])} on average" if durations["count"] else ""


def _by_reason(numbers: dict[str, int]) -> str:
    """A sum and its parts, the largest first."""
    parts = ", ".join(f"{reason} {number}" for reason, number in sorted(numbers.items(), key=lambda one: -one[1]))
    return f"{sum(numbers.values())}: {parts}" if numbers else "0"


def _limit(name: str, value: object) -> str:
    """A limit as in the config; in JSON a size is a number."""
    if name in _SIZES and isinstance(value, int):
        from netd.values import size_text  # only here, since it takes long

        return size_text(value)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _wrapped(line: str) -> str:
    width = terminal_width()
    return textwrap.fill(line, width, subsequent_indent="    ", break_on_hyphens=False) if width else line
