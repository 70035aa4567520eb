"""Random input for all services over all transports and for the control socket, a minute long, with reloads."""

import contextlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.attack.conftest import Row
from tests.attack.processes import descriptors, failures, megabytes, memory
from tests.daemon.configs import write
from tests.daemon.processes import workers
from tests.support.daemon import daemon
from tests.support.waiting import until

LOOPBACK = "127.0.0.1"
SERVICES = ("echo", "discard", "daytime", "chargen", "time", "upper", "pingpong", "reply", "qotd", "whoami", "chat")
SECONDS = 60
_WORDS = (b"\0", b"\r\n", b"\xff\xf4", b"\xff\xfa\x18", b"\x1b[31m", b"ping 1\n", b"%H%n" * 40, b"\xc3", b"q\n", b": ")
_COMMANDS = (b"status\n", b"connections\n", b"diff\n", b"ban list\n", b"talk service=echo\nx\n", b"explain to=echo\n")


def test_random_input_everywhere_with_reloads(tmp_path: Path, row: Row) -> None:
    def config(level: str) -> str:
        head = f"daemon: {{workers: 2}}\nlog: {{level: {level}}}\ndefaults: {{limits: {{rate: off}}}}\nservices:\n"
        return head + "".join(
            f"  {name}: {{listen: [tcp://{LOOPBACK}:0, udp://{LOOPBACK}:0, 'unix://{tmp_path}/{name}?mode=0666',"
            f" 'unixgram://{tmp_path}/{name}.d?mode=0666']}}\n"
            for name in SERVICES
        )

    with daemon(config("info"), tmp_path) as running:  # the log of the start names the ports
        ports = {(name, kind): running.port(name, kind) for name in SERVICES for kind in ("tcp", "udp")}
        write(tmp_path, config("warning"))
        assert running.ask("reload")["ok"]
        pids = [running.process.pid, *workers(running)]
        done: Counter[str] = Counter()
        enough = threading.Event()

        def data(random: Random) -> bytes:
            if random.random() < 0.5:
                return random.randbytes(random.choice((0, 1, 7, 64, 900, 9000)))
            return b"".join(random.choice((*_WORDS, random.randbytes(3))) for _ in range(random.randint(1, 8)))

        def stream(random: Random, name: str) -> None:
            unix = random.random() < 0.3
            with socket.socket(socket.AF_UNIX if unix else socket.AF_INET) as one:
                one.settimeout(2)
                one.connect(f"{tmp_path}/{name}" if unix else (LOOPBACK, ports[name, "tcp"]))
                for _ in range(random.randint(1, 4)):
                    one.sendall(data(random))
                if random.random() < 0.5:
                    one.shutdown(socket.SHUT_WR)
                one.recv(100)
            done["streams"] += 1

        def datagram(random: Random, name: str) -> None:
            unix = random.random() < 0.3
            with socket.socket(socket.AF_UNIX if unix else socket.AF_INET, socket.SOCK_DGRAM) as one:
                one.settimeout(0.05)
                one.sendto(data(random), f"{tmp_path}/{name}.d" if unix else (LOOPBACK, ports[name, "udp"]))
                if not unix:
                    one.recv(100)
            done["datagrams"] += 1

        def control(random: Random, name: str) -> None:
            with socket.socket(socket.AF_UNIX) as one:
                one.settimeout(5)
                one.connect(running.control)
                one.sendall(random.choice(_COMMANDS) if random.random() < 0.7 else data(random))
                one.shutdown(socket.SHUT_WR)
                done["requests"] += 1
                one.recv(100)

        def repeat(action: Callable[[Random, str], None], seed: int) -> None:
            random = Random(seed)
            while not enough.is_set():
                with contextlib.suppress(OSError):
                    action(random, random.choice(SERVICES))

        actions = (stream, stream, datagram, control)
        threads = [threading.Thread(target=repeat, args=(action, seed)) for seed, action in enumerate(actions)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            write(tmp_path, config("warning").replace("rate: off", f"rate: off, line: {1000 + done['reloads'] % 50}"))
            with contextlib.suppress(OSError):
                assert running.ask("reload")["ok"]
            done["reloads"] += 1
            running.ask("kick", f"service={Random(done['reloads']).choice(SERVICES)}")
            done["kicks"] += 1
        enough.set()
        for thread in threads:
            thread.join()
        tried = ", ".join(f"{number:,} {what}" for what, number in sorted(done.items()))
        until(lambda: sum(service["connections"] for service in running.ask("status")["services"]) == 0, 60)
        assert [running.process.pid, *workers(running)] == pids
        held = ", ".join(f"{megabytes(memory(pid))} and {descriptors(pid)} descriptors" for pid in pids)
        row(tried, f"no worker lost, no traceback; {held}")
        assert failures(running) == []
        assert all(service["failed"] == 0 for service in running.ask("status")["services"])
        assert os.path.exists(running.control)
