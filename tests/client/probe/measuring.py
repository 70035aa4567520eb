"""Runs against services and servers of this process."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator

from netd.client.probe.figures import Summary, summarise
from netd.client.probe.probing import Plan, Probe, Probing
from netd.client.probe.questions import find_question
from netd.client.probe.targets import parse_target, resolve

SECOND = 10**9
TIMEOUT = 10 * SECOND


def probing_of(
    *urls: str, kind: str = "echo", count: int = 20, interval: float = 0.002, timeout: int = TIMEOUT, size: int = 64
) -> Probing:
    endpoints = [parse_target(url) for url in urls]
    asked = [
        (
            target,
            kind,
            find_question(kind, size, streams=target.endpoint.streams, random=random.Random(1), binary=size < 64),
        )
        for target in resolve(endpoints)
    ]
    return Probing(asked, Plan(round(interval * SECOND), timeout, count))


def measure(url: str, kind: str = "echo", **how: float) -> tuple[Probe, Summary]:
    """Run against one target."""
    run = probing_of(url, kind=kind, **how)  # type: ignore[arg-type]
    run.run()
    assert not run.interrupted
    return run.probes[0], summarise(run.probes[0])


def all_right(summary: Summary, count: int = 20) -> None:
    assert (summary.sent, summary.received, summary.lost, summary.loss) == (count, count, 0, 0.0)
    assert (summary.duplicated, summary.corrupted, summary.late) == (0, 0, 0)
    assert summary.reordered == 0
    assert summary.good
    times = summary.rtt
    assert times.min is not None
    assert times.median is not None
    assert times.p90 is not None
    assert times.p99 is not None
    assert times.max is not None
    assert 0 < times.min <= times.median <= times.p90 <= times.p99 <= times.max


def url_of(scheme: str, address: object) -> str:
    if isinstance(address, str | bytes):
        text = address if isinstance(address, str) else "@" + address[1:].decode()
        return f"{scheme}://{text}"
    host, port = address[:2]  # type: ignore[index]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextlib.contextmanager
def tcp_server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a listener. ``serve`` gets its connections one after the other."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()
