"""The Debian package, for the Debian of this host: made, judged by lintian, and installed under a real systemd."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import netd
from tests.source_tree import ROOT
from tests.support.programs import need, started
from tests.support.waiting import until
from tests.systemd.conftest import Lab, need_lab
from tests.systemd.load import Load

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EVERYTHING = ["find", "/etc", "/usr", "/var", "/run", "/lib/systemd", "-xdev"]
# What is of systemd and dpkg, and changes in any case; and the account, which sysusers.d(5) keeps.
OTHERS = re.compile(
    r"/(run|var/log|var/lib)/(systemd|journal|dpkg|log|dbus)\b.*|/var/(cache|tmp)\b.*|.*/__pycache__\b.*"
    r"|/run/private|/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?|.*/\.(pwd\.lock|updated)"
)


def next_revision(deb: Path, place: Path) -> Path:
    """The same package as a later build of it."""
    subprocess.run(["dpkg-deb", "-R", deb, place / "tree"], check=True)
    control = place / "tree/DEBIAN/control"
    control.write_text(control.read_text().replace("-1~deb", "-2~deb"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "-b", place / "tree", place], check=True)
    [made] = place.glob("*.deb")
    return made


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A lab without netd, in which packages start their services."""
    need_lab("host")
    lab = Lab("host")
    lab.start()
    try:
        (lab.root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
        yield lab
    finally:
        lab.call("stop")


def test_lintian_has_no_complaint_without_a_reason(deb: Path) -> None:
    need("lintian")
    done = subprocess.run(
        ["lintian", "--allow-root", "--fail-on", "error,warning", deb], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_copyright_names_each_package_that_is_carried(deb: Path) -> None:
    listing = subprocess.run(["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True).stdout
    text = (ROOT / "packaging" / "debian" / "copyright").read_text().lower()
    carried = set(re.findall(r"/usr/lib/netd/([^/\n]+)-[^/-]+\.dist-info/METADATA", listing))
    assert len(carried) > 15
    assert [name for name in carried if name.lower().replace("_", "-") not in text] == []


def ask(lab: Lab, port: int) -> str:
    return lab.python(f"""
import socket
s = socket.create_connection(("127.0.0.1", {port}), 20)
s.sendall(b"ping 1\\n")
print(s.recv(100).decode())""")


def everything(lab: Lab) -> set[str]:
    return {path for path in lab.run(*EVERYTHING).splitlines() if not OTHERS.fullmatch(path)}


def test_package_is_installed_upgraded_with_a_connection_and_purged(deb: Path, lab: Lab, tmp_path: Path) -> None:
    lab.reset()
    before = everything(lab)

    def dpkg(*arguments: str) -> str:
        return lab.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", *arguments)

    def put(file: Path) -> str:
        (lab.root / "tmp" / file.name).write_bytes(file.read_bytes())
        return f"/tmp/{file.name}"

    dpkg("-i", put(deb))
    assert (lab.show("ActiveState"), lab.show("UnitFileState")) == ("active", "enabled")
    assert lab.show("UnitFileState", "netd.socket") == "disabled"
    assert ask(lab, 7) == "ping 1"
    assert f"netd {netd.__version__}" in lab.run("/usr/bin/netd", "status")
    assert lab.run("ps", "-o", "user=", "-C", "netd").split() == ["netd", "netd"]
    for file in (
        "usr/share/man/man8/netd.8.gz",
        "usr/share/bash-completion/completions/netd",
        "usr/share/doc/netd/examples/netd.service.d/programs.conf",
        "etc/logrotate.d/netd",
        "usr/lib/netd/netd/__pycache__",
    ):
        assert (lab.root / file).exists(), file
    assert lab.run("dpkg", "--verify", "netd") == ""

    # An upgrade: the sockets stay open, a connection has daemon.drain, and the config is as it was edited.
    config = "daemon: {drain: 2s}\nlog: {file: /var/log/netd/netd.log}\nservices: {echo: {listen: [tcp://*:7]}}\n"
    lab.config(config)
    lab.drop_in("[Service]\nLogsDirectory=netd\n")
    lab.run("systemctl", "restart", "netd")
    first = lab.show("MainPID")
    nc = ("nsenter", "-t", lab.root.parts[2], "-n", "nc", "127.0.0.1", "7")
    pipe = subprocess.PIPE
    next_one = put(next_revision(deb, tmp_path))
    with started(*nc, stdin=pipe, stdout=pipe) as held, Load(lab) as load:
        assert held.stdin
        assert held.stdout
        held.stdin.write(b"before\n")
        held.stdin.flush()
        assert held.stdout.readline() == b"before\n"
        dpkg("-i", next_one)
        assert held.communicate(timeout=20)[0] == b"", "it was closed after daemon.drain"
    assert load.result == "none failed True 0"
    assert lab.show("MainPID") not in (first, "0")
    assert (lab.root / "etc/netd/netd.yaml").read_text() == config
    assert "-2~deb" in lab.run("dpkg-query", "-W", "netd")
    log = (lab.root / "var/log/netd/netd.log").read_text()
    assert '"outcome":"stopped"' in log

    dpkg("-r", "netd")
    until(lambda: lab.show("ActiveState") == "inactive")
    assert (lab.root / "etc/netd/netd.yaml").read_text() == config
    (lab.root / "etc/systemd/system/netd.service.d/test.conf").unlink()
    (lab.root / "etc/systemd/system/netd.service.d").rmdir()
    dpkg("-P", "netd")
    assert everything(lab) - before == set()
