"""docs/operating.md, when something is wrong: netd prints the messages of the page, and logs the events there."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import ROOT
from tests.support.daemon import Daemon, daemon
from tests.support.directories import open_directory
from tests.support.namespaces import in_namespace
from tests.support.users import as_unprivileged_user

pytestmark = pytest.mark.slow  # processes

PAGE = (ROOT / "docs" / "operating.md").read_text().partition("\n## When something is wrong\n")[2]
# In the first column of the first table.
MESSAGES = re.findall(r"(?m)^\| `([^|]+)` \| ", PAGE.partition("A client gets no service")[0])
VARIES = r"PORT|PID|CONFIG|FILE|DIRECTORY|PATH"
"""Words of the page that stand for others."""


def assert_is_on_the_page(printed: str, words: str) -> None:
    """Assert that a message of the page has these words, and that netd has printed it."""
    [message] = [one for one in MESSAGES if words in one]
    pattern = "".join(
        r"\S+" if re.fullmatch(VARIES, part) else re.escape(part) for part in re.split(rf"\b({VARIES})\b", message)
    )
    assert re.search(pattern, printed), printed


def netd(*words: object, command: tuple[str, ...] = (), **variables: str) -> str:
    """What a command of netd prints, which fails."""
    done = subprocess.run(
        [*command, sys.executable, "-m", "netd", *(str(word) for word in words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **variables},
    )
    assert done.returncode in (69, 71, 78), done.stdout + done.stderr
    return done.stdout + done.stderr.replace("\\u0027", "'")


def config(directory: Path, text: str, name: str = "one.yaml") -> Path:
    file = directory / name
    file.write_text(text)
    return file


def echo(url: str) -> str:
    return f"services: {{echo: {{listen: ['{url}']}}}}\n"


def test_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        printed = netd("run", "-c", config(tmp_path, echo(f"tcp://127.0.0.1:{other.getsockname()[1]}")))
    assert_is_on_the_page(printed, "see which program has it")


def test_netd_that_runs_already(tmp_path: Path) -> None:
    with daemon(echo("tcp://127.0.0.1:0"), tmp_path) as running:
        printed = netd("run", "-c", config(tmp_path, echo("tcp://127.0.0.1:0")), NETD_CONTROL=running.control)
    assert_is_on_the_page(printed, "another program listens there")


def test_port_that_takes_root(tmp_path: Path) -> None:
    command = as_unprivileged_user()
    with open_directory() as directory:
        file = config(directory, "daemon: {control: off}\n" + echo("tcp://127.0.0.1:7"))

        def run() -> None:
            assert_is_on_the_page(netd("run", "-c", file, command=command), "a port below 1024")

        in_namespace(run)


def test_address_that_the_host_does_not_have(tmp_path: Path) -> None:
    printed = netd("check", "--system", "-c", config(tmp_path, echo("tcp://192.0.2.1:0")))
    assert_is_on_the_page(printed, "freebind=on")


def test_place_of_the_control_socket_that_all_users_may_write_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    printed = netd("run", "-c", config(tmp_path, echo("tcp://127.0.0.1:0")), NETD_CONTROL=f"{tmp_path}/control.sock")
    assert_is_on_the_page(printed, "world-writable")


def test_netd_that_does_not_run() -> None:
    assert_is_on_the_page(netd("status"), "netd is not running")


def test_user_that_may_not_ask() -> None:
    command = as_unprivileged_user()
    if not command:
        pytest.skip("needs root, to be another user than that of netd")
    with open_directory() as directory, Daemon("-c", str(config(directory, echo("tcp://127.0.0.1:0")))) as running:
        running.event("netd_started")
        os.chmod(running.directory.name, 0o755)
        assert_is_on_the_page(netd("status", command=command, NETD_CONTROL=running.control), "this user may not ask")
        assert running.stop() == 0


def test_value_that_is_wrong(tmp_path: Path) -> None:
    file = config(tmp_path, "services: {time: {listen: ['tcp://127.0.0.1:0'], options: {timezone: Asia/Shangai}}}\n")
    assert_is_on_the_page(netd("check", "-c", file), "unknown time zone")


def test_each_message_of_the_page_has_its_test() -> None:
    tests = Path(__file__).read_text()
    for message in MESSAGES:
        assert any(words in message for words in re.findall(r'"([^"]+)"\)$', tests, re.MULTILINE)), message
    assert len(MESSAGES) == 8


def test_events_that_the_page_names_are_logged() -> None:
    events = (ROOT / "docs" / "logging.md").read_text() + (ROOT / "docs" / "reference" / "events.md").read_text()
    named = re.findall(r"`([a-z]+(?:_[a-z]+)+)`", PAGE)
    assert len(named) > 15
    assert [name for name in named if f"`{name}`" not in events] == []
