"""New Debian hosts, from nothing to netd, from xinetd to netd, and back: `make hosts`, which a release runs."""

import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.packaging.conftest import pip, wheels_for
from tests.source_tree import ROOT
from tests.support.pages import all_commands, blocks, commands, elsewhere, is_console
from tests.support.programs import need
from tests.support.waiting import until
from tests.systemd.conftest import CACHE, Lab, need_lab

pytestmark = [pytest.mark.release, pytest.mark.timeout(3600)]

SUITES = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian 12 and 13, with the version of their Python."""
# What the package is made and judged with, and what `make install` needs; and what netd takes the place of.
PACKAGES = "ca-certificates,debhelper,dpkg-dev,lintian,make,netcat-openbsd,python3-venv,tzdata,xinetd"
DROP_INS = "/etc/systemd/system/netd.service.d"
PROGRAMS = "/usr/share/doc/netd/examples/netd.service.d/programs.conf"
XINETD = """
service echo
{
        type            = INTERNAL
        id              = echo-stream
        socket_type     = stream
        wait            = no
        user            = root
}
service echo
{
        type            = INTERNAL
        id              = echo-dgram
        socket_type     = dgram
        protocol        = udp
        wait            = yes
        user            = root
}
service greeting
{
        type            = UNLISTED
        port            = 6556
        socket_type     = stream
        wait            = no
        user            = nobody
        server          = /usr/bin/id
        server_args     = -un
}
"""
ASK = """
import socket
for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    s = socket.socket(socket.AF_INET, kind)
    s.settimeout(20)
    s.connect(("127.0.0.1", 7))
    s.send(b"hello")
    print(s.recv(100).decode())
"""
ASK_PROGRAM = """
import socket
s = socket.create_connection(("127.0.0.1", 6556), 20)
print(s.makefile().read().strip())
"""


CHECKOUT = "/var/tmp/checkout"
INDEX = "PIP_NO_INDEX=1 PIP_FIND_LINKS='/wheels /builder'"
"""A checkout of netd on the host, and where pip finds packages there, in place of an index."""


@pytest.fixture(scope="module", params=SUITES)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need("mmdebstrap")
    need_lab(request.param)
    wheels = wheels_for(tmp_path_factory, SUITES[request.param])
    place = tmp_path_factory.mktemp("builder")
    builder = place / "packages"  # which the user of a checkout may read
    subprocess.run([pip(place), "download", "--quiet", "--no-deps", "-d", builder, "setuptools"], check=True)
    lab = Lab(
        request.param,
        LAB_CACHE=str(CACHE / "release"),
        LAB_PACKAGES=PACKAGES,
        LAB_BIND=f"{ROOT}:/netd {wheels}:/wheels {builder}:/builder",
        LAB_EXEC_S="900",
        LAB_TTL_S="3600",
    )
    lab.start()
    try:
        # mmdebstrap has left out pages, among them the examples of netd.
        (lab.root / "etc/dpkg/dpkg.cfg.d/99mmdebstrap").unlink(missing_ok=True)
        lab.write("/etc/xinetd.conf", XINETD)
        yield lab
    finally:
        lab.call("stop")


@pytest.fixture(scope="module")
def checkout(host: Lab) -> str:
    """A checkout of the user alex, without what was made in that of the tests."""
    host.run("useradd", "--create-home", "alex")
    copy = (
        "tar -C /netd --exclude=./build --exclude=./dist --exclude='./.*' -cf - . | tar -C $0 -xf -; chown -R alex: $0"
    )
    host.run("sh", "-ec", f"mkdir $0; {copy}", CHECKOUT)
    return CHECKOUT


def of_the_package(beginning: str) -> str:
    """A command of the page about the package, which asks nothing."""
    [command] = [one.text for one in all_commands("docs/operating.md") if one.text.startswith(beginning)]
    return command.replace("apt ", "apt --yes ")


@pytest.fixture(scope="module")
def package(host: Lab, checkout: str) -> str:
    """The package, made on this host."""
    made = host.run(
        "env", "TMPDIR=/var/tmp", "WHEELS=/wheels", "sh", "-c", f"cd {checkout} && {of_the_package('make deb')}"
    )
    return made.splitlines()[-1]


def test_lintian_has_no_complaint_without_a_reason(host: Lab, package: str) -> None:
    assert host.run("lintian", "--allow-root", "--fail-on", "error,warning", package) == ""


def files_of_netd(host: Lab) -> list[str]:
    """What is there of netd, but for what tests have put there."""
    names = ["-name", "netd", "-o", "-name", "netd[.@_-]*"]
    found = host.run("find", "/etc", "/usr", "/var", "/run", "-xdev", "(", *names, ")", "-print").splitlines()
    return sorted(path for path in found if not path.startswith("/var/tmp/"))


def start_xinetd(host: Lab) -> None:
    """Debian 12 has no unit for it, but a script: systemd ignores --now, and does not wait until xinetd listens."""
    host.run("systemctl", "enable", "xinetd")
    host.run("systemctl", "start", "xinetd")
    until(lambda: host.call("exec", "/usr/bin/python3", "-", text=ASK).returncode == 0, 1)


def test_from_xinetd_to_the_package_and_back(host: Lab, package: str) -> None:
    start_xinetd(host)
    before = host.python(ASK) + host.python(ASK_PROGRAM)
    assert before == "hello\nhellonobody"

    host.run("dpkg", "-i", package)  # xinetd has the port of echo, so netd does not start yet
    host.run("netd", "import", "xinetd", "-o", "/etc/netd/netd.yaml", "--force")
    host.run("install", "-D", "-t", DROP_INS, PROGRAMS)
    host.run("systemctl", "daemon-reload")
    host.run("netd", "check")
    host.run("systemctl", "stop", "xinetd")
    host.run("systemctl", "disable", "xinetd")
    host.run("systemctl", "stop", "netd")
    host.run("systemctl", "reset-failed", "netd", code=None)
    host.run("systemctl", "enable", "--now", "netd")
    assert host.python(ASK) + host.python(ASK_PROGRAM) == before
    assert (host.show("ActiveState"), host.show("UnitFileState")) == ("active", "enabled")

    host.run("dpkg", "-P", "netd")
    host.run("rm", "-r", DROP_INS)
    assert files_of_netd(host) == []
    start_xinetd(host)
    assert host.python(ASK) + host.python(ASK_PROGRAM) == before
    host.run("systemctl", "stop", "xinetd")
    host.run("systemctl", "disable", "xinetd")


def test_commands_of_the_page_about_xinetd(host: Lab, package: str) -> None:
    page = "docs/from-xinetd.md"
    [source] = [block for block in blocks(page) if block.language == "xinetd"]
    host.write("/etc/xinetd.conf", "\n".join(source.lines) + "\n")
    host.run("systemctl", "enable", "xinetd")
    host.run("systemctl", "start", "xinetd")
    host.run("dpkg", "-i", package)
    host.run("netd", "import", "xinetd", "-o", "/etc/netd/netd.yaml", "--force", code=1)  # a line was not imported
    for command in all_commands(page):
        if (found := elsewhere(command)) and found.where == "tests/packaging/test_fresh_hosts.py":
            shown = host.run("sh", "-c", command.text, code=1 if "explain" in command.text else 0)
            if command.text.startswith("nc "):
                assert shown.startswith("Filesystem ")
                assert (host.show("ActiveState"), host.show("UnitFileState")) == ("active", "enabled")
    assert (host.show("ActiveState"), host.show("UnitFileState")) == ("inactive", "disabled")
    assert host.show("ActiveState", "xinetd.service") == "active"
    host.run("dpkg", "-P", "netd")
    host.run("rm", "-r", DROP_INS)


def test_package_on_a_host_with_nothing_else(host: Lab, package: str) -> None:
    host.run("systemctl", "stop", "xinetd", code=None)
    host.run("sh", "-c", f"cd {CHECKOUT} && {of_the_package('apt install')}")
    assert (host.show("ActiveState"), host.show("UnitFileState")) == ("active", "enabled")
    assert host.python(ASK) == "hello\nhello"
    host.run("sh", "-c", of_the_package("apt purge"))
    assert files_of_netd(host) == []


def test_netd_is_tried_as_readme_says(host: Lab, checkout: str) -> None:
    run, *others = commands(next(block for block in blocks("README.md") if is_console(block)))
    assert (run.text, others[-1].text) == ("make run", ".venv/bin/netd status")
    host.run("install", "-d", "-o", "alex", "-m", "700", "/run/alex")  # as a login makes one (pam_systemd(8))
    as_alex = ["env", "-C", checkout, "XDG_RUNTIME_DIR=/run/alex", "runuser", "-u", "alex", "--", "sh", "-c"]
    host.run("systemd-run", "--unit=try", "--collect", *as_alex, f"exec env {INDEX} {run.text}")

    def runs() -> bool:
        assert host.show("ActiveState", "try.service") == "active", host.run("journalctl", "-u", "try")
        return host.call("exec", *as_alex, others[-1].text).returncode == 0

    until(runs, 600)
    for command in others:
        wanted = "\n".join(command.shown).strip().replace("Saturday", r"\w+day")
        assert re.fullmatch(wanted or "(?s).*", host.run(*as_alex, command.text).strip())
    host.run("systemctl", "kill", "--signal=INT", "try")  # Ctrl-C
    until(lambda: host.show("ActiveState", "try.service") == "inactive", 60)
    host.run("rm", "-r", "/run/alex")


def test_make_install_and_what_it_says_to_type(host: Lab) -> None:
    host.run("systemctl", "stop", "xinetd", code=None)

    def make(target: str) -> None:
        """Run it, and the command in the last line of what it prints."""
        said = host.run(
            "env", "TMPDIR=/var/tmp", "make", "-C", "/netd", "--no-print-directory", target, "WHEELS=/wheels"
        )
        host.run("sh", "-ec", said.splitlines()[-1].partition(": ")[2])

    make("install")
    assert (host.show("ActiveState"), host.show("UnitFileState")) == ("active", "enabled")
    assert host.python(ASK) == "hello\nhello"
    first = host.show("MainPID")
    make("install")
    assert host.show("MainPID") not in (first, "0")
    assert host.python(ASK) == "hello\nhello"
    make("uninstall")
    assert host.show("ActiveState") == "inactive"
    # Until the next boot, systemd leaves a link in place of its RuntimeDirectory=.
    assert [path for path in files_of_netd(host) if path != "/run/netd"] == ["/etc/netd", "/etc/netd/netd.yaml"]
    host.run("rm", "-r", "/etc/netd")
