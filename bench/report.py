"""The report: Markdown from results. Values only."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

from bench.footprint import DESCRIPTORS, LAUNCHER, MEMORY, PROGRAM, START
from bench.peers import PEERS
from bench.results import LIMIT, Cell, Figure, Results, Spread, counts, ratio, spread, unsaturated
from bench.targets import TARGETS
from bench.workloads import (
    COST,
    FORWARD,
    FORWARD_UDP,
    GROUPS,
    HANDLERS,
    HANDLERS_IDLE,
    IDLE,
    RATE,
    TLS,
    TLS_IDLE,
    WORKLOADS,
    Workload,
)

Rows = Iterable[Sequence[str]]


def table(header: Sequence[str], rows: Rows, words: int = 1) -> str:
    """A Markdown table. The first ``words`` columns are text, the others numbers."""
    lines = [header, ["---"] * words + ["---:"] * (len(header) - words), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def report(results: Results) -> str:
    """The whole report."""
    title = f"# netd and its peers, {results.when}\n"
    how = f"Medians of {results.rounds} interleaved rounds of {results.seconds:g} s, "
    how += "the least and the greatest behind them. [How it is measured](../../docs/benchmarks.md)."
    if results.quick:
        how += " **A quick run: good for seeing that everything works, not for figures to rely on.**"
    parts = [title, how + "\n", *_targets(results)]
    for group in GROUPS:
        workloads = [w for w in WORKLOADS if w.group == group and w.name in results.cells]
        if not workloads:
            continue
        parts.append(f"## {group}\n")
        parts += _TABLES.get(group, _rates)(results, workloads)
        parts += _notes(results, workloads)
        parts += _pictures(group, workloads)
    parts += [*_footprint(results), "## Servers\n", _servers(results), "## Machine\n", _machine(results)]
    return "\n".join(parts)


def _peers(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """The peers that were measured in any of these workloads, in the order of `PEERS`."""
    return [peer.name for peer in PEERS if any(peer.name in results.cells[w.name] for w in workloads)]


def _by_workload(
    results: Results, workloads: Sequence[Workload], peers: Sequence[str], text: Callable[[Workload, Cell], str]
) -> list[list[str]]:
    rows = []
    for workload in workloads:
        cells = results.cells[workload.name]
        rows.append([workload.title, *(_cell(cells.get(peer), workload, text) for peer in peers)])
    return rows


def _cell(cell: Cell | None, workload: Workload, text: Callable[[Workload, Cell], str]) -> str:
    if cell is None:
        return ""
    return text(workload, cell) if cell.figures else "failed"


def _rates(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """Rates as a share of the limit's, or of another server's, then times, then processor time for an answer."""
    peers = _peers(results, workloads)
    reference = _REFERENCES.get(workloads[0].group, LIMIT)
    others = [peer for peer in peers if peer != reference]
    rows = []
    for workload in workloads:
        cells = results.cells[workload.name]

        def beside(workload: Workload, cell: Cell, cells: dict[str, Cell] = cells) -> str:
            other = cells.get(reference)
            found = ratio(cell, other, counts(workload)) if other else None
            return ranged(found) if found else "-"

        row = [workload.title]
        row += [_cell(cells.get(peer), workload, _absolute) for peer in (reference, "netd")]
        row += [_cell(cells.get(peer), workload, beside) for peer in others]
        rows.append(row)
    unit = "a second of its processor time" if workloads[0].measure == "cost" else "a second"
    header = ["workload", f"{reference}, {unit}", f"netd, {unit}", *(f"{peer} / {reference}" for peer in others)]
    parts = [table(header, rows)]
    if timed := [w for w in workloads if w.measure == "rate"]:
        parts.append("Time of an answer, p50 / p99 in microseconds:\n")
        parts.append(table(["workload", *peers], _by_workload(results, timed, peers, _times)))
        parts.append("Processor time of the server for an answer, in microseconds:\n")
        parts.append(table(["workload", *peers], _by_workload(results, timed, peers, _processor)))
    return parts


def _delays(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """Percentiles of the time from when a request was due."""
    fields = ("p50", "p90", "p99", "p999", "most")
    parts = []
    for workload in workloads:
        rows = []
        for peer, cell in results.cells[workload.name].items():
            found = [spread(cell, attrgetter(name)) for name in fields]
            row = [number(one.median) if one else "failed" for one in found]
            rows.append([peer, *row, _lost(cell)])
        parts.append(f"{workload.title}; microseconds from when a request was due:\n")
        parts.append(table(["server", "p50", "p90", "p99", "p99.9", "longest", "lost"], rows))
    return parts


def _idle(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """Time and memory of idle connections."""
    rows = []
    for workload in workloads:
        for peer, cell in results.cells[workload.name].items():
            seconds, octets = spread(cell, attrgetter("seconds")), spread(cell, counts(workload))
            rows.append([peer, ranged(seconds) if seconds else "failed", ranged(octets) if octets else ""])
    return [table(["server", "seconds until all were answered", "octets each"], rows)]


def _costs(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """Answers per second of processor time, by the number of connections."""
    rows = [
        [peer, *(_cell(results.cells[w.name].get(peer), w, _absolute) for w in workloads)]
        for peer in _peers(results, workloads)
    ]
    numbers = [f"{w.connections:,}" for w in workloads]
    return ["Answers for a second of the server's processor time, by connections:\n", table(["server", *numbers], rows)]


_REFERENCES = {
    HANDLERS: "stock",
    FORWARD: "HAProxy",
    FORWARD_UDP: "nginx",
    TLS: "HAProxy",
}  # by group, where the limit has no part
_TABLES = {RATE: _delays, IDLE: _idle, TLS_IDLE: _idle, HANDLERS_IDLE: _idle, COST: _costs}


def _absolute(workload: Workload, cell: Cell) -> str:
    found = spread(cell, counts(workload))
    assert found
    return f"{number(found.median / 2**20)} MiB" if workload.measure == "bytes" else number(found.median)


def _times(workload: Workload, cell: Cell) -> str:
    p50, p99 = spread(cell, attrgetter("p50")), spread(cell, attrgetter("p99"))
    assert p50
    assert p99
    return f"{number(p50.median)} / {number(p99.median)}"


def _processor(workload: Workload, cell: Cell) -> str:
    found = spread(cell, lambda figure: figure.processor / figure.answers * 1e6 if figure.answers else 0)
    assert found
    return number(found.median)


def _lost(cell: Cell) -> str:
    found = spread(cell, lost_share)
    return f"{found.median:.1%}" if found and found.median else "-"


def lost_share(figure: Figure) -> float:
    """The share of requests without an answer, from 0 to 1."""
    return figure.lost / (figure.answers + figure.lost) if figure.lost else 0.0


def _notes(results: Results, workloads: Sequence[Workload]) -> list[str]:
    """Remarks below a table: load that was the limit, lost requests, failures."""
    notes = []
    for workload in workloads:
        cells = results.cells[workload.name]
        free = [peer for peer, cell in cells.items() if unsaturated(workload, cell)]
        if free:
            loads = [spread(cells[peer], attrgetter("load")) for peer in free]
            shares = [f"{peer} {load.median:.0%}" for peer, load in zip(free, loads, strict=True) if load]
            lower = f"the load did not fill the core of {', '.join(shares)}, so they may be faster than shown"
            notes.append(f"- {workload.title}: {lower}.")
        for peer, cell in cells.items():
            lost = spread(cell, lost_share)
            if lost and lost.median >= 0.001 and workload.group != RATE:
                notes.append(f"- {workload.title}: {peer} lost {lost.median:.1%} of the requests.")
            if cell.failure:
                notes.append(f"- {workload.title}: {peer} failed: {cell.failure}.")
    return ["\n".join(notes) + "\n"] if notes else []


def _pictures(group: str, workloads: Sequence[Workload]) -> list[str]:
    names = ["cost"] if group == COST else [workload.name for workload in workloads]
    return ["\n".join(f"![{name}]({name}.svg)" for name in names) + "\n"]


def _targets(results: Results) -> list[str]:
    rows = []
    for target in TARGETS:
        measured = target.measured(results)
        unit = "" if target.unit == "x" else f" {target.unit}"
        bound = f"{target.sense} {target.bound:g}{unit}"
        rows.append([target.title, bound, ranged(measured) + unit if measured else "-", target.verdict(results)])
    return ["## Targets\n", table(["what", "target", "measured (least to most)", "verdict"], rows, words=4)]


_MEMORY = {MEMORY: "supervisor and worker, PSS", LAUNCHER: "what a service of type exec adds to it"}


def _footprint(results: Results) -> list[str]:
    if not results.footprint:
        return []
    rows = []
    for key, values in results.footprint.items():
        if key == DESCRIPTORS:
            rows.append(["descriptors for a running program", ranged(Spread.of(values))])
        elif key in _MEMORY:
            rows.append([_MEMORY[key], ranged(Spread.of([one / 2**20 for one in values])) + " MiB"])
        elif key == PROGRAM:
            rows.append(["memory of netd for a running program", ranged(Spread.of(values)) + " octets"])
        else:
            what = "`netd run` until it answers" if key == START else f"`{key}`"
            rows.append([what, ranged(Spread.of([one * 1000 for one in values])) + " ms"])
    return ["## Start, commands, memory\n", table(["what", "measured (least to most)"], rows)]


def _servers(results: Results) -> str:
    rows = []
    for peer in PEERS:
        missing = results.missing.get(peer.name)
        measured = any(peer.name in cells for cells in results.cells.values())
        if measured or missing:
            rows.append([peer.name, f"not installed: {missing}" if missing else peer.what])
    return table(["server", "what it is"], rows, words=2)


def _machine(results: Results) -> str:
    return table(["what", "which"], list(results.machine.items()), words=2)


def number(value: float) -> str:
    """A number with three significant digits, and all digits from 100 on."""
    if abs(value) >= 100 or abs(value) < 0.005:
        return f"{round(value):,}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ranged(found: Spread) -> str:
    """The median, and the least and the greatest value."""
    if found.least == found.most:
        return number(found.median)
    return f"{number(found.median)} ({number(found.least)} to {number(found.most)})"
