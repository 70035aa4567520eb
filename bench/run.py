"""netd's echo beside the least a server can do (C) and what Python brings along (stock socketserver).

Server and load have a core each; the servers take turns on every workload, and the figures are medians over the rounds.
One line a workload, in Markdown. ``--seconds`` and ``--rounds`` say how long; the default takes under two minutes.
"""

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE / "build"

# Name, what `load` does, how much is under way, octets.
WORKLOADS = [
    ("TCP 64 B, 1 connection", "tcp", 1, 64),
    ("TCP 64 B, 64 connections", "tcp", 64, 64),
    ("TCP 64 B, 1,000 connections", "tcp", 1000, 64),
    ("connect, echo, close", "connect", 64, 64),
    ("bulk echo, 8 connections", "bulk", 8, 65536),
    ("UDP 64 B, 1 in flight", "udp", 1, 64),
    ("UDP 64 B, 128 in flight", "udp", 128, 64),
]


def build() -> None:
    """Compile what has changed."""
    compiler = shutil.which("cc")
    if not compiler:
        sys.exit("make bench needs a C compiler: cc (Debian's package gcc)")
    BUILD.mkdir(exist_ok=True)
    for source in HERE.glob("*.c"):
        program = BUILD / source.stem
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run([compiler, "-O2", "-Wall", "-o", program, source], check=True)


def free_port() -> int:
    """A port that is free for TCP and UDP."""
    while True:
        with socket.socket() as tcp, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                udp.bind(tcp.getsockname())
                return int(tcp.getsockname()[1])


def wait_for(port: int) -> None:
    """Wait until a server accepts."""
    for _ in range(400):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.025)
    sys.exit("a server does not start")


@contextlib.contextmanager
def servers(cores: list[int]) -> Iterator[dict[str, int]]:
    """All of them, running: the port of each."""
    ports = {"C": free_port(), "netd": free_port(), "stock": free_port()}
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        config = Path(directory) / "netd.yaml"
        listen = f"[tcp://127.0.0.1:{ports['netd']}, udp://127.0.0.1:{ports['netd']}]"
        config.write_text(f"services: {{echo: {{listen: {listen}}}}}\n")
        commands: list[list[str]] = [[sys.executable, "-m", "netd", "run", "-c", str(config)]]
        for transport in ("tcp", "udp"):
            commands.append([str(BUILD / "limit"), transport, str(ports["C"])])
            commands.append([sys.executable, str(HERE / "stock.py"), transport, str(ports["stock"])])
        log = stack.enter_context((Path(directory) / "log").open("wb"))
        for command in commands:
            process = subprocess.Popen(pinned(cores[0], command), stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
        for port in ports.values():
            wait_for(port)
        yield ports


def pinned(core: int, command: list[str]) -> list[str]:
    """The command on one core."""
    return ["taskset", "-c", str(core), *command]


def measure(port: int, workload: tuple[str, str, int, int], seconds: float, core: int) -> tuple[float, float, float]:
    """Answers a second, and the percentiles 50 and 99 in microseconds."""
    _, kind, in_flight, size = workload
    command = [str(BUILD / "load"), kind, "127.0.0.1", str(port), str(in_flight), str(size), str(seconds)]
    done = subprocess.run(pinned(core, command), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    rate, p50, p99, *_ = map(float, done.stdout.split())
    return rate, p50, p99


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one measurement (1.5)")
    parser.add_argument("--rounds", type=int, default=3, help="of each workload (3)")
    options = parser.parse_args()
    build()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("make bench needs two cores: one for the server, one for the load")
    print(f"Python {sys.version.split()[0]}, Linux {os.uname().release}, {len(cores)} cores; {options.rounds} rounds\n")
    print("| workload | netd a second | against C | against stock | p50 | p99 | C p50 | C p99 |")
    print("|---|---|---|---|---|---|---|---|")
    with servers(cores) as ports:
        for workload in WORKLOADS:
            rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ports}
            for _ in range(options.rounds):
                for name, port in ports.items():
                    rounds[name].append(measure(port, workload, options.seconds, cores[1]))
            rate = {name: [figures[0] for figures in figures_of] for name, figures_of in rounds.items()}
            middle = {name: [statistics.median(column) for column in zip(*rounds[name], strict=True)] for name in ports}
            row = [workload[0], f"{middle['netd'][0]:,.0f}"]
            for other in ("C", "stock"):
                ratios = [mine / theirs for mine, theirs in zip(rate["netd"], rate[other], strict=True)]
                row.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
            times = [middle[name][column] for name in ("netd", "C") for column in (1, 2)]
            row += [f"{microseconds:.0f} us" if microseconds else "-" for microseconds in times]
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
