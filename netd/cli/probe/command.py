"""``netd probe``: measure services."""

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from netd.cli.options import parsed
from netd.cli.probe.summary import summary_text
from netd.client.probe import checks, formats
from netd.client.probe.checks import State, Thresholds
from netd.client.probe.figures import Summary, summarise
from netd.client.probe.probing import Plan, Probe, Probing
from netd.client.probe.questions import SERVICES, find_question, usual_service
from netd.client.probe.targets import Target, parse_target, resolve
from netd.errors import EXIT_NO, EXIT_OK, OperatorError, UsageError
from netd.values import Rate, parse_duration, parse_rate, parse_size

_COUNT = 10
_INTERVAL = 1.0  # seconds
_SHORTEST = 10_000  # ns from one question to the next
_MOST_UNDER_WAY = 500_000  # half of the results that are kept


def _rate(text: str) -> Rate:
    rate = parse_rate(text)
    if rate is None or rate.only or "burst" in text:
        raise ValueError(f"expected a rate such as 50/s, got {text!r}")
    return rate


class _Probe(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Where a check cannot be meant, its state is unknown: monitoring plug-ins have no exit code for usage."""
        try:
            return super().parse_args(ctx, list(args))
        except click.UsageError as error:
            if not any(word.partition("=")[0] in ("--warn", "--crit") for word in args):
                raise
            click.echo(checks.unknown(error.format_message()))
            ctx.exit(State.UNKNOWN)


@click.command(cls=_Probe, epilog="Example: netd probe udp://192.0.2.1:7 tcp://192.0.2.1:7 --count 100 --rate 20/s")
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option(
    "--service",
    type=click.Choice(SERVICES),
    help="What to ask and what the answer has to be. Default: by the port (13 daytime, 37 rfc868, and those of netd's "
    "own configs), else echo.",
)
@click.option("--count", type=click.IntRange(0), help="Questions to each target; 0: until Ctrl-C.  [default: 10]")
@click.option(
    "--interval",
    metavar="DURATION",
    callback=parsed(parse_duration),
    help="From one question to the next.  [default: 1s]",
)
@click.option("--rate", metavar="RATE", callback=parsed(_rate), help="The same as so many a second: 50/s.")
@click.option(
    "--duration", metavar="DURATION", callback=parsed(parse_duration), help="Ask for so long, and not --count times."
)
@click.option(
    "--size",
    metavar="SIZE",
    callback=parsed(parse_size),
    default="64",
    show_default=True,
    help="Octets of a question of echo or pingpong.",
)
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=parsed(parse_duration),
    default="2s",
    show_default=True,
    help="A question without an answer after so long is lost.",
)
@click.option(
    "--flood-limit",
    metavar="RATE",
    callback=parsed(_rate),
    default="100/s",
    show_default=True,
    help="The most that may be asked of all targets together that are not on loopback.",
)
@click.option("--json", is_flag=True, help="Print the figures as a JSON object.")
@click.option("--csv", is_flag=True, help="Print each question as a row of CSV.")
@click.option("--prometheus", is_flag=True, help="Print text for node_exporter's textfile collector.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the answers' times into FILE.svg or FILE.png.")
@click.option("--warn", metavar="LIMITS", callback=parsed(checks.parse_thresholds), help="Be a check: rtt=5ms,loss=1%.")
@click.option(
    "--crit", metavar="LIMITS", callback=parsed(checks.parse_thresholds), help="As --warn, for what is critical."
)
def probe(urls: Sequence[str], warn: Thresholds | None, crit: Thresholds | None, **options: Any) -> int:
    """Measure services: ask each URL questions, check the answers, and tell how long they took.

    URL is tcp://HOST:PORT, udp://HOST:PORT, unix:///PATH, unixgram:///PATH, or unix://@ABSTRACT. Questions are sent
    when they are due, whether or not earlier ones are answered. Ten questions, one a second, are enough for a median
    and to see a loss of a tenth, and end by themselves where a script forgot to say --count. Ctrl-C ends a run with the
    figures so far.

    With --warn or --crit it is a check for Nagios and its like: one line with performance data, and exit code 0 (OK), 1
    (warning), 2 (critical, also where nothing answers) or 3 (unknown, also where an option cannot be meant). What may
    be named: rtt (the median), mean, p90, p99, max, jitter, connect, offset, loss; one that cannot be measured there is
    unknown. Wrong answers are a warning; losses are one only above a limit.

    Else exit code 0: every target answered, and only rightly; 1: not so.
    """
    if warn is None and crit is None:
        summaries = _probe(urls, None, **options)
        return EXIT_OK if all(summary.good for summary in summaries) else EXIT_NO
    try:
        found: list[State] = []

        def judge(summaries: Sequence[Summary]) -> tuple[State, str]:
            verdict = checks.report([checks.judge(summary, warn or {}, crit or {}) for summary in summaries])
            found.append(verdict[0])
            return verdict

        _probe(urls, judge, **options)
        return found[0]
    except OperatorError as error:
        click.echo(checks.unknown("; ".join(error.problems)))
        return State.UNKNOWN


Judge = Callable[[Sequence[Summary]], tuple[State, str]]


def _probe(
    urls: Sequence[str],
    judge: Judge | None,
    *,
    service: str | None,
    size: int,
    json: bool,
    csv: bool,
    prometheus: bool,
    plot: str | None,
    flood_limit: Rate,
    **timing: Any,
) -> list[Summary]:
    """Measure and print; the figures of each target."""
    shape = _shape(json=json, csv=csv, prometheus=prometheus)
    draw = _drawing(plot)
    plan = _plan(**timing)
    endpoints = [parse_target(url) for url in urls]
    asked = []
    for endpoint in endpoints:
        name = service or usual_service(endpoint.port)
        try:
            question = find_question(name, size, streams=endpoint.streams, random=random.SystemRandom())
        except ValueError as error:
            raise UsageError([f"{endpoint}: {name}: {error}"]) from None
        asked.append((name, question))
    targets = resolve(endpoints)
    _keep_from_flooding(targets, plan, flood_limit)
    run = Probing([(target, *how) for target, how in zip(targets, asked, strict=True)], plan)
    if sys.stderr.isatty():
        from netd.cli.probe.live import Live

        with Live() as live:
            run.run(live.look)
    else:
        run.run()
    summaries = [summarise(one) for one in run.probes]
    click.echo(_told(run, summaries, shape, judge))
    if draw:
        draw(run.probes)
    return summaries


def _shape(**wanted: bool) -> str | None:
    """What is printed for programs, if anything."""
    shapes = [shape for shape, on in wanted.items() if on]
    if len(shapes) > 1:
        raise UsageError([f"{' and '.join(f'--{shape}' for shape in shapes)} exclude each other; give one of them"])
    return shapes[0] if shapes else None


def _told(run: Probing, summaries: list[Summary], shape: str | None, judge: Judge | None) -> str:
    state, line = judge(summaries) if judge else (None, "")
    match shape:
        case "json":
            verdict = {} if state is None else {"state": state.name, "line": line}
            return formats.as_json(summaries, run.seconds, interrupted=run.interrupted, **verdict)
        case "csv":
            return formats.as_csv(run.probes)
        case "prometheus":
            return formats.as_prometheus(summaries, time.time())
    return line or summary_text(run, summaries)


def _plan(
    *, count: int | None, interval: float | None, rate: Rate | None, duration: float | None, timeout: float
) -> Plan:
    if interval is not None and rate is not None:
        raise UsageError(["--interval and --rate say the same; give one of them"])
    if count is None and duration is None:
        count = _COUNT
    every = rate.interval if rate else round((interval or _INTERVAL) * 1e9)
    plan = Plan(every, round(timeout * 1e9), count or None, None if duration is None else round(duration * 1e9))
    if every < _SHORTEST:
        raise UsageError([f"more than {10**9 // _SHORTEST} questions a second cannot be measured here"])
    if plan.timeout > every * _MOST_UNDER_WAY:
        raise UsageError([f"with this --timeout more than {_MOST_UNDER_WAY} questions could be under way"])
    return plan


def _keep_from_flooding(targets: Sequence[Target], plan: Plan, limit: Rate) -> None:
    """Nobody floods a network by mistake; what floods this host alone is its owner's business."""
    strangers = sum(not target.local for target in targets)
    if strangers * limit.interval > plan.interval:
        rate = strangers * 1e9 / plan.interval
        allowed = f"--flood-limit allows {limit.number}/{limit.unit}"
        remedy = "raise it where the network and the targets are yours to load"
        raise UsageError([f"{rate:g} questions a second would leave this host, and {allowed}; {remedy}"])


def _drawing(plot: str | None) -> Callable[[Sequence[Probe]], None] | None:
    """What draws into that file; whatever keeps it from that is said before the first question."""
    if plot is None:
        return None
    if not plot.endswith((".svg", ".png")):
        raise UsageError([f"--plot: expected a file that ends in .svg or .png, got {plot}"])
    try:
        from netd.client.probe.plot import draw
    except ImportError:
        raise UsageError(["--plot needs matplotlib: pip install 'netd[plot]'"]) from None
    directory = os.path.dirname(plot) or "."
    if not os.access(directory, os.W_OK) or os.path.isdir(plot):
        raise UsageError([f"--plot: cannot write {plot}"])
    return lambda probes: draw(probes, plot)
