"""The warnings about a config, at the start and after a reload."""

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.daemon import Daemon
from tests.support.programs import started


@pytest.mark.slow
def test_reply_guard_that_is_off_is_logged_at_the_start_and_after_a_reload(tmp_path: Path) -> None:
    config = (
        "services:\n  echo: {reply_guard: false, listen: [udp://127.0.0.1:0]}\n"
        "  tcp: {type: echo, reply_guard: false, listen: [tcp://127.0.0.1:0]}\n"
    )
    (tmp_path / "netd.yaml").write_text(config)
    with Daemon("-c", str(tmp_path / "netd.yaml")) as running:
        warning = running.event("reply_guard_disabled")
        assert (warning["level"], warning["service"]) == ("warning", "echo")
        running.event("netd_started")
        assert running.ask("reload")["ok"]
        assert running.event("reply_guard_disabled")["service"] == "echo"
        assert running.stop() == 0
        assert {line["service"] for line in running.lines if line["event"] == "reply_guard_disabled"} == {"echo"}


@pytest.mark.slow
def test_config_without_a_service_is_logged_at_the_start_and_after_a_reload(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text("services: {echo: {enabled: false, listen: [tcp://127.0.0.1:0]}}\n")
    with Daemon("-c", str(file)) as running:
        warning = running.event("no_service_enabled")
        assert (warning["level"], warning["config"]) == ("warning", str(file))
        running.event("netd_started")
        file.write_text("# nothing\n")
        assert running.ask("reload")["ok"]
        running.event("no_service_enabled")
        assert running.stop() == 0


@pytest.mark.slow
def test_limits_that_need_more_descriptors_than_rlimit_nofile_are_logged(tmp_path: Path) -> None:
    file = tmp_path / "netd.yaml"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits, needed in (("connections: 5000", 5000), ("connections: 'off'", None)):
        file.write_text(
            "daemon: {connections: off}\n"
            f"services:\n  echo: {{listen: [tcp://127.0.0.1:0], limits: {{{limits}}}}}\n"
            "  more: {type: echo, listen: [tcp://127.0.0.1:0], limits: {connections: 10}}\n"
        )
        for limit in ("1000", str(hard)):
            command = ["sh", "-c", f"ulimit -n {limit}; exec {sys.executable} -m netd run -c {file}"]
            with started(*command, stderr=subprocess.PIPE, text=True) as process:
                assert process.stderr
                lines = []
                for line in process.stderr:
                    lines.append(line)
                    if "netd_started" in line:
                        break
                process.terminate()
                process.stderr.read()
                process.wait(20)
            told = [line for line in map(json.loads, lines) if line["event"] == "descriptors_limited"]
            if limit == "1000" or needed is None:
                assert [line["limit"] for line in told] == [int(limit)]
                assert needed is None or told[0]["needed"] != needed + 10
            else:
                assert told == []


@pytest.mark.slow
def test_sockets_that_the_service_manager_does_not_store_are_logged_and_their_files_removed(tmp_path: Path) -> None:
    config = "services: {{echo: {{listen: [{}]}}}}"
    file = tmp_path / "netd.yaml"

    def listen(names: str) -> None:
        file.write_text(config.format(", ".join(f"'unix://{tmp_path}/{name}'" for name in names)))

    def left() -> list[str]:
        return sorted(path.name for path in tmp_path.iterdir() if path.is_socket() and len(path.name) == 1)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{tmp_path}/manager")
        listen("abcd")
        with Daemon("-c", str(file), NOTIFY_SOCKET=f"{tmp_path}/manager", FDSTORE="2") as running:
            warning = running.event("store_limited")
            assert (warning["level"], warning["number"], warning["limit"]) == ("warning", 2, 2)
            listen("bcd")
            assert running.ask("reload")["ok"]
            assert running.event("store_limited")["number"] == 1
            assert running.stop() == 0
        assert left() == ["b", "c"], "c has taken the room that a left"
        told: list[bytes] = []
        while b"STOPPING=1" not in b"".join(told):
            message, rights, *_ = socket.recv_fds(manager, 4096, 1)
            told.append(message)
            for descriptor in rights:
                os.close(descriptor)
        stored = [message.splitlines()[0] for message in told if message.startswith(b"FDSTORE")]
        assert stored == [b"FDSTORE=1", b"FDSTORE=1", b"FDSTOREREMOVE=1", b"FDSTORE=1"]
