"""The drop-ins of the unit, and what the journal and the status of the unit say where one is missing."""

import json
import re
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.programs import faults_of_units
from tests.support.waiting import until
from tests.systemd.conftest import ROOT, Lab

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180, func_only=True)]

ECHO = "services:\n  echo: {listen: [tcp://*:7, 'unix:///run/netd/echo.sock']}\n"
GROUP = "daemon: {control_group: netd-admin}\n" + ECHO
FILE = "log: {file: /var/log/netd/netd.log}\n" + ECHO


def shipped(name: str) -> str:
    return (ROOT / "systemd/netd.service.d" / name).read_text()


def errors(lab: Lab) -> str:
    """What `journalctl -p err` has of netd since the test began."""
    lab.run("journalctl", "--sync")
    # With --after-cursor, journalctl skips the first entry that matches.
    return lab.run("journalctl", "-p", "err", "-u", "netd", "-o", "cat", "--no-pager", f"--cursor={lab.cursor}")


def make_users(lab: Lab) -> None:
    """A member of the group netd-admin, and a user that is none."""
    lab.run("groupadd", "--force", "--system", "netd-admin")
    lab.run("useradd", "--system", "--groups", "netd-admin", "member", code=None)
    lab.run("useradd", "--system", "other", code=None)


def as_user(lab: Lab, user: str, *command: str, code: int = 0) -> str:
    return lab.run("setpriv", f"--reuid={user}", "--init-groups", "/usr/local/bin/netd", *command, code=code)


def test_member_of_the_control_group_gets_an_answer_and_another_user_gets_none(lab: Lab) -> None:
    make_users(lab)
    lab.config(GROUP)
    lab.run("rm", "-f", "/run/netd")
    lab.drop_in(shipped("control-group.conf"))
    for verb in ("start", "restart"):
        lab.run("systemctl", verb, "netd")
        assert json.loads(as_user(lab, "member", "status", "--json"))["config"] == "/etc/netd/netd.yaml"
        assert "this user may not ask the netd" in as_user(lab, "other", "status", code=69)
    as_user(lab, "member", "reload")
    assert lab.wait_for("reload_applied")["by"] == "netd reload, member"
    lab.run("systemctl", "reload", "netd")


def test_control_group_without_its_drop_in_fails_the_start_in_one_line(lab: Lab) -> None:
    make_users(lab)
    lab.config(GROUP)
    lab.drop_in("[Service]\nRestart=no\n")
    lab.run("systemctl", "start", "netd", code=1)
    assert (lab.show("ExecMainStatus"), lab.show("ActiveState")) == ("71", "failed")
    [line] = [line for line in errors(lab).splitlines() if "control_group" in line]
    assert "the group 'netd-admin' cannot use the control socket: systemd lets only root enter /run/private" in line
    assert "control-group.conf" in line


def test_reload_with_a_control_group_that_the_unit_does_not_permit_is_refused(lab: Lab) -> None:
    make_users(lab)
    lab.config(ECHO)
    lab.run("systemctl", "start", "netd")
    lab.config(GROUP)
    lab.run("systemctl", "reload", "netd", code=1)
    assert "control-group.conf" in lab.wait_for("reload_rejected")["problem"]
    assert lab.show("StatusText").endswith(", config 1; the last reload was rejected")
    lab.config(ECHO)
    lab.run("systemctl", "reload", "netd")
    assert lab.show("StatusText").endswith(", config 2")


def test_log_file_needs_its_drop_in_and_is_rotated(lab: Lab) -> None:
    lab.config(ECHO)
    lab.run("systemctl", "start", "netd")
    for file in ("/var/log/netd/netd.log", "/var/log/netd.log"):
        lab.config(FILE.replace("/var/log/netd/netd.log", file))
        lab.run("systemctl", "reload", "netd", code=1)
        assert "log-file.conf" in lab.events("reload_rejected")[-1]["problem"], "its directory is missing or read-only"
    lab.config(FILE)
    lab.drop_in(shipped("log-file.conf"))
    lab.run("systemctl", "restart", "netd")
    log = lab.root / "var/log/private/netd"
    until(lambda: '"netd_started"' in (log / "netd.log").read_text())
    lab.write("/etc/logrotate.d/netd", (ROOT / "contrib/logrotate/netd").read_text())
    if lab.run("sh", "-c", "command -v logrotate || true").strip() == "":
        pytest.skip("no logrotate in this lab")
    lab.run("logrotate", "--force", "/etc/logrotate.d/netd")
    until(lambda: "log_reopened" in (log / "netd.log").read_text() if (log / "netd.log").exists() else False)
    lab.python(
        "import socket\nwith socket.create_connection(('127.0.0.1', 7)) as one:\n    one.sendall(b'x'); one.recv(1)"
    )
    until(lambda: "connection_closed" in (log / "netd.log").read_text())
    assert '"netd_started"' in (log / "netd.log.1").read_text()
    assert "connection_closed" not in (log / "netd.log.1").read_text()
    assert lab.show("ActiveState") == "active"


def test_key_of_the_group_or_of_root_is_read_with_the_drop_in(lab: Lab, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    lab.run("groupadd", "--force", "--system", "netd-tls")
    files = {"key": "/etc/netd/tls/web.key", "certificate": "/etc/netd/tls/web.pem"}

    def issue() -> None:
        made = authority.issue("server")
        lab.write(files["certificate"], made.certificate.read_text())
        lab.write(files["key"], made.key.read_text())
        lab.run("chgrp", "-R", "netd-tls", "/etc/netd/tls")
        lab.run("chmod", "0640", files["key"])

    def greeting() -> str:
        return lab.python(
            "import socket, ssl\ncontext = ssl.create_default_context(cafile='/etc/netd/tls/ca.pem')\n"
            "bare = socket.create_connection(('127.0.0.1', 7))\n"
            "with context.wrap_socket(bare, server_hostname='localhost') as one:\n"
            "    one.sendall(b'x'); one.recv(1); print(one.getpeercert()['serialNumber'])"
        )

    lab.run("mkdir", "-p", "/etc/netd/tls")
    lab.write("/etc/netd/tls/ca.pem", authority.certificate.read_text())
    issue()
    config = "services:\n  echo: {listen: [tls://*:7], tls: {certificate: CERTIFICATE, key: KEY}}\n"
    lab.config(config.replace("CERTIFICATE", files["certificate"]).replace("KEY", files["key"]))
    lab.drop_in("[Service]\nRestart=no\n")
    lab.run("systemctl", "start", "netd", code=1)
    assert f"cannot read {files['key']}: Permission denied" in errors(lab)
    assert "tls.conf" in errors(lab)

    lab.drop_in(shipped("tls.conf"))
    lab.run("systemctl", "start", "netd")
    first = greeting()
    issue()
    hook = re.search("certbot .*--deploy-hook '(.*?)'", (ROOT / "docs" / "tls.md").read_text())
    assert hook
    # As certbot does, with a shell and these two variables.
    lab.run("sh", "-c", f"export RENEWED_LINEAGE=/etc/netd/tls RENEWED_DOMAINS=localhost; {hook[1]}")
    assert greeting() != first

    lab.run("chmod", "0600", files["key"])
    lab.config(
        config.replace("CERTIFICATE", files["certificate"]).replace("KEY", "/run/credentials/netd.service/web.key")
    )
    lab.drop_in(
        shipped("tls.conf").replace("#LoadCredential", "LoadCredential").replace("#Supplementary", "Supplementary")
    )
    lab.run("systemctl", "restart", "netd")
    greeting()


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ("services:\n  ecoh: {listen: [tcp://*:7]}\n", "/etc/netd/netd.yaml:2:3: services.ecoh"),
        ("services:\n  echo: {listen: [tcp://192.0.2.1:7]}\n", "cannot listen on tcp://192.0.2.1:7"),
        ("log: {file: /proc/netd.log}\n" + ECHO, "log.file: cannot open /proc/netd.log"),
    ],
)
def test_failed_start_is_in_the_journal_as_an_error_once(lab: Lab, config: str, problem: str) -> None:
    lab.config(config)
    lab.drop_in("[Service]\nRestart=no\n")
    lab.run("systemctl", "start", "netd", code=1)
    found = [line for line in errors(lab).splitlines() if problem in line]
    assert len(found) == 1, errors(lab)


def test_log_goes_to_the_syslogd_with_its_facility(lab: Lab) -> None:
    lab.config("log: {file: syslog, facility: local3}\n" + ECHO)
    lab.run("systemctl", "start", "netd")

    def entries() -> list[dict[str, str]]:
        lab.run("journalctl", "--sync")
        match = ("_TRANSPORT=syslog", "SYSLOG_IDENTIFIER=netd", f"--after-cursor={lab.cursor}")
        return [json.loads(line) for line in lab.run("journalctl", "-o", "json", "--no-pager", *match).splitlines()]

    until(lambda: any("event=netd_started" in entry["MESSAGE"] for entry in entries()))
    [started] = [entry for entry in entries() if "event=netd_started" in entry["MESSAGE"]]
    assert started["MESSAGE"] == "level=info event=netd_started services=1 sockets=2"
    assert (started["SYSLOG_FACILITY"], started["PRIORITY"]) == ("19", "6")
    assert started["SYSLOG_PID"] == started["_PID"] == lab.show("MainPID")


def test_drop_ins_have_no_fault_for_systemd_analyze(tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in ("control-group.conf", "log-file.conf", "programs.conf", "programs-leave.conf", "tls.conf"):
        place = tmp_path_factory.mktemp("units")
        unit = (ROOT / "systemd/netd.service.in").read_text().replace("@PREFIX@/bin/netd", "/bin/true")
        (place / "netd.service").write_text(unit.replace("@SYSCONFDIR@", "/etc"))
        (place / "netd.service.d").mkdir()
        (place / "netd.service.d" / name).write_text(shipped(name))
        assert faults_of_units(place / "netd.service") == ""
        (place / "netd.service.d" / name).write_text(shipped(name).replace("[Service]\n", "[Service]\nNonesuch=1\n"))
        assert "Nonesuch" in faults_of_units(place / "netd.service")
