"""docs/programs.md under systemd: each program under the unit, or with the drop-in, that the page names."""

import re
from collections.abc import Iterator

import pytest

from tests.support.programs import need
from tests.support.recipes import PAGE, blocks, recipe
from tests.systemd.conftest import ROOT, Lab

# The tree of the other lab has none of the programs.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180, func_only=True),
    pytest.mark.parametrize("booted", ["host"], indirect=True),
]

DROP_IN = ROOT / "systemd/netd.service.d/programs.conf"
[FTP] = re.findall(r"`(SystemCallFilter=\w+)`", PAGE)
FILES = """
mkdir -p /srv/pub /srv/git /srv/tftp /srv/ftp /run/sshd /run/vsftpd/empty
seq 100000 | tee /srv/pub/file /srv/tftp/file > /srv/ftp/file
touch /srv/tftp/upload
chmod 666 /srv/tftp/upload
printf '[pub]\\npath = /srv/pub\\nuse chroot = no\\n' > /etc/rsyncd.conf
sed -i s/^anonymous_enable=.*/anonymous_enable=YES/ /etc/vsftpd.conf
export HOME=/root
git init -q /srv/git/one
git -C /srv/git/one -c user.name=a -c user.email=a@b.example commit -q --allow-empty -m first
printf '#!/bin/sh\\nprintf "HTTP/1.0 200 OK\\r\\n\\r\\n"\\necho hello\\n' > /usr/local/bin/page
chmod 755 /usr/local/bin/page
"""
# pam_nologin(8): the lab has not finished to boot.
ACCOUNT = """
rm -f /run/nologin
id joe || useradd -m -s /bin/sh joe
mkdir -p /home/joe/.ssh
rm -f /root/key
ssh-keygen -q -t ed25519 -N '' -f /root/key
cp /root/key.pub /home/joe/.ssh/authorized_keys
chown -R joe /home/joe
echo 'joe ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/joe
chmod 440 /etc/sudoers.d/joe
"""
CLIENT = "ssh -F none -i /root/key -o BatchMode=yes -o StrictHostKeyChecking=no joe@127.0.0.1"


@pytest.fixture
def files(lab: Lab) -> None:
    """What the programs serve."""
    lab.run("bash", "-ec", FILES)


def shell(lab: Lab, script: str) -> str:
    """The output of commands in the lab, which have to succeed."""
    return lab.run("bash", "-ec", script)


@pytest.mark.parametrize(
    ("service", "programs", "client", "shown"),
    [
        ("rsync", "rsync", "rsync rsync://127.0.0.1/pub/file /root/copy && cmp /root/copy /srv/pub/file", ""),
        ("git", "git", "rm -rf /root/one && git clone -q git://127.0.0.1/one /root/one && ls -A /root/one", ".git\n"),
        ("auth", "nullidentd nc", "printf '1, 2\\r\\n' | nc -N 127.0.0.1 113", "1, 2 : USERID : UNIX : foobar\n"),
        ("page", "curl", "curl -sS http://127.0.0.1:8080/", "hello\n"),
    ],
)
def test_recipe_runs_under_the_shipped_unit(
    lab: Lab, files: None, service: str, programs: str, client: str, shown: str
) -> None:
    need(*programs.split())
    lab.config(recipe(service))
    lab.run("systemctl", "start", "netd")
    assert shell(lab, client) == shown


@pytest.fixture
def user(lab: Lab) -> Iterator[None]:
    """The user of the workers, which programs.conf needs."""
    lab.write("/etc/sysusers.d/netd.conf", (ROOT / "systemd/sysusers.d/netd.conf").read_text())
    lab.run("systemd-sysusers", "/etc/sysusers.d/netd.conf")
    yield
    lab.run("systemctl", "stop", "netd")
    lab.run("userdel", "netd")
    (lab.root / "etc/sysusers.d/netd.conf").unlink()


def start(lab: Lab, service: str, drop_in: str) -> None:
    """Start netd with a service of the page and this drop-in."""
    lab.run("systemctl", "stop", "netd")
    lab.config(recipe(service))
    lab.drop_in(drop_in)
    lab.run("rm", "-f", "/run/netd")
    lab.run("systemctl", "start", "netd")


@pytest.mark.parametrize(
    ("service", "programs", "client"),
    [
        ("tftp", "tftp in.tftpd", "cd /root; tftp -m binary 127.0.0.1 -c get file; cmp file /srv/tftp/file"),
        (
            "tftp",
            "tftp in.tftpd",
            "cd /srv/pub; tftp -m binary 127.0.0.1 -c put file upload; cmp file /srv/tftp/upload",
        ),
        ("ftp", "vsftpd curl", "curl -sSl ftp://127.0.0.1/; curl -sS ftp://127.0.0.1/file | cmp - /srv/ftp/file"),
    ],
)
def test_recipe_runs_with_the_drop_in(
    lab: Lab, files: None, user: None, service: str, programs: str, client: str
) -> None:
    need(*programs.split())
    start(lab, service, DROP_IN.read_text() + (FTP if service == "ftp" else ""))
    assert shell(lab, client) == ("file\n" if service == "ftp" else "")


def test_sessions_may_do_all_that_their_user_may_with_the_drop_in_of_the_page(
    lab: Lab, files: None, user: None
) -> None:
    need("sshd", "ssh", "sudo", "choom", "telnet")
    shell(lab, ACCOUNT)
    [sessions] = blocks("ini")
    leave = (DROP_IN.parent / "programs-leave.conf").read_text()
    start(lab, "ssh", leave + DROP_IN.read_text() + sessions)
    commands = "id -un; touch mine; sudo -n sh -c 'id -un; touch /etc/mine; unshare -m mount -t tmpfs own /mnt' 2>&1"
    shown = shell(lab, f'{CLIENT} "{commands}" 2>/dev/null')
    assert [line for line in shown.splitlines() if "unable to resolve host" not in line] == ["joe", "root"]
    assert (lab.root / "etc/mine").exists()
    start(lab, "telnet", DROP_IN.read_text() + sessions)
    assert "login: " in shell(lab, "(sleep 1; echo joe; sleep 1) | telnet 127.0.0.1 | cat")
