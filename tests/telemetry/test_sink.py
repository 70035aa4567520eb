"""The sink of the log, which never blocks."""

import fcntl
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import structlog

from netd.telemetry import logs
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.sink import Sink, open_file
from tests.support.forks import in_child


def test_full_pipe_blocks_no_writer_and_lost_lines_are_reported() -> None:
    for reader, writer in (os.pipe(), tuple(end.detach() for end in socket.socketpair())):
        logs.set_up("info", "json", writer)
        for _ in range(10_000):
            DaemonEvents().netd_stopped()
        assert os.get_blocking(writer), "other programs may share the descriptor"
        seen = 0
        while b"netd_starting" not in (piece := os.read(reader, 1000)):
            seen += piece.count(b"\n")
            if len(piece) < 1000:
                DaemonEvents().netd_starting("1", "c", 1)
        piece += os.read(reader, 65536) if b"log_lines_lost" not in piece else b""
        lines = [json.loads(line) for line in piece.splitlines() if line.startswith(b"{") and line.endswith(b"}")]
        [lost] = [line["number"] for line in lines if line["event"] == "log_lines_lost"] or [0]
        assert lost > 1000
        structlog.get_config()["logger_factory"]().close()
        os.close(reader)
        os.close(writer)


def test_held_lines_are_written_together_at_the_end_of_the_turn_or_before_another_line() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    sink = Sink(writer)
    sink.hold(b"0\n")
    assert os.read(reader, 100) == b"0\n", "without a loop nothing is held"
    ends: list[Any] = []
    sink.at_turn_end = ends.append
    sink.hold(b"1\n")
    sink.hold(b"2\n")
    with pytest.raises(BlockingIOError):
        os.read(reader, 100)
    [end] = ends
    end()
    assert os.read(reader, 100) == b"1\n2\n"
    sink.hold(b"3\n")
    sink.msg("4")
    assert os.read(reader, 100) == b"3\n4\n"
    end()
    sink.hold(b"5\n")
    sink.finish()
    sink.hold(b"6\n")
    sink.close()
    assert os.read(reader, 100) == b"5\n6\n"
    os.close(reader)
    os.close(writer)


def test_held_lines_are_written_in_what_a_pipe_takes_as_a_whole_and_all_of_them_counted_if_lost() -> None:
    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2 * select.PIPE_BUF)
    sink = Sink(writer)
    sink.at_turn_end = lambda function: None
    line = b"x" * 99 + b"\n"
    for _ in range(200):
        sink.hold(line)
    sink.write_held()
    sink.finish()
    written = os.read(reader, size)
    assert written.startswith(line * (size // select.PIPE_BUF * (select.PIPE_BUF // len(line))))
    assert written.count(line) + sink.lost == 200
    sink.finish()
    reports = [json.loads(one) for one in (written + os.read(reader, size)).splitlines() if one.startswith(b"{")]
    assert sum(one["number"] for one in reports) == sink.lost > 0
    os.close(reader)
    os.close(writer)


def test_forked_process_writes_only_lines_of_its_own() -> None:
    """As one that the code of a service forks, in a handler or with multiprocessing."""
    reader, writer = os.pipe()
    sink = Sink(writer)
    ends: list[Any] = []
    sink.at_turn_end = ends.append
    sink.hold(b"of the parent\n")

    def child() -> None:
        sink.hold(b"held by the child\n")  # it has no loop
        sink.msg("of the child")
        sink.write_held()

    in_child(child)
    assert os.read(reader, 100) == b"held by the child\nof the child\n"
    ends[0]()
    assert os.read(reader, 100) == b"of the parent\n"
    sink.close()
    os.close(reader)
    os.close(writer)


def test_forked_process_leaves_the_rest_of_a_line_and_the_number_of_lost_ones_to_its_parent() -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2 * select.PIPE_BUF)
    sink = Sink(writer)
    sink.msg("x" * (3 * select.PIPE_BUF))
    sink.msg("lost")
    os.read(reader, 65536)

    def child() -> None:
        sink.finish()
        assert sink.lost == 0

    in_child(child)
    sink.finish()
    assert os.read(reader, 65536) == b"x" * select.PIPE_BUF + b'\n{"event":"log_lines_lost","number":1}\n'
    assert sink.lost == 1
    sink.close()
    os.close(reader)
    os.close(writer)


def test_forked_process_waits_for_no_thread_that_was_writing() -> None:
    reader, writer = os.pipe()
    writing, go_on = threading.Event(), threading.Event()

    def lost(number: int) -> bytes:
        writing.set()
        go_on.wait(60)
        return b"%d lost\n" % number

    sink = Sink(writer, lost)
    while not sink.lost:
        sink.msg("x" * 8000)
    os.read(reader, 65536)
    thread = threading.Thread(target=sink.msg, args=("of the parent",))
    thread.start()
    assert writing.wait(30)
    in_child(lambda: sink.msg("of the child"))
    assert os.read(reader, 65536).endswith(b"of the child\n")
    go_on.set()
    thread.join(30)
    assert os.read(reader, 65536) == b"1 lost\nof the parent\n"
    sink.close()
    os.close(reader)
    os.close(writer)


def test_lines_held_when_the_file_is_replaced_are_in_the_old_one(tmp_path: Path) -> None:
    old, new = (open_file(str(tmp_path / name)) for name in ("old", "new"))
    sink = Sink(old)
    sink.at_turn_end = lambda function: None
    sink.hold(b"1\n")
    sink.replace(new)
    sink.hold(b"2\n")
    sink.write_held()
    assert [(tmp_path / name).read_bytes() for name in ("old", "new")] == [b"1\n", b"2\n"]
    os.close(old)


def test_sink_keeps_no_more_than_a_line_for_a_slow_reader() -> None:
    reader, writer = os.pipe()
    sink = logs.set_up("info", "json", writer)
    for number in range(3000):
        sink.msg("x" * 8000)
        if number > 10:
            os.read(reader, 4096)
        assert len(sink._rest) <= 8001
    os.close(reader)
    os.close(writer)
    sink.close()


def test_finish_reports_lost_lines_to_a_late_reader() -> None:
    reader, writer = os.pipe()
    sink = logs.set_up("info", "json", writer)
    for _ in range(3000):
        DaemonEvents().netd_stopped()
    os.close(writer)
    seen: list[bytes] = []

    def read_all() -> None:
        while piece := os.read(reader, 65536):
            seen.append(piece)

    late = threading.Timer(0.2, read_all)
    late.start()
    sink.finish(10)
    sink.close()
    late.join()
    lines = [json.loads(line) for line in b"".join(seen).splitlines()]
    assert lines[-1]["event"] == "log_lines_lost"
    assert lines[-1]["number"] + len(lines) - 1 == 3000
    os.close(reader)


def test_finish_does_not_wait_for_a_reader_that_has_closed() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (writer, full):
        sink = Sink(descriptor)
        sink.msg("lost")
        assert sink._lost == 1
        sink.finish(600)  # longer than the time-out of a test
        sink.close()
        os.close(descriptor)


def test_log_that_cannot_be_written_raises_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    logs.set_up("info", "json", writer)
    DaemonEvents().netd_stopped()
    os.close(writer)
    DaemonEvents().netd_stopped()
    structlog.reset_defaults()


def test_line_that_was_written_in_part_does_not_begin_the_next_file(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    sink = logs.set_up("info", "json", writer)
    while not sink._rest:
        sink.msg("x" * 60_000)
    before = sink.lost
    sink.replace(open_file(str(tmp_path / "new")))
    assert sink.lost == before + 1
    DaemonEvents().netd_stopped()
    lines = [json.loads(line) for line in (tmp_path / "new").read_text().splitlines()]
    assert [(line["event"], line.get("number")) for line in lines] == [
        ("log_lines_lost", sink.lost),
        ("netd_stopped", None),
    ]
    os.close(reader)
    os.close(writer)
    sink.close()


def test_report_of_lost_lines_that_was_written_in_part_is_repeated(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    sink = Sink(writer, lambda number: b"%d lost" % number + b"." * 100_000 + b"\n")
    while not sink.lost:
        sink.msg("x" * 60_000)
    lost = sink.lost
    while not sink._reported:
        os.read(reader, 4096)
        sink._catch_up()
    sink.replace(open_file(str(tmp_path / "new")))
    sink.msg("next")
    first, second = (tmp_path / "new").read_text().splitlines()
    assert (first.rstrip("."), second) == (f"{lost} lost", "next")
    assert sink.lost == lost
    os.close(reader)
    os.close(writer)
    sink.close()


def test_lost_lines_are_reported_in_the_format_of_the_log() -> None:
    for form, words in (("logfmt", "level=warning event=log_lines_lost number=1"), ("console", "log_lines_lost")):
        reader, writer = os.pipe()
        sink = logs.set_up("info", form, writer)  # type: ignore[arg-type]
        sink._lost = 1
        DaemonEvents().netd_stopped()
        first, second = os.read(reader, 65536).decode().splitlines()
        assert words in first
        assert "number=1" in first
        assert "netd_stopped" in second
        os.close(reader)
        os.close(writer)
        sink.close()


@pytest.mark.parametrize(("before", "after"), [("", "x\n"), ("a\n", "a\nx\n"), ("a\nb", "a\nb\nx\n")])
def test_last_line_of_a_file_that_has_no_end_gets_one(before: str, after: str, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(before)
    descriptor = open_file(str(tmp_path / "log"))
    Sink(descriptor).msg("x")
    os.close(descriptor)
    assert (tmp_path / "log").read_text() == after


def test_log_file_is_opened_without_reading_and_with_mode_0640(tmp_path: Path) -> None:
    descriptor = open_file(str(tmp_path / "log"))
    assert os.fstat(descriptor).st_mode & 0o777 == 0o640
    os.close(descriptor)
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    descriptor = open_file(str(tmp_path / "fifo"))
    Sink(descriptor).msg("x")
    assert os.read(reader, 9) == b"x\n"
    os.close(reader)
    os.close(descriptor)


def test_logger_that_was_restarted_gets_the_next_line(tmp_path: Path) -> None:
    path = str(tmp_path / "log")

    def connect() -> int:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.connect(path)
            return connection.detach()

    def run_logger() -> socket.socket:
        logger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        logger.bind(path)
        logger.settimeout(20)
        return logger

    logger = run_logger()
    descriptor = connect()
    sink = Sink(descriptor, connect=connect)
    os.close(descriptor)
    sink.msg("one")
    assert logger.recv(99) == b"one\n"
    logger.close()
    os.unlink(path)
    sink.msg("two")
    sink.msg("three")
    assert sink.lost == 2
    logger = run_logger()
    sink._next_connect = time.monotonic()  # a second later
    sink.msg("four")
    assert json.loads(logger.recv(99)) == {"event": "log_lines_lost", "number": 2}
    assert logger.recv(99) == b"four\n"
    logger.close()
    sink.close()


def test_missing_logger_is_looked_for_once_a_second() -> None:
    attempts: list[float] = []

    def connect() -> int:
        attempts.append(time.monotonic())
        raise FileNotFoundError

    descriptor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).detach()
    sink = Sink(descriptor, connect=connect)
    os.close(descriptor)
    for _ in range(1000):
        sink.msg("x")
    assert sink.lost == 1000
    assert len(attempts) <= 1 + time.monotonic() - attempts[0]
    sink.close()


def test_line_that_is_logged_while_another_one_is_written_is_lost_and_waits_for_nothing(tmp_path: Path) -> None:
    """As by a finalizer, which garbage collection may run in any place."""
    reader, writer = os.pipe()

    def lost(number: int) -> bytes:
        sink.msg("within")
        return b"%d lost\n" % number

    sink = Sink(writer, lost)
    while not sink.lost:
        sink.msg("x" * 8000)
    os.read(reader, 65536)
    writing = threading.Thread(target=sink.msg, args=("after",), daemon=True)
    writing.start()
    writing.join(20)
    assert not writing.is_alive()
    assert os.read(reader, 65536).split(b"\n")[-3:] == [b"1 lost", b"after", b""]
    sink.msg("later")
    assert os.read(reader, 65536).endswith(b"1 lost\nlater\n")
    sink.close()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("standard", [1, 2])
def test_standard_stream_is_left_to_others(tmp_path: Path, standard: int) -> None:
    script = (
        f"import os; from netd.telemetry.sink import Sink; sink = Sink({standard}); sink.leave_standard_streams(); "
        f"os.close({standard}); sink.msg('said'); sink.close()"
    )
    file = tmp_path / "log"
    with file.open("wb") as log:
        outputs = (log, None) if standard == 1 else (None, log)
        subprocess.run([sys.executable, "-c", script], check=True, stdout=outputs[0], stderr=outputs[1])
    assert file.read_text() == "said\n"
