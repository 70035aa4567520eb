"""Continuous requests to port 7 of a lab, while a test does something to netd there."""

import subprocess

from tests.systemd.conftest import Lab

# Connects, asks and closes, again and again, until a file exists. A refused connection stops it.
LOAD = """
import os, socket, sys, threading
failed, done, broken = [], 0, 0
def ask():
    global done, broken
    while not os.path.exists("/tmp/enough") and not failed:
        try:
            with socket.create_connection(("127.0.0.1", 7), 20) as s:
                try:
                    s.sendall(b"hello")
                    if s.recv(100) == b"hello":
                        done += 1
                    else:
                        broken += 1
                except ConnectionError:
                    broken += 1
        except OSError as error:
            failed.append(repr(error))
threads = [threading.Thread(target=ask) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(failed or "none failed", done > 10 or done, broken)
"""


class Load:
    """A context with continuous requests in a lab. ``result`` is the outcome of the requests."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.result = ""

    def __enter__(self) -> "Load":
        (self._lab.root / "tmp/enough").unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["nsenter", "-t", self._lab.root.parts[2], "-n", "-m", "/usr/bin/python3", "-c", LOAD],
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        (self._lab.root / "tmp/enough").touch()
        self.result = self._process.communicate(timeout=60)[0].strip()
