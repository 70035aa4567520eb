"""The count of the datagrams and connections that the kernel drops at full queues."""

import contextlib
import os
import signal
import socket
import struct
from pathlib import Path

import pytest

from tests.support.daemon import daemon
from tests.support.namespaces import embryonic_resets, in_namespace
from tests.support.waiting import until


@pytest.mark.slow
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
            assert counters["datagrams_dropped"]["kernel"] > 150
            assert counters["connections_refused"]["backlog"] >= 1
            first = counters["datagrams_dropped"]["kernel"]
            os.kill(running.worker, signal.SIGCONT)
            until(lambda: running.ask("status")["services"][0]["counters"]["datagrams_received"] + first == 200)
            counters = running.ask("status")["services"][0]["counters"]
            assert counters["datagrams_dropped"]["kernel"] == first
        dropped = running.event("datagrams_dropped")
        assert (dropped["reason"], dropped["endpoint"]) == ("kernel", running.url("echo", "udp"))
        [refused] = [line for line in running.lines if line["event"] == "connection_refused"]
        assert refused["endpoint"] == running.url("echo")


@pytest.mark.slow
def test_client_that_resets_before_its_handshake_is_complete_is_no_refusal(tmp_path: Path) -> None:
    def check() -> None:
        with daemon("services:\n  echo: {listen: ['tcp://127.0.0.1:0?backlog=1']}\n", tmp_path) as running:

            def refusals() -> int:
                return int(running.ask("status")["services"][0]["counters"]["connections_refused"].get("backlog", 0))

            address = ("127.0.0.1", running.port("echo"))
            before = embryonic_resets()
            for _ in range(20):
                with socket.socket() as client:  # as the checks of HAProxy do
                    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    client.connect(address)
            assert embryonic_resets() == before + 20
            assert refusals() == 0
            os.kill(running.worker, signal.SIGSTOP)
            with contextlib.ExitStack() as stack:
                for _ in range(8):
                    waiting = stack.enter_context(socket.socket())
                    waiting.setblocking(False)
                    waiting.connect_ex(address)
                assert refusals() >= 6, "the queue holds one more than the backlog"
                os.kill(running.worker, signal.SIGCONT)

    in_namespace(check)
