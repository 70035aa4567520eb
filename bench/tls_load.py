"""The load over TLS, with Python's ssl. ``tls_load.py KIND -p PORT [-n NUMBER] [-s SIZE] [-t SECONDS] [-w WARM_UP]``.

tls-connect  NUMBER at a time: connect, handshake, SIZE octets there and back, close with a close_notify from both ends
tls-resume   the same, but each handshake resumes the session of the connection before it, with its ticket
tls-bulk     SIZE octets there and back, one at a time on each of NUMBER connections
tls-idle     NUMBER connections, SIZE octets there and back on each; then nothing

It talks as load.c does. The client's part of a handshake costs more than the server's, so this load is the bottleneck:
what it measures is good for the server's processor time alone.
"""

import argparse
import contextlib
import json
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

_TIMEOUT = 20  # seconds for each step of a connection


def context_of_client() -> ssl.SSLContext:
    """Of a client that takes any certificate, and TLS 1.3 alone, so that all servers do the same work."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Client:
    """What all connections have in common."""

    def __init__(self, port: int, size: int) -> None:
        self._port = port
        self._data = bytes(size)
        self._context = context_of_client()

    def connected(self, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
        """A connection after its handshake."""
        plain = socket.create_connection(("127.0.0.1", self._port), _TIMEOUT)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(plain, session=session)

    def exchange(self, client: ssl.SSLSocket) -> None:
        """Send the request and receive its answer."""
        client.sendall(self._data)
        left = len(self._data)
        while left:
            got = len(client.recv(left))
            if not got:
                raise ConnectionError("the server closed a connection")
            left -= got

    def connections(self, *, resume: bool) -> Iterator[None]:
        """One connection after the other, each until both ends have closed it."""
        session = None
        while True:
            with self.connected(session) as client:
                self.exchange(client)
                if session and not client.session_reused:
                    raise ConnectionError("the server does not resume sessions")
                session = client.session if resume else None
                with contextlib.suppress(OSError):  # a server that closes without a close_notify
                    client.unwrap()
            yield

    def requests(self) -> Iterator[None]:
        """One request after the other on one connection."""
        with self.connected() as client:
            while True:
                self.exchange(client)
                yield


def answered(steps: Iterator[None], until: float) -> list[float]:
    """The microseconds that each of these steps took, of which there is at least one."""
    times: list[float] = []
    while not times or time.perf_counter() < until:
        began = time.perf_counter()
        next(steps)
        times.append((time.perf_counter() - began) * 1e6)
    return times


def measured(options: argparse.Namespace) -> None:
    """Measure, and print what `bench.load.Load` reads."""
    client = Client(options.port, options.size)
    if options.kind == "tls-bulk":
        loops = [client.requests() for _ in range(options.number)]
    else:
        loops = [client.connections(resume=options.kind == "tls-resume") for _ in range(options.number)]
    with ThreadPoolExecutor(options.number) as threads:

        def run(seconds: float) -> list[float]:
            until = time.perf_counter() + seconds
            return sorted(one for times in threads.map(lambda steps: answered(steps, until), loops) for one in times)

        run(options.warm_up)
        began = wait_for_a_line("ready")
        report(began, run(options.seconds))


def idle(options: argparse.Namespace) -> None:
    """Open the connections, which stay open."""
    client = Client(options.port, options.size)
    began = wait_for_a_line("ready")
    loops = [client.requests() for _ in range(options.number)]
    report(began, sorted(one for steps in loops for one in answered(steps, 0)))


def report(began: float, times: list[float]) -> None:
    """Print the fields of a `Figure`."""
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "most": 1.0}
    found = {name: times[min(int(share * len(times)), len(times) - 1)] for name, share in at.items()}
    counts = {"seconds": time.perf_counter() - began, "answers": len(times), "bytes": 0, "lost": 0}
    wait_for_a_line(json.dumps(counts | found))


def wait_for_a_line(line: str) -> float:
    """Print a line, and wait for one. When that came."""
    print(line, flush=True)
    sys.stdin.readline()
    return time.perf_counter()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["tls-connect", "tls-resume", "tls-bulk", "tls-idle"])
    parser.add_argument("-p", dest="port", type=int, required=True)
    parser.add_argument("-n", dest="number", type=int, default=1)
    parser.add_argument("-s", dest="size", type=int, default=64)
    parser.add_argument("-t", dest="seconds", type=float, default=1.0)
    parser.add_argument("-w", dest="warm_up", type=float, default=0.0)
    try:
        given = parser.parse_args()
        idle(given) if given.kind == "tls-idle" else measured(given)
    except OSError as error:
        sys.exit(str(error))
