"""The links by which a command finds a running netd from the config that it was started with."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from netd import default_paths
from netd.daemon.supervisor.control_links import ControlLinks
from tests.support.daemon import Daemon, daemon
from tests.support.directories import directory_of, open_directory
from tests.support.leftovers import is_gone
from tests.support.programs import need_root
from tests.support.sockets import ABSTRACT
from tests.support.users import as_user
from tests.support.waiting import until

SERVICES = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n"


def netd(*arguments: str, directory: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command that finds a control socket only by its arguments and by the directory of the links."""
    kept = {key: value for key, value in os.environ.items() if key != "NETD_CONTROL"}
    return subprocess.run(
        [sys.executable, "-m", "netd", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=directory,
        env={**kept, "PYTHONPATH": os.getcwd(), **environment},
    )


def found(file: Path | str, directory: Path | None = None, **environment: str) -> int:
    """The process id of the netd that a command finds by this config; -1: none."""
    done = netd("status", "--json", "-c", str(file), directory=directory, **environment)
    return int(json.loads(done.stdout)["pid"]) if done.returncode == 0 else -1


def links(place: Path) -> list[str]:
    """The targets of the links in a test's runtime directory."""
    return [os.readlink(path) for path in sorted((place / "run").glob("*")) if path.is_symlink()]


@pytest.mark.slow
def test_netd_is_found_by_the_path_of_its_config_after_the_file_has_changed(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "netd.yaml"
    with daemon(f"daemon: {{control: {tmp_path}/first}}\n" + SERVICES, tmp_path) as running:
        assert links(place) == [f"{tmp_path}/first"]
        for text in (
            SERVICES,
            f"daemon: {{control: {tmp_path}/second}}\n" + SERVICES,
            "daemon: {control: off}\n" + SERVICES,
        ):
            file.write_text(text)
            assert found(file) == running.process.pid
            done = netd("reload", "-c", str(file))
            assert (done.returncode, "daemon.control: changed; needs a restart" in done.stdout) == (0, True)
        file.write_text("services: [")
        assert found(file) == running.process.pid
        for command in ("reload", "diff"):
            done = netd(command, "-c", str(file))
            assert (done.returncode, done.stderr.startswith(f"{file}:")) == (78, True)
        assert running.event("reload_rejected")["problem"], "the running netd has read it"
        file.unlink()
        assert found(file) == running.process.pid
    assert links(place) == []


@pytest.mark.slow
def test_netd_is_found_by_every_name_of_its_config(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "linked").symlink_to("real")
    (tmp_path / "linked.yaml").symlink_to("real/netd.yaml")
    (tmp_path / "real" / "netd.yaml").write_text(SERVICES)
    with Daemon("-c", str(tmp_path / "linked.yaml")) as running:
        running.event("netd_started")
        for name in ("linked.yaml", "real/netd.yaml", "linked/netd.yaml"):
            assert found(tmp_path / name) == found(name, tmp_path) == running.process.pid
        # A config that is replaced by replacing the link to it keeps its name.
        (tmp_path / "other.yaml").write_text(SERVICES)
        (tmp_path / "linked.yaml").unlink()
        (tmp_path / "linked.yaml").symlink_to("other.yaml")
        assert found(tmp_path / "linked.yaml") == running.process.pid
        assert found(tmp_path / "real" / "netd.yaml") == -1, "it would read another one"
        assert running.stop() == 0


@pytest.mark.slow
def test_abstract_control_socket_is_found(tmp_path: Path, place: Path) -> None:
    (tmp_path / "netd.yaml").write_text(SERVICES)
    with Daemon("-c", str(tmp_path / "netd.yaml"), NETD_CONTROL=ABSTRACT) as running:
        running.event("netd_started")
        assert links(place) == [ABSTRACT]
        assert found(tmp_path / "netd.yaml") == running.process.pid
        assert netd("status", NETD_CONTROL=ABSTRACT).returncode == 0
        assert netd("status", "--control", ABSTRACT).returncode == 0
        assert running.stop() == 0


@pytest.mark.slow
def test_daemon_is_found_by_its_config(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(f"log: {{file: {tmp_path}/log}}\n" + SERVICES)
    done = netd("run", "--daemon", "-c", "netd.yaml", directory=tmp_path, NETD_CONTROL="c")
    assert (done.returncode, done.stderr) == (0, "")
    pid = found(file)
    assert links(place) == [f"{tmp_path}/c"]
    assert netd("stop", "-c", str(file)).returncode == 0
    until(lambda: is_gone(pid))
    assert links(place) == []


@pytest.mark.slow
def test_link_that_a_crash_left_behind_is_ignored_and_replaced(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(SERVICES)
    with Daemon("-c", str(file)) as first:
        first.event("netd_started")
        first.stop(signal.SIGKILL)
        assert links(place) == [first.control]
        done = netd("status", "-c", str(file))
        assert (done.returncode, "netd is not running" in done.stderr) == (69, True)
        done = netd("status", "-c", str(file), NETD_CONTROL=f"{tmp_path}/d")
        assert f"looked at {tmp_path}/d (" in done.stderr
    with Daemon("-c", str(file)) as second:
        second.event("netd_started")
        assert links(place) == [second.control]
        assert found(file) == second.process.pid
        # Another netd may listen at the target of the link.
        (tmp_path / "other.yaml").write_text(SERVICES)
        for path in default_paths.control_links(tmp_path / "other.yaml", f"{place}/run"):
            os.symlink(second.control, path)
        assert found(tmp_path / "other.yaml") == -1
        assert second.stop() == 0


@pytest.mark.slow
def test_netd_that_started_last_is_found_of_two_with_one_config(tmp_path: Path, place: Path) -> None:
    file = tmp_path / "netd.yaml"
    file.write_text(f"daemon: {{control: {tmp_path}/first}}\n" + SERVICES)
    with Daemon("-c", str(file)) as first:
        first.event("netd_started")
        assert found(file) == first.process.pid
        file.write_text(SERVICES)
        with Daemon("-c", str(file), NETD_CONTROL=f"{tmp_path}/second") as second:
            second.event("netd_started")
            file.write_text(f"daemon: {{control: {tmp_path}/first}}\n" + SERVICES)
            assert found(file) == second.process.pid
            assert netd("status", "--control", f"{tmp_path}/first").returncode == 0
            assert first.stop() == 0
            assert links(place) == [f"{tmp_path}/second"], "the first has not removed the link of the second"
            assert second.stop() == 0


@pytest.mark.slow
def test_start_that_fails_leaves_the_link_of_the_netd_that_runs(tmp_path: Path, place: Path) -> None:
    with daemon(SERVICES, tmp_path) as running:
        port = running.port("echo")
        (tmp_path / "netd.yaml").write_text(SERVICES.replace(":0]", f":{port}]"))
        with Daemon("-c", str(tmp_path / "netd.yaml"), NETD_CONTROL=f"{tmp_path}/second") as second:
            assert second.process.wait(20) == 71
        assert links(place) == [running.control]


@pytest.mark.slow
def test_netd_without_a_directory_for_links_serves(tmp_path: Path) -> None:
    (tmp_path / "netd.yaml").write_text(SERVICES)
    with Daemon("-c", str(tmp_path / "netd.yaml"), RUNTIME_DIRECTORY=f"{tmp_path}/netd.yaml/run") as running:
        running.event("netd_started")
        assert not [line for line in running.lines if line["level"] != "info"]
        assert running.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_links_are_neither_made_nor_followed_where_another_user_can_exchange_them(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_root()
    with open_directory() as above:
        theirs = directory_of(1234, above)
        if shared:
            os.chown(theirs, 0, 0)
            theirs.chmod(0o1777)
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(theirs))
        kept = ControlLinks(f"{above}/netd.yaml", f"{above}/c")
        assert list(theirs.iterdir()) == []
        kept.close()
        with daemon(f"daemon: {{control: {above}/c}}\n" + SERVICES, above) as running:
            (above / "netd.yaml").write_text(SERVICES)
            [path] = default_paths.control_links(above / "netd.yaml", str(theirs))
            as_user(1234, lambda: os.symlink(f"{above}/c", path))
            # Root follows a link of the directory's owner, which may run a netd, but not one of another user.
            assert (found(above / "netd.yaml") == running.process.pid) == (not shared)
