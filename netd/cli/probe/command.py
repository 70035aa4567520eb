"""``netd probe``: measure services."""

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import click

from netd.cli.options import parsed, seconds
from netd.cli.probe.summary import summary_text
from netd.cli.tls_options import TlsOptions, tls_options
from netd.client.probe import checks, formats
from netd.client.probe.checks import State, Thresholds
from netd.client.probe.figures import Summary, summarise
from netd.client.probe.probing import Plan, Probe, Probing
from netd.client.probe.questions import SERVICES, find_question, usual_service
from netd.client.probe.targets import Target, parse_target, resolve
from netd.errors import EXIT_NO, EXIT_OK, OperatorError, UsageError
from netd.values import Rate, parse_rate, parse_size

_COUNT = 10
_INTERVAL = 1.0  # seconds
_MIN_INTERVAL = 10_000  # ns from one question to the next
_MAX_OUTSTANDING = 500_000  # questions; half of the results that are kept


def _rate(text: str) -> Rate:
    rate = parse_rate(text)
    if rate is None or rate.only or "burst" in text:
        raise ValueError(f"expected a rate such as 50/s, got {text!r}")
    return rate


class _Probe(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A usage error of a check is state UNKNOWN: monitoring plug-ins have no other exit code for it."""
        try:
            return super().parse_args(ctx, list(args))
        except click.UsageError as error:
            if not any(word.partition("=")[0] in ("--warn", "--crit") for word in args):
                raise
            click.echo(checks.unknown(error.format_message()))
            ctx.exit(State.UNKNOWN)


@click.command(
    cls=_Probe,
    epilog="Example: netd probe udp://192.0.2.1:7 --count 100 --rate 20/s",
)
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option(
    "--service",
    type=click.Choice(SERVICES),
    help="The protocol of questions and answers. Default: by the port (13 daytime, 37 rfc868, and those of netd's own "
    "configs), else echo.",
)
@click.option(
    "--count", type=click.IntRange(0), metavar="N", help="Questions to each target; 0: until Ctrl-C.  [default: 10]"
)
@click.option(
    "--interval",
    metavar="DURATION",
    callback=parsed(seconds),
    help="Time between two questions.  [default: 1s]",
)
@click.option("--rate", metavar="RATE", callback=parsed(_rate), help="The same as a rate: 50/s.")
@click.option(
    "--duration", metavar="DURATION", callback=parsed(seconds), help="Ask for this time, in place of --count."
)
@click.option(
    "--size",
    metavar="SIZE",
    callback=parsed(parse_size),
    default="64",
    show_default=True,
    help="Octets of a question of echo or pingpong.",
)
@click.option("--binary", is_flag=True, help="Ask echo with octets of all values, in place of printable text.")
@click.option(
    "--timeout",
    metavar="DURATION",
    callback=parsed(seconds),
    default="2s",
    show_default=True,
    help="A question without an answer after this time is lost.",
)
@click.option(
    "--flood-limit",
    metavar="RATE",
    callback=parsed(_rate),
    default="100/s",
    show_default=True,
    help="The highest rate allowed to all targets together that are not on this host.",
)
@click.option("--json", is_flag=True, help="Print the figures as a JSON object.")
@click.option("--csv", is_flag=True, help="Print each question as a row of CSV.")
@click.option("--prometheus", is_flag=True, help="Print text for node_exporter's textfile collector.")
@click.option("--plot", type=click.Path(dir_okay=False), help="Draw the times of answers into FILE.svg or FILE.png.")
@click.option(
    "--warn",
    metavar="LIMITS",
    callback=parsed(checks.parse_thresholds),
    help="Run as a monitoring check, with limits for a warning: rtt=5ms,loss=1%.",
)
@click.option(
    "--crit", metavar="LIMITS", callback=parsed(checks.parse_thresholds), help="The same, with limits for critical."
)
@tls_options
def probe(urls: Sequence[str], warn: Thresholds | None, crit: Thresholds | None, **options: Any) -> int:
    """Measure services: send questions to each URL, check the answers, and report how long they took.

    URL is tcp://HOST:PORT, tls://HOST:PORT, udp://HOST:PORT, unix:///PATH, unixgram:///PATH, or unix://@ABSTRACT.
    Questions are sent when they are due, whether or not earlier ones are answered. The default of ten questions, one a
    second, is enough for a median and to see a loss of a tenth, and a script without --count ends. Ctrl-C ends a run
    with the figures so far.

    With --warn or --crit it is a check for Nagios and compatible systems: one line with performance data, and exit code
    0 (OK), 1 (warning), 2 (critical, also without any answer) or 3 (unknown, also for a usage error). The figures that
    can have limits: rtt (the median), mean, p90, p99, max, jitter, connect, handshake, offset, loss; a figure that the
    service does not have is unknown. Wrong answers are a warning; losses are one only above a limit.
    """
    if warn is None and crit is None:
        summaries = _probe(urls, None, **options)
        return EXIT_OK if all(summary.good for summary in summaries) else EXIT_NO
    try:
        found: list[State] = []

        def evaluate(summaries: Sequence[Summary]) -> tuple[State, str]:
            verdict = checks.report([checks.evaluate(summary, warn or {}, crit or {}) for summary in summaries])
            found.append(verdict[0])
            return verdict

        _probe(urls, evaluate, **options)
        return found[0]
    except OperatorError as error:
        click.echo(checks.unknown("; ".join(error.problems)))
        return State.UNKNOWN


Evaluate = Callable[[Sequence[Summary]], tuple[State, str]]
"""Compares the figures with the limits of a check: its state, and its line of output."""


def _probe(
    urls: Sequence[str],
    evaluate: Evaluate | None,
    *,
    service: str | None,
    size: int,
    binary: bool,
    json: bool,
    csv: bool,
    prometheus: bool,
    plot: str | None,
    flood_limit: Rate,
    tls: TlsOptions,
    **timing: Any,
) -> list[Summary]:
    """Measure and print. The figures of each target."""
    output_format = _output_format(json=json, csv=csv, prometheus=prometheus)
    draw = _plotter(plot)
    plan = _plan(**timing)
    endpoints = [parse_target(url) for url in urls]
    tls.check_wanted(endpoints)
    questions = []
    for endpoint in endpoints:
        name = service or usual_service(endpoint.port)
        try:
            question = find_question(name, size, streams=endpoint.streams, random=random.SystemRandom(), binary=binary)
        except ValueError as error:
            raise UsageError([f"{endpoint}: {name}: {error}"]) from None
        questions.append((name, question))
    encrypted = [tls.of(endpoint) for endpoint in endpoints]
    targets = [replace(target, tls=one) for target, one in zip(resolve(endpoints), encrypted, strict=True)]
    _check_flood_limit(targets, plan, flood_limit)
    run = Probing([(target, *asked) for target, asked in zip(targets, questions, strict=True)], plan)
    if sys.stderr.isatty():
        from netd.cli.probe.live import Live

        with Live() as live:
            run.run(live.update)
    else:
        run.run()
    summaries = [summarise(one) for one in run.probes]
    click.echo(_output(run, summaries, output_format, evaluate))
    if draw:
        draw(run.probes, run.epoch)
    return summaries


def _output_format(**options: bool) -> str | None:
    """The output format that the options select; None for text."""
    given = [name for name, on in options.items() if on]
    if len(given) > 1:
        raise UsageError([f"{' and '.join(f'--{name}' for name in given)} exclude each other; give one of them"])
    return given[0] if given else None


def _output(run: Probing, summaries: list[Summary], output_format: str | None, evaluate: Evaluate | None) -> str:
    state, line = evaluate(summaries) if evaluate else (None, "")
    match output_format:
        case "json":
            verdict = {} if state is None else {"state": state.name, "line": line}
            return formats.as_json(summaries, run.seconds, interrupted=run.interrupted, **verdict)
        case "csv":
            return formats.as_csv(run.probes, run.epoch)
        case "prometheus":
            return formats.as_prometheus(summaries, time.time())
    width = os.get_terminal_size(1).columns if os.isatty(1) else 0
    return line or summary_text(run, summaries, width or None)


def _plan(
    *, count: int | None, interval: float | None, rate: Rate | None, duration: float | None, timeout: float
) -> Plan:
    if interval is not None and rate is not None:
        raise UsageError(["--interval and --rate exclude each other; give one of them"])
    if count is None and duration is None:
        count = _COUNT
    every = rate.interval if rate else round((interval or _INTERVAL) * 1e9)
    plan = Plan(every, round(timeout * 1e9), count or None, None if duration is None else round(duration * 1e9))
    if every < _MIN_INTERVAL:
        raise UsageError([f"more than {10**9 // _MIN_INTERVAL} questions a second cannot be measured"])
    if plan.timeout > every * _MAX_OUTSTANDING:
        raise UsageError([f"with this --timeout more than {_MAX_OUTSTANDING} questions could be outstanding"])
    return plan


def _check_flood_limit(targets: Sequence[Target], plan: Plan, limit: Rate) -> None:
    """Raise UsageError where the rate to other hosts exceeds the limit, which is there against accidental floods."""
    remote = sum(not target.local for target in targets)
    if remote * limit.interval > plan.interval:
        rate = remote * 1e9 / plan.interval
        allowed = f"--flood-limit allows {limit.number}/{limit.unit}"
        remedy = "raise it where the network and the targets are yours to load"
        raise UsageError([f"{rate:g} questions a second would leave this host, and {allowed}; {remedy}"])


def _plotter(plot: str | None) -> Callable[[Sequence[Probe], int], None] | None:
    """A function that draws into the file of ``--plot``. Raises UsageError, before any question, if it could not."""
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
    return lambda probes, epoch: draw(probes, plot, epoch)
