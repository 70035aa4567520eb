"""The facts about this host."""

import os
import sys
from pathlib import Path
from zoneinfo import ZoneInfo

from netd.importers.host import Host


def test_programs_are_executable_files(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_text("")
    file.chmod(0o644)
    host = Host()
    assert host.is_program(sys.executable)
    for path in (str(file), str(tmp_path), str(tmp_path / "none"), "a\0b"):
        assert not host.is_program(path)


def test_files_and_programs_are_those_of_the_host(tmp_path: Path) -> None:
    host = Host()
    file = tmp_path / "file"
    file.write_text("a\nb\n")
    assert [host.exists(path) for path in (str(file), str(tmp_path), f"{file}x", "a\0b")] == [True, True, False, False]
    assert (host.text(str(file)), host.text(f"{file}x")) == ("a\nb", "")
    assert host.find_program("sh")
    assert host.find_program("no-such-program") is None


def test_accounts_are_those_of_the_host() -> None:
    host = Host()
    assert host.has_user("root")
    assert host.has_group("root")
    assert not host.has_user("no-such-user")
    assert not host.has_group("no-such-group")


def test_names_that_are_nowhere_are_none() -> None:
    host = Host()
    assert host.port("no-such-service", "tcp") is None
    assert host.network("no-such-network") is None
    assert host.addresses("127.0.0.1") == ["127.0.0.1"]


def test_names_are_looked_up_sixteen_times_at_most() -> None:
    host = Host()
    found = [host.addresses("127.0.0.1") for _ in range(18)]
    assert found == [["127.0.0.1"]] * 16 + [[], []]


def test_zone_of_the_host_is_one_that_netd_knows() -> None:
    assert ZoneInfo(Host().zone())


def test_distribution_has_the_words_of_os_release() -> None:
    words = Host().distribution()
    assert bool(words) == os.path.exists("/etc/os-release")
    assert all(word == word.lower() for word in words)


def test_wrapped_programs_are_those_with_rules() -> None:
    assert isinstance(Host().is_wrapped({"no-such-program"}), bool)
