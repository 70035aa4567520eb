"""The count of the datagrams and connections that the kernel drops at full queues."""

import contextlib
import os
import signal
import socket
from pathlib import Path

from tests.support.daemon import daemon
from tests.support.waiting import until


def test_drops_of_the_kernel_are_counted_once(tmp_path: Path) -> None:
    listen = "['tcp://127.0.0.1:0?backlog=1', 'udp://127.0.0.1:0?rcvbuf=4096']"
    with daemon(f"daemon: {{heartbeat: 1h}}\nservices:\n  echo: {{listen: {listen}}}\n", tmp_path) as running:
        os.kill(running.worker, signal.SIGSTOP)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, contextlib.ExitStack() as stack:
            one.connect(("127.0.0.1", running.port("echo", "udp")))
            for _ in range(200):
                one.send(b"x" * 1000)
            for _ in range(8):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(("127.0.0.1", running.port("echo")))
            counters = running.ask("status")["services"][0]["counters"]
            assert counters["dropped"]["kernel"] > 150
            assert counters["refused"]["backlog"] >= 1
            first = counters["dropped"]["kernel"]
            os.kill(running.worker, signal.SIGCONT)
            until(lambda: running.ask("status")["services"][0]["counters"].get("datagrams_in", 0) > 0)
            counters = running.ask("status")["services"][0]["counters"]
            assert counters["dropped"]["kernel"] == first
            assert counters["datagrams_in"] + first == 200
        assert running.event("datagrams_dropped")["reason"] == "kernel"
