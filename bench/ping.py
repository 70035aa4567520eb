"""Compare the times of netd probe with those of a C client: both measure one netd in turn. Prints their medians.

    bench/ping.py [--rounds N] [--count N] [--rate N]

The C client (bench/ping.c) sends one question at a time in a blocking loop, at the same rate. netd has one processor
core and the clients another, where there are two.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

BENCH = Path(__file__).parent
PING = BENCH / "build" / "ping"
SIZE = 64


@contextlib.contextmanager
def served(core: int) -> Iterator[dict[str, str]]:
    """Run a netd with echo over TCP, UDP and a UNIX stream. Its URLs by scheme."""
    with tempfile.TemporaryDirectory(prefix="netd-") as directory:
        places = f"[tcp://127.0.0.1:0, udp://127.0.0.1:0, 'unix://{directory}/echo.sock']"
        config = Path(directory, "netd.yaml")
        config.write_text(f"daemon: {{control: off, drain: 1s}}\nservices: {{echo: {{listen: {places}}}}}\n")
        netd = subprocess.Popen(
            ["taskset", "-c", str(core), sys.executable, "-m", "netd", "run", "-c", str(config)],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert netd.stderr
        found = {}
        for line in map(json.loads, netd.stderr):
            if line["event"] == "listening":
                found[line["endpoint"].partition(":")[0]] = line["endpoint"]
            elif line["event"] == "netd_started":
                break
        try:
            yield found
        finally:
            netd.terminate()
            netd.communicate()


def ask_in_c(url: str, count: int, rate: int, core: int) -> float:
    """The C client's median, in microseconds."""
    scheme, _, place = url.partition("://")
    where = [place] if scheme == "unix" else place.rsplit(":", 1)
    command = [str(PING), scheme, *where, str(count), str(SIZE), str(1_000_000 // rate)]
    return float(subprocess.run(["taskset", "-c", str(core), *command], capture_output=True, check=True).stdout)


def ask_by_probe(url: str, count: int, rate: int, core: int) -> float:
    """The median of netd probe, in microseconds."""
    options = ["--service", "echo", "--count", str(count), "--rate", f"{rate}/s", "--size", str(SIZE), "--json"]
    command = ["taskset", "-c", str(core), sys.executable, "-m", "netd", "probe", url, *options]
    result = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return float(result["targets"][0]["rtt"]["median"]) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="of both clients in turn (9)")
    parser.add_argument("--count", type=int, default=500, help="questions in a round (500)")
    parser.add_argument("--rate", type=int, default=500, help="questions a second (500)")
    options = parser.parse_args()
    PING.parent.mkdir(exist_ok=True)
    made = PING.with_suffix(f".{os.getpid()}")  # complete at once: another process may be about to run it
    subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", str(made), str(BENCH / "ping.c")], check=True)
    made.replace(PING)
    cores = sorted(os.sched_getaffinity(0))
    print("| transport | C median | netd probe median | difference in a round |")
    print("|---|---|---|---|")
    with served(cores[0]) as places:
        for scheme, url in places.items():
            pairs = [
                tuple(ask(url, options.count, options.rate, cores[-1]) for ask in (ask_in_c, ask_by_probe))
                for _ in range(options.rounds)
            ]
            c, probe = (statistics.median(column) for column in zip(*pairs, strict=True))
            apart = sorted(mine - theirs for theirs, mine in pairs)
            spread = f"{statistics.median(apart):.1f} us ({apart[0]:.1f} to {apart[-1]:.1f})"
            print(f"| {scheme} | {c:.1f} us | {probe:.1f} us | {spread} |", flush=True)


if __name__ == "__main__":
    main()
