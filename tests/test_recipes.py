"""docs/programs.md: the configs of the page, run with the programs of Debian and their real clients.

Only addresses, ports, paths, users and times of a config are replaced, by those of the test.
"""

import contextlib
import csv
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.daemon import Daemon, daemon
from tests.support.directories import open_directory
from tests.support.programs import need, need_root, program, started, type_until
from tests.support.recipes import HERE, PAGE, blocks, recipe, replaced
from tests.support.waiting import until

pytestmark = pytest.mark.slow  # daemons


@contextlib.contextmanager
def running(
    service: str, directory: Path, words: Mapping[str, object], command: Sequence[str] = ()
) -> Iterator[Daemon]:
    """A daemon with the config of the page that has this service, and with other values for some of its words."""
    need_root()
    text = re.sub(r"(tcp|udp)://[*\d.]+:\d+", rf"\1://{HERE}:0", recipe(service))
    with daemon(replaced(text, words), directory, command) as netd:
        yield netd


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the users of programs can enter."""
    with open_directory() as directory:
        yield directory


def run(*command: object, **variables: str) -> str:
    """The output of a client, which has to end with code 0."""
    words = [str(word) for word in command]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **variables}
    done = subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def script(file: Path, text: str) -> Path:
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def starts(netd: Daemon) -> int:
    """How often the program was started, of a daemon that has stopped."""
    return sum(line["event"] == "program_started" for line in netd.lines)


def test_rsync_copies_a_thousand_files(place: Path) -> None:
    need("rsync")
    source, copy, rules = place / "pub", place / "copy", place / "rsyncd.conf"
    source.mkdir()
    for number in range(1000):
        (source / str(number)).write_bytes(os.urandom(number))
    [text] = re.findall(r"(?m)^    \[pub\]\n(?:    .*\n)+", PAGE)
    rules.write_text(replaced(text, {"/srv/pub": source}))
    with running("rsync", place, {"/etc/rsyncd.conf": rules}) as netd:
        run("rsync", "-a", f"rsync://{HERE}:{netd.port('rsync')}/pub/", copy)
        assert netd.event("program_ended")["code"] == 0
    assert len(list(copy.iterdir())) == 1000
    run("diff", "-r", source, copy)


def test_git_clones_a_repository_and_logs_its_client(place: Path) -> None:
    need("git", "/usr/lib/git-core/git-daemon")
    repositories, copy = place / "git", place / "copy"
    own = {"HOME": str(place), "GIT_CONFIG_NOSYSTEM": "1"}
    run("git", "init", "-q", repositories / "one", **own)
    (repositories / "one" / "file").write_text("hello\n")
    author = ("-c", "user.name=a", "-c", "user.email=a@b.example")
    run("git", "-C", repositories / "one", "add", "file", **own)
    run("git", "-C", repositories / "one", *author, "commit", "-q", "-m", "first", **own)
    os.chown(repositories, 1, 1)
    with running("git", place, {"/srv/git": repositories}) as netd:
        run("git", "clone", "-q", f"git://{HERE}:{netd.port('git')}/one", copy, **own)
        assert f"Connection from {HERE}:" in netd.event("program_error")["line"]
        assert netd.event("program_ended")["code"] == 0
    assert (copy / "file").read_text() == "hello\n"


def test_tftp_sends_and_receives_a_megabyte_with_one_program(place: Path) -> None:
    need("tftp", "in.tftpd")
    served, mine = place / "tftp", place / "mine"
    served.mkdir()
    mine.mkdir()
    (served / "image").write_bytes(os.urandom(2**20))
    (served / "upload").touch(mode=0o666)
    (served / "upload").chmod(0o666)
    (mine / "upload").write_bytes(os.urandom(2**20))
    with running("tftp", place, {"/srv/tftp": served}) as netd:
        client = ("tftp", "-m", "binary", HERE, netd.port("tftp", "udp"), "-c")
        for _ in range(2):
            run(*client, "get", "image", mine / "image")
            assert (mine / "image").read_bytes() == (served / "image").read_bytes()
            run(*client, "put", mine / "upload", "upload")
            until(lambda: (served / "upload").read_bytes() == (mine / "upload").read_bytes())
    assert starts(netd) == 1


def test_ftp_lists_and_sends_a_file(place: Path) -> None:
    need("vsftpd", "curl")
    served, empty, rules = place / "ftp", place / "empty", place / "vsftpd.conf"
    served.mkdir(mode=0o755)
    empty.mkdir(mode=0o755)
    (served / "image").write_bytes(os.urandom(2**20))
    debian = Path("/etc/vsftpd.conf").read_text()
    rules.write_text(f"{debian}\nanonymous_enable=YES\nanon_root={served}\nsecure_chroot_dir={empty}\n")
    with running("ftp", place, {"/etc/vsftpd.conf": rules}) as netd:
        url = f"ftp://{HERE}:{netd.port('ftp')}/"
        assert run("curl", "-sSl", url) == "image\n"
        run("curl", "-sS", "-o", place / "copy", url + "image")
    assert (place / "copy").read_bytes() == (served / "image").read_bytes()


def test_identity_is_the_same_for_every_question(place: Path) -> None:
    need("nullidentd", "nc")
    with running("auth", place, {}) as netd, program("nc", HERE, netd.port("auth")) as client:
        for ports in ("6195, 23", "1, 2"):
            type_until(client, f"{ports}\r\n", rf"{ports} : USERID : UNIX : \S+\r?\n")


def test_agent_prints_all_and_ends(place: Path) -> None:
    need("nc")
    agent = script(
        place / "agent", "echo '<<<check_mk>>>'; echo \"OnlyFrom: $REMOTE_HOST\"; seq 100000; echo '<<<end>>>'"
    )
    with running("agent", place, {"/usr/bin/check_mk_agent": agent}) as netd:
        lines = run("nc", "-d", HERE, netd.port("agent")).splitlines()
        assert (lines[0], lines[1], lines[-1], len(lines)) == (
            "<<<check_mk>>>",
            f"OnlyFrom: {HERE}",
            "<<<end>>>",
            100003,
        )


def test_page_of_a_script_is_complete_also_where_it_reads_no_request(place: Path) -> None:
    need("curl")
    [text] = re.findall(r"(?m)^    #!/bin/sh\n((?:    .*\n)+)", PAGE)
    page, large = script(place / "page", text), place / "large"
    large.write_bytes(bytes(2**20))
    with running("page", place, {"/usr/local/bin/page": page}) as netd:
        url = f"http://{HERE}:{netd.port('page')}/"
        for words in ([], [], [], ["--data-binary", f"@{large}"]):
            assert re.search(r"\d\d:\d\d:\d\d", run("curl", "-sS", *words, url))


def test_uuidd_is_started_on_demand_again_and_again(place: Path) -> None:
    need("uuidd")
    path = place / "request"
    with running("uuidd", place, {"/run/uuidd/request": path, '"60"': '"1"'}) as netd:
        found = set()
        for _ in range(2):
            found.add(run("uuidd", "-s", path, "-r"))
            assert netd.event("program_ended")["code"] == 0
        assert len(found) == 2
    assert starts(netd) == 2


def test_telnetd_shows_the_prompt_of_login(place: Path) -> None:
    need("busybox", "telnet")
    if "telnetd" not in run("busybox", "--list").split():
        pytest.skip("this busybox has no telnetd")
    busybox = shutil.which("busybox")
    with (
        running("telnet", place, {"/bin/busybox": busybox}) as netd,
        program("telnet", HERE, netd.port("telnet")) as client,
    ):
        type_until(client, "", "(?s).*login: ")


# Gives sshd and sudo directories and accounts of their own; the host keeps its.
OWN_FILES = """
cd "$1"
mount -t tmpfs own /run
mkdir /run/sshd
mount --bind ssh /etc/ssh
mount --bind sudoers.d /etc/sudoers.d
for file in passwd group shadow; do mount --bind $file /etc/$file; done
shift
exec "$@"
"""
USER = "netd-login"


@pytest.fixture
def own_files(place: Path) -> Path:
    """A place with the files of sshd, of sudo, and of a user with a key."""
    need("ssh", "ssh-keygen", "sshd", "sudo", "unshare")
    need_root()
    for directory in ("ssh", "sudoers.d", f"{USER}/.ssh"):
        (place / directory).mkdir(parents=True)
    keygen = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f")
    run(*keygen, place / "ssh/ssh_host_ed25519_key")
    run(*keygen, place / "key")
    shutil.copy("/etc/ssh/sshd_config", place / "ssh")
    shutil.copy(place / "key.pub", place / USER / ".ssh/authorized_keys")
    lines = {
        "passwd": f"{USER}:x:61999:61999::{place}/{USER}:/bin/sh",
        "group": f"{USER}:x:61999:",
        "shadow": f"{USER}:*:19000:0:99999:7:::",
    }
    for file, line in lines.items():
        (place / file).write_text(Path("/etc", file).read_text() + line + "\n")
    for path in (place / USER, *(place / USER).rglob("*")):
        os.chown(path, 61999, 61999)
    (place / "sudoers.d/own").write_text(f"{USER} ALL=(ALL) NOPASSWD: ALL\n")
    return place


@contextlib.contextmanager
def running_sshd(place: Path) -> Iterator[tuple[Daemon, list[object]]]:
    """A daemon that starts sshd, which sees these files, and the command of a client."""
    with running("ssh", place, {}, ["unshare", "-m", "sh", "-ec", OWN_FILES, "sh", str(place)]) as netd:
        options = ("BatchMode=yes", "StrictHostKeyChecking=no", f"UserKnownHostsFile={place}/known")
        words = [word for option in options for word in ("-o", option)]
        yield netd, ["ssh", "-F", "none", "-i", place / "key", *words, "-p", netd.port("ssh"), f"{USER}@{HERE}"]


def test_sshd_logs_a_user_in_and_sudo_works(own_files: Path) -> None:
    with running_sshd(own_files) as (netd, client):
        shown = run(*client, "id -un; sudo -n id -un; cat /proc/self/oom_score_adj; echo $SSH_CLIENT")
        assert re.fullmatch(rf"{USER}\nroot\n0\n{HERE} \d+ \d+\n", shown)
        assert f"Accepted publickey for {USER} from {HERE} " in netd.event("program_error")["line"]


def test_session_of_sshd_goes_on_after_netd_has_stopped(own_files: Path) -> None:
    with running_sshd(own_files) as (netd, client), program(*client, "cat") as session:
        type_until(session, "one\n", "one\n")
        assert netd.stop() == 0
        type_until(session, "two\n", "two\n")
        assert session.stdin
        session.stdin.close()
        assert session.wait(20) == 0


@pytest.fixture
def checked(place: Path) -> Iterator[Daemon]:
    """A daemon with the health checks of the page."""
    words = {
        "/usr/local/bin/check-database": script(place / "check", "echo the database is fine"),
        "/usr/local/bin/weight": script(place / "weight", "echo 75%"),
    }
    with running("database", place, words) as netd:
        yield netd


def test_haproxy_asks_the_checks(checked: Daemon, place: Path) -> None:
    need("haproxy")
    [backend] = blocks("haproxy")
    database, weight = (checked.port(name) for name in ("database", "weight"))
    words = {
        "10.0.0.5:3306": f"{HERE}:{database}",
        "port 9200": f"port {database}",
        "agent-port 9201": f"agent-port {weight}",
    }
    text = f"global\n  stats socket {place}/stats mode 600\ndefaults\n  mode tcp\n"
    times = "".join(f"  timeout {name} 5s\n" for name in ("client", "connect", "server"))
    (place / "haproxy.cfg").write_text(text + times + replaced(backend, words))

    def seen() -> tuple[str, str, str]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{place}/stats")
            connection.sendall(b"show stat\n")
            lines = list(csv.DictReader(connection.makefile(encoding="ascii").read().removeprefix("# ").splitlines()))
        [server] = [line for line in lines if line["svname"] == "db1"]
        return server["check_status"], server["status"], server["weight"]

    with started(need("haproxy"), "-db", "-q", "-f", place / "haproxy.cfg", stderr=subprocess.DEVNULL):
        until((place / "stats").exists)
        until(lambda: seen() == ("L7OK", "UP", "75"))


def test_clients_of_the_page_ask_the_check(checked: Daemon) -> None:
    need("curl", "check_http")
    port = str(checked.port("database"))
    [shown] = re.findall(r"(?m)^    (curl .*9200.*)$", PAGE)
    words = {"10.0.0.5": HERE, "9200": port}
    assert run(*replaced(shown, words).split(), "-sS") == "the database is fine\n"
    [shown] = re.findall(r"(?m)^    check_http (.*)$", PAGE)
    assert "HTTP OK" in run(need("check_http"), *replaced(shown, words).split())


def test_genhash_of_keepalived_asks_the_check(checked: Daemon) -> None:
    shown = run(need("genhash"), "-v", "-s", HERE, "-p", checked.port("database"), "-u", "/")
    assert "200 OK" in shown
    assert "Read error" not in shown
