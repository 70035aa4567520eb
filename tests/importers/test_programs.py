"""What programs need: logins, and drop-ins of the unit."""

import pytest

from netd.importers.account import Account, Place
from netd.importers.document import Document, Service
from netd.importers.programs import is_login, note_drop_ins


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["/usr/sbin/in.telnetd", "-h"], True),
        (["/usr/sbin/sshd", "-i"], True),
        (["/bin/busybox", "telnetd", "-i"], True),
        (["/bin/busybox", "ftpd", "login"], False),
        (["/usr/bin/rsync", "--daemon"], False),
    ],
)
def test_programs_that_log_users_in_are_known(command: list[str], *, expected: bool) -> None:
    assert is_login(command) is expected


def test_account_and_heading_name_the_drop_ins_that_services_need() -> None:
    document, account = Document(), Account()
    for name, options in (
        ("plain", {"command": ["/bin/cat"]}),
        ("user", {"command": ["/bin/cat"], "user": "root"}),
        ("login", {"command": ["/bin/login"], "no_new_privileges": False}),
        ("socket", {"command": ["/bin/cat"], "mode": "listener"}),
    ):
        made = Service(name, Place("f", 1))
        made.put("exec", "type")
        made.put(["tcp://*:7"], "listen")
        made.put(options, "options")
        made.put(["10.0.0.0/8"], "access", "allow")
        document.add(made)
    note_drop_ins(document, account)
    assert list(account.drop_ins) == [
        "the drop-in programs.conf in /etc/systemd/system/netd.service.d, for user, login",
        "the line CapabilityBoundingSet=CAP_NET_ADMIN in programs.conf, for socket",
        "sessions.conf of docs/programs.md, for login",
    ]
    assert document.heading[0].startswith("Under systemd this needs the drop-in programs.conf")


def test_services_without_needs_have_no_heading() -> None:
    document, account = Document(), Account()
    note_drop_ins(document, account)
    assert (document.heading, account.drop_ins) == ([], {})
