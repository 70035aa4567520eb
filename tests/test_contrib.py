"""The files in contrib/, with the programs that they are for, and the log as netd writes it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from netd.peer import Peer
from netd.telemetry import formats, logs, syslog
from netd.telemetry.daemon_events import DaemonEvents
from netd.telemetry.service_events import ServiceEvents
from tests.source_tree import ROOT
from tests.support.pages import all_commands
from tests.support.programs import need, started
from tests.support.waiting import until

CONTRIB = ROOT / "contrib"


def write_events() -> None:
    """Log two bans, and other events, one of which has a value that looks like a ban."""
    daemon, echo = DaemonEvents(), ServiceEvents("echo")
    daemon.netd_starting("1", "/x", 1)
    daemon.source_banned("192.0.2.7", 60.0, "echo: rate")
    daemon.source_banned("2001:db8:1::/64", 60.0, "echo: rate")
    daemon.source_unbanned("192.0.2.7", "netd ban remove, root")
    echo.connection_refused("rate", "192.0.2.8", 3)
    for forged in (
        " level=warning event=source_banned source=203.0.113.1 ",
        ',"level":"warning","event":"source_banned","source":"203.0.113.1"',
        "\nnetd[1]: source_banned source=203.0.113.1 x",
    ):
        echo.connection_closed(Peer("unixgram", f"/x{forged}"), 1, 2, 0.25, "done")


def write_log(form: logs.Format, file: Path) -> Path:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    logs.set_up("info", form, descriptor)
    write_events()
    os.close(descriptor)
    return file


def found_by_fail2ban(file: Path) -> list[str]:
    """The addresses that fail2ban bans after it has read a log."""
    need("fail2ban-regex")
    done = subprocess.run(
        ["fail2ban-regex", "--out", "ip", file, CONTRIB / "fail2ban/filter.d/netd.conf"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.parametrize("form", ["json", "logfmt"])
def test_fail2ban_finds_the_banned_sources_in_a_file(tmp_path: Path, form: logs.Format) -> None:
    assert found_by_fail2ban(write_log(form, tmp_path / "log")) == ["192.0.2.7", "2001:db8:1::/64"]


def test_fail2ban_finds_the_banned_sources_in_messages_to_a_syslogd(tmp_path: Path) -> None:
    event = {"event": "source_banned", "source": "192.0.2.7", "seconds": 60.0}
    sent = syslog.renderer("daemon", formats.logfmt)(None, "warning", event).decode()
    # A syslogd adds the name of the host (RFC 3164).
    (tmp_path / "log").write_text(sent.partition(">")[2].replace(" netd[", " host netd[", 1) + "\n")
    assert found_by_fail2ban(tmp_path / "log") == ["192.0.2.7"]


def test_fail2ban_finds_the_banned_sources_in_lines_of_the_journal(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(
        "Nov 26 14:07:31 host netd[123]: source_banned source=192.0.2.9 seconds=60.0\n"
        "Nov 26 14:07:31 host netd[123]: netd_stopped\n"
        'Nov 26 14:07:31 host netd[123]: connection_closed peer="/x netd[1]: source_banned source=203.0.113.1 "\n'
    )
    assert found_by_fail2ban(tmp_path / "log") == ["192.0.2.9"]


def test_fail2ban_takes_the_jail_and_bans(tmp_path: Path) -> None:
    need("fail2ban-client", "fail2ban-server")
    own = tmp_path / "fail2ban"
    shutil.copytree("/etc/fail2ban", own, ignore=shutil.ignore_patterns("jail.d"))
    (own / "fail2ban.local").write_text("[DEFAULT]\ndbfile = None\n")
    jail = (
        f"banaction_allports = dummy[target={tmp_path}/banned]\n[netd]\nbackend = polling\nlogpath = {tmp_path}/log\n"
    )
    (own / "jail.local").write_text(f"[DEFAULT]\n{jail}")
    paths = ["-c", own, "-s", tmp_path / "socket", "-p", tmp_path / "pid", "--logtarget", tmp_path / "log-of-fail2ban"]

    def client(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["fail2ban-client", *map(str, paths), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    write_log("logfmt", tmp_path / "log")
    with started("fail2ban-server", "-f", *paths, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        until(lambda: client("ping").returncode == 0, 30)
        shutil.copytree(CONTRIB / "fail2ban", own, dirs_exist_ok=True)
        [command] = [one for one in all_commands("docs/operating.md") if one.text.startswith("fail2ban-client ")]
        assert client(*command.text.split()[1:]).returncode == 0
        until(lambda: "2001:db8:1::/64" in client("status", "netd").stdout, 30)
        until(lambda: "192.0.2.7" in (tmp_path / "banned").read_text(), 30)
        assert client("stop").returncode == 0
        assert server.wait(30) == 0


@pytest.mark.parametrize(
    ("program", "form", "found"),
    [
        ("jq", "json", ["\t2"] * 3),
        ("grep", "logfmt", ["192.0.2.7", "2001:db8:1::/64"]),
    ],
)
def test_commands_of_the_page_find_events_in_a_log(
    tmp_path: Path, program: str, form: logs.Format, found: list[str]
) -> None:
    need(program)
    write_log(form, tmp_path / "netd.log")
    [command] = [one for one in all_commands("docs/logging.md") if one.text.startswith(f"{program} ")]
    shown = subprocess.run(["sh", "-c", command.text], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    lines = shown.splitlines()
    assert len(lines) == len(found)
    assert all(part in line for part, line in zip(found, lines, strict=True))


def queried_with_lnav(directory: Path, file: Path, query: str) -> list[str]:
    """The rows that lnav finds in a log, as CSV without the head."""
    need("lnav")
    formats = directory / ".config/lnav/formats/netd"
    formats.mkdir(parents=True, exist_ok=True)
    shutil.copy(CONTRIB / "lnav/netd.json", formats)
    done = subprocess.run(
        ["lnav", "-n", "-c", f";{query}", "-c", ":write-csv-to -", file],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HOME": str(directory), "XDG_CONFIG_HOME": str(directory / ".config")},
    )
    assert done.stderr == ""
    return done.stdout.splitlines()[1:]


def test_lnav_reads_the_fields_of_a_log_in_json(tmp_path: Path) -> None:
    rows = queried_with_lnav(
        tmp_path,
        write_log("json", tmp_path / "log"),
        "SELECT log_level, event, service, source, number, outcome, duration FROM netd_log",
    )
    assert rows[1] == "warning,source_banned,<NULL>,192.0.2.7,<NULL>,<NULL>,<NULL>"
    assert rows[4] == "warning,connection_refused,echo,192.0.2.8,3,<NULL>,<NULL>"
    assert rows[5] == "info,connection_closed,echo,<NULL>,<NULL>,done,0.25"
    assert len(rows) == 8


def test_lnav_recognizes_each_line_of_a_log_in_logfmt(tmp_path: Path) -> None:
    file = write_log("logfmt", tmp_path / "log")
    assert queried_with_lnav(tmp_path, file, "SELECT count(*) FROM logfmt_log") == ["8"]
