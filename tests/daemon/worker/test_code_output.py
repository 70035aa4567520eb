"""Output of code in a worker: a process of its own, since it replaces the standard streams."""

import json
import subprocess
import sys
import tempfile
from typing import Any

OPEN = """
import ctypes, gc, logging, os, subprocess, sys, threading, types
from netd.daemon.worker.code_output import CodeOutput
from netd.services.python.running import current
from netd.telemetry import logs
from netd.transport.loop import Loop

sink = logs.set_up("info", "json")
loop = Loop()
output = CodeOutput(3, loop, sink)
"""
CLOSE = "\noutput.log_pending(final=True)\n"


def lines(script: str) -> list[dict[str, Any]]:
    """The log of a script, to which nothing else is written."""
    with tempfile.TemporaryFile("w+") as log:  # a pipe may be full
        subprocess.run([sys.executable, "-c", OPEN + script + CLOSE], stdout=log, stderr=log, check=True)
        log.seek(0)
        found = [json.loads(line) for line in log]
    return [{key: value for key, value in line.items() if key != "timestamp"} for line in found]


def test_streams_and_logging_are_events_of_the_code_that_runs() -> None:
    found = lines(
        """
a, b = output.code_of("a", "/a.py"), output.code_of("b", "/b.py")
a.run(print, "one", "two")
b.serving("192.0.2.7:1").run(lambda: sys.stderr.write("three\\n"))
b.run(sys.stdout.buffer.write, "fo\\u00fcr\\n".encode())
a.run(logging.getLogger("x.y").warning, "five %d", 5)
a.run(logging.getLogger().debug, "not logged")
print("none")
output.set_level()
"""
    )
    info = {"level": "info", "event": "line_printed"}
    assert found == [
        {**info, "service": "a", "stream": "stdout", "line": "one two"},
        {**info, "service": "b", "peer": "192.0.2.7:1", "stream": "stderr", "line": "three"},
        {**info, "service": "b", "stream": "stdout", "line": "fo\u00fcr"},
        {"level": "warning", "event": "line_logged", "service": "a", "logger": "x.y", "line": "five 5"},
        {**info, "worker": 3, "stream": "stdout", "line": "none"},
    ]


def test_thread_that_code_has_begun_is_told_by_its_functions() -> None:
    found = lines(
        """
module = types.ModuleType("/a.py")
a, b = output.code_of("a", "/a.py"), output.code_of("b", "/b.py")
exec("def say(print=print):\\n    print('from a thread', end='')\\n    print()", module.__dict__)
thread = threading.Thread(target=module.say)
thread.start()
thread.join()
assert current.get() is None
"""
    )
    assert [(line.get("service"), line["line"]) for line in found] == [("a", "from a thread")]


def test_descriptors_belong_to_the_only_service_and_the_log_stays_where_it_was() -> None:
    found = lines(
        """
a = output.code_of("a", "/a.py")
os.write(1, b"one\\n")
os.write(2, b"two\\r\\n")
subprocess.run(["/bin/echo", "three"])
ctypes.CDLL(None).puts(b"four")
ctypes.CDLL(None).fflush(None)
"""
    )
    assert [(line["service"], line["stream"], line["line"]) for line in found] == [
        ("a", "stdout", "one"),
        ("a", "stdout", "three"),
        ("a", "stdout", "four"),
        ("a", "stderr", "two"),
    ]


def test_output_without_end_is_bounded_and_blocks_no_loop() -> None:
    found = lines(
        """
a, b = output.code_of("a", "/a.py"), output.code_of("b", "/b.py")
for _ in range(1000):
    try:
        os.write(2, b"x" * 4095 + b"\\n")
    except BlockingIOError:
        break
else:
    raise AssertionError("a full pipe would make the loop wait")
a.run(lambda: [print("y" * 5000) for _ in range(3000)])
"""
    )
    shown = [line for line in found if line["event"] == "line_printed"]
    assert 100 <= len([line for line in shown if line.get("service") == "a"]) < 200
    assert max(len(line["line"]) for line in shown) <= 1000
    skipped = [line["number"] for line in found if line["event"] == "lines_skipped" and line.get("service") == "a"]
    assert sum(skipped) + len([line for line in shown if line.get("service") == "a"]) == 3000


def test_code_that_prints_while_it_is_logged_ends_nothing() -> None:
    found = lines(
        """
a = output.code_of("a", "/a.py")

class Loud:
    def __str__(self):
        print("within")
        return "loud"
    def __del__(self):
        print("finalizer")
        logging.error("finalizer")

def cycles():
    for _ in range(200):
        loud = Loud()
        loud.self = loud
    logging.error("%s", Loud())
    logging.error("does %d fit %d", 1)
    logging.error("done")

gc.set_threshold(1)
a.run(cycles)
logs.set_level("error")
output.set_level()
a.run(logging.error, "end")
"""
    )
    assert {line["event"] for line in found} <= {"line_printed", "line_logged", "lines_skipped", "log_lines_lost"}


def test_worker_without_code_keeps_its_streams() -> None:
    script = OPEN + "assert sys.stdout is sys.__stdout__\nassert not logging.getLogger().handlers" + CLOSE
    subprocess.run([sys.executable, "-c", script], check=True)
