"""Measure netd and comparable servers, and write a report to bench/results. See docs/benchmarks.md."""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bench import machine, plot, processes, report
from bench.errors import FailedError
from bench.footprint import footprint
from bench.measure import Plan, measure
from bench.peers import BUILD, HERE, PEERS, Peer
from bench.results import Results
from bench.workloads import WORKLOADS, Workload

_DESCRIPTORS = 24_000  # for 10,000 connections, with both ends on this host
_QUICK = ("C", "netd", "netd echo", "netd without log", "stock", "asyncio", "uvloop")


def main() -> None:
    """Measure and report."""
    options = _options()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("make bench needs two cores: one for the server, one for the load")
    if (most := processes.allow_descriptors(_DESCRIPTORS)) < 10_100:
        sys.exit(f"make bench needs 10,100 open files, and {most} are allowed: ulimit -n")
    build()
    quick: bool = options.quick
    workloads = [w for w in WORKLOADS if (w.name in options.workloads if options.workloads else w.quick or not quick)]
    peers = [p for p in PEERS if (p.name in options.peers if options.peers else p.name in _QUICK or not quick)]
    seconds, rounds = options.seconds or (0.2 if quick else 0.7), options.rounds or (2 if quick else 5)
    plan = Plan(rounds, seconds, warm_up=seconds / 4, cores=cores)
    results = Results(
        when=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        quick=quick,
        rounds=rounds,
        seconds=seconds,
        machine=machine.describe(),
        missing={peer.name: missing for peer in peers if (missing := peer.missing())},
    )
    try:
        with processes.kill_descendants_at_end():
            _measure_all(results, workloads, peers, plan)
            if not options.workloads and "netd" in [peer.name for peer in peers]:
                _log("start, commands and memory of netd")
                results.footprint = footprint(3 if quick else 10, cores)
    except (FailedError, OSError, subprocess.SubprocessError) as error:
        _log(f"failed: {error}; results so far:")
    except KeyboardInterrupt:
        _log("interrupted; results so far:")
    write(results, options.output)


def _measure_all(results: Results, workloads: Sequence[Workload], peers: Sequence[Peer], plan: Plan) -> None:
    for workload in workloads:
        participants = [peer for peer in peers if peer.name not in results.missing and peer.serves_in(workload)]
        if participants:
            _log(f"{workload.title}: {', '.join(peer.name for peer in participants)}")
            results.cells[workload.name] = measure(workload, participants, plan)


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def write(results: Results, directory: Path) -> None:
    """Write the report, its plots and the raw figures to this directory, and print the report."""
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.glob("*.svg"):
        old.unlink()
    for name, picture in plot.pictures(results).items():
        (directory / f"{name}.svg").write_text(picture)
    (directory / "results.json").write_text(json.dumps(dataclasses.asdict(results), indent=1) + "\n")
    text = report.report(results)
    (directory / "README.md").write_text(text)
    print(text)


def build() -> None:
    """Compile the C programs that have changed."""
    compiler = shutil.which("cc")
    if not compiler:
        sys.exit("make bench needs a C compiler: cc (Debian's package gcc)")
    BUILD.mkdir(exist_ok=True)
    changed = max(source.stat().st_mtime for source in HERE.glob("*.[ch]"))
    for source in HERE.glob("*.c"):
        program = BUILD / source.stem
        if not program.exists() or program.stat().st_mtime < changed:
            # Complete at once: another process may be about to run it.
            made = program.with_suffix(f".{os.getpid()}")
            subprocess.run([compiler, "-O2", "-Wall", "-o", made, source], check=True)
            made.replace(program)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench ARGS=", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under two minutes: fewer peers, shorter rounds")
    parser.add_argument("--workloads", type=_names(w.name for w in WORKLOADS), default=[], help="only these, as in a,b")
    parser.add_argument("--peers", type=_names(p.name for p in PEERS), default=[], help="only these, as in C,netd")
    parser.add_argument("--rounds", type=int, help="of each workload (5; quick: 2)")
    parser.add_argument("--seconds", type=float, help="of one measurement (0.7; quick: 0.2)")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="directory of the report (bench/results)")
    return parser.parse_args()


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    """A parser of names separated by commas, which refuses unknown names."""
    names = list(known)

    def parse(text: str) -> list[str]:
        if unknown := [name for name in text.split(",") if name not in names]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are: {', '.join(names)}")
        return text.split(",")

    return parse


if __name__ == "__main__":
    main()
