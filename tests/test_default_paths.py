"""Default paths of the control socket and the pid file, and the links to control sockets."""

import os
import re
from pathlib import Path

import pytest

from netd import default_paths

SYSTEM = "/run/netd"


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "NETD_CONTROL"):
        monkeypatch.delenv(name, raising=False)


def test_root_uses_the_directory_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_paths.directory() == SYSTEM
    assert default_paths.control_sockets() == [default_paths.control_socket()] == [f"{SYSTEM}/control.sock"]
    assert default_paths.pid_file() == f"{SYSTEM}/netd.pid"


def test_another_user_has_a_directory_and_searches_that_of_the_system_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert (default_paths.directory(), default_paths.control_socket(), default_paths.pid_file()) == (None, None, None)
    assert default_paths.control_sockets() == [f"{SYSTEM}/control.sock"]
    monkeypatch.setenv("XDG_RUNTIME_DIR", "x")
    assert default_paths.control_sockets() == ["x/netd/control.sock", f"{SYSTEM}/control.sock"]
    assert default_paths.pid_file() == "x/netd/netd.pid"


def test_service_manager_and_environment_override_the_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", "a:b")
    assert (default_paths.directory(), default_paths.control_socket()) == ("a", "a/control.sock")
    monkeypatch.setenv("NETD_CONTROL", "c")
    assert default_paths.control_sockets() == [default_paths.control_socket()] == ["c"]
    monkeypatch.setenv("NETD_CONTROL", "")
    assert default_paths.control_sockets() == ["a/control.sock"], "netd is the one that this environment means"


def test_config_exists_unless_it_is_known_to_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(default_paths, "CONFIG_FILE", tmp_path / "netd.yaml")
    assert not default_paths.config_exists()
    default_paths.CONFIG_FILE.symlink_to("nowhere")
    assert default_paths.config_exists()
    monkeypatch.setattr(default_paths, "CONFIG_FILE", tmp_path / "netd.yaml" / "x")
    assert not default_paths.config_exists()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.setattr(default_paths, "CONFIG_FILE", tmp_path / "loop" / "netd.yaml")
    assert default_paths.config_exists(), "reading it then raises ELOOP"


def test_control_links_are_those_of_the_path_and_of_the_real_path_of_a_config(tmp_path: Path) -> None:
    (tmp_path / "etc").symlink_to(".")
    (tmp_path / "netd.yaml").write_text("")
    [link] = default_paths.control_links(tmp_path / "netd.yaml", "x")
    assert re.fullmatch(r"x/config-[0-9a-f]{16}\.sock", link)
    assert default_paths.control_links(f"{tmp_path}/etc/netd.yaml", "x") == [link]
    (tmp_path / "linked.yaml").symlink_to("netd.yaml")
    [first, second] = default_paths.control_links(tmp_path / "linked.yaml", "x")
    assert (first != link, second) == (True, link)
    [none] = default_paths.control_links(tmp_path / "none.yaml", "x")
    assert none not in (first, second)


def test_links_are_searched_in_the_directories_of_this_user_of_the_system_and_of_the_units(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(default_paths, "_SYSTEM", f"{tmp_path}/netd")
    for name in ("netd", "netd-lab", "netd-a", "netdx"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", "a")
    system = [f"{tmp_path}/netd", f"{tmp_path}/netd-a", f"{tmp_path}/netd-lab"]
    assert default_paths.link_directories() == ["a", *system]
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{tmp_path}/netd-lab")
    assert default_paths.link_directories() == [f"{tmp_path}/netd-lab", *system[:2]]
