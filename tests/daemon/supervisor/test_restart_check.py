"""Keys of a config that only a restart applies, checked at the reload."""

import os
from functools import partial
from pathlib import Path

import pytest

from netd.config import loader
from netd.config.model import Config
from netd.daemon.pid_file import pid_file
from netd.daemon.supervisor import restart_check
from netd.errors import OpenError
from netd.telemetry import journal
from tests.support.daemon import daemon
from tests.support.programs import need_root
from tests.support.users import ALEX, as_user

SERVICES = "services:\n  echo: {{listen: [tcp://127.0.0.1:0]}}\n"


def load(tmp_path: Path, sections: str) -> Config:
    (tmp_path / "netd.yaml").write_text((sections + SERVICES).format(tmp=tmp_path))
    return loader.load(tmp_path / "netd.yaml")


def problems(tmp_path: Path, sections: str, initial: str = "") -> list[str]:
    """The problems of the next start with a config, in a netd that was started with ``initial``."""
    before, after = load(tmp_path, initial), load(tmp_path, sections)
    files = sorted(tmp_path.rglob("*"))
    try:
        restart_check.check(before, after)
    except OpenError as error:
        assert all(problem.endswith(" (netd could not restart)") for problem in error.problems)
        return [problem.removesuffix(" (netd could not restart)") for problem in error.problems]
    finally:
        before.access_tables.close()
        after.access_tables.close()
        assert sorted(tmp_path.rglob("*")) == files, "it leaves nothing behind"
    return []


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ("log: {{file: /proc/none}}\n", "log.file: cannot open /proc/none: No such file"),
        ("daemon: {{control: /proc/none/c}}\n", "daemon.control: cannot listen on unix:///proc/none/c"),
        ("daemon: {{pid_file: {tmp}/no/pid}}\n", "daemon.pid_file: cannot open {tmp}/no/pid"),
        ("daemon: {{control: {tmp}/c, control_group: no-such}}\n", "daemon.control_group: there is no group 'no-such'"),
    ],
)
def test_key_with_which_a_start_would_fail_is_a_problem(tmp_path: Path, sections: str, problem: str) -> None:
    [found] = problems(tmp_path, sections)
    assert problem.format(tmp=tmp_path) in found


def test_user_that_only_root_may_become_is_a_problem_for_another_user(tmp_path: Path) -> None:
    need_root()
    before, after = load(tmp_path, ""), load(tmp_path, "daemon: {{user: nobody}}\n")

    def refused() -> None:
        with pytest.raises(OpenError) as raised:
            restart_check.check(before, after)
        assert raised.value.problems[0].startswith("daemon.user: only root may become 'nobody'")

    as_user(ALEX, refused)
    before.access_tables.close()
    after.access_tables.close()


def test_journal_that_is_missing_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "connect", partial(journal.connect, str(tmp_path / "journal")))
    [found] = problems(tmp_path, "log: {{format: journal}}\n")
    assert found.startswith("log.format: there is no journal at ")


def test_keys_with_problems_are_reported_together(tmp_path: Path) -> None:
    found = problems(tmp_path, "log: {{file: /proc/none}}\ndaemon: {{pid_file: {tmp}/no/pid}}\n")
    assert [problem.partition(":")[0] for problem in found] == ["log.file", "daemon.pid_file"]


def test_key_that_is_the_same_as_at_the_start_is_not_tried(tmp_path: Path) -> None:
    sections = "log: {{file: /proc/none}}\ndaemon: {{pid_file: {tmp}/no/pid, control_group: no-such}}\n"
    assert problems(tmp_path, sections, sections) == []


def test_keys_with_which_a_start_succeeds_are_no_problem_and_leave_nothing(tmp_path: Path) -> None:
    assert problems(tmp_path, "log: {{file: {tmp}/log}}\ndaemon: {{pid_file: {tmp}/pid, control: {tmp}/c}}\n") == []
    (tmp_path / "log").write_text("one\n")
    group = os.getegid()
    sections = f"log: {{{{file: {{tmp}}/log}}}}\ndaemon: {{{{control: {{tmp}}/c, control_group: '{group}'}}}}\n"
    assert problems(tmp_path, sections) == []
    assert (tmp_path / "log").read_text() == "one\n"


def test_directory_of_the_control_socket_that_was_missing_is_removed_again(tmp_path: Path) -> None:
    assert problems(tmp_path, "daemon: {{control: {tmp}/new/c}}\n") == []


def test_without_a_config_before_it_all_keys_are_tried_and_a_running_netd_is_no_problem(tmp_path: Path) -> None:
    config = load(tmp_path, "daemon: {{pid_file: {tmp}/pid, control: {tmp}/c, control_group: no-such}}\n")
    with pid_file(f"{tmp_path}/pid"):
        assert restart_check.problems(config) == ["daemon.control_group: there is no group 'no-such'"]
        assert (tmp_path / "pid").read_text() == f"{os.getpid()}\n"
    config.access_tables.close()


@pytest.mark.slow
def test_reload_of_a_log_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    config = SERVICES.format()
    with daemon(config, tmp_path) as running:
        (tmp_path / "netd.yaml").write_text("log: {file: /proc/none}\n" + config)
        answer = running.ask("reload")
        assert answer["error"].startswith("log.file: cannot open /proc/none: ")
        assert answer["exit_code"] == 71
        assert running.event("reload_rejected")["problem"] == answer["error"]
        assert running.ask("status")["generation"] == 1
