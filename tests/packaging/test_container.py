"""The image: its root file system, run as a container engine does: read-only, without root, netd as process 1."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import IMAGE_CONFIG
from tests.source_tree import ROOT
from tests.support.programs import need, need_root, started
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

IMAGE = (ROOT / "Containerfile").read_text()
[USER] = re.findall(r"^USER (\d+):\1$", IMAGE, re.MULTILINE)
ENVIRONMENT = re.findall(r"^ENV (\S+)$", IMAGE, re.MULTILINE)
# The mounts of an engine with --read-only.
RUN = """
set -e
mount --bind "$1" "$1"
mount --bind "$2" "$1/etc/netd/netd.yaml"
mount -o remount,bind,ro "$1"
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=1777,nosuid,nodev shm "$1/dev/shm"
ip link set lo up
root=$1 user=$3
shift 3
exec chroot "$root" setpriv --reuid="$user" --regid="$user" --clear-groups --bounding-set=-all --inh-caps=-all \
    --no-new-privs env -i PATH=/usr/local/bin:/usr/bin:/bin "$@"
"""


def command(instruction: str) -> list[str]:
    """The command of an instruction of the Containerfile."""
    [found] = re.findall(rf"^{instruction}[^\[\n]* ?(\[.*\])$", IMAGE, re.MULTILINE)
    return [str(word) for word in json.loads(found)]


class Container:
    """netd as process 1 of a container."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: children.read_text().split(), 30)
        self.pid = int(children.read_text())
        # Until then it is the shell, which ignores SIGTERM as process 1.
        until(lambda: "netd" in Path(f"/proc/{self.pid}/comm").read_text(), 30)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as `docker exec` does."""
        enter = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-r", "-S", USER, "-G", USER]
        return subprocess.run(
            [*enter, "env", "-i", *ENVIRONMENT, *words], capture_output=True, text=True, check=False, cwd="/"
        )

    def states(self) -> dict[str, str]:
        """The state of each process in it, by name and id."""
        found = {}
        for stat in Path(f"/proc/{self.pid}/root/proc").glob("[0-9]*/stat"):
            try:
                name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[f"{name} {stat.parent.name}"] = rest.split()[0]
        return found

    def ask(self, port: int, text: str) -> str:
        """What a client gets that connects from within the network of the container."""
        client = ["nsenter", "-t", str(self.pid), "-n", need("nc"), "-N", "127.0.0.1", str(port)]
        return subprocess.run(client, input=text, capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, deb: Path) -> Path:
    """The root file system of the image."""
    need_root()
    need("mmdebstrap", "unshare", "setpriv")
    place = tmp_path_factory.mktemp("image") / "root"
    subprocess.run([ROOT / "packaging" / "rootfs", deb, place], check=True)
    return place


@pytest.fixture
def container(root: Path, tmp_path: Path) -> Iterator[Container]:
    config = tmp_path / "netd.yaml"
    config.write_text(IMAGE_CONFIG)
    engine = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--net", "--fork", "--kill-child"]
    whole = [*engine, "sh", "-c", RUN, "sh", root, config, USER, *ENVIRONMENT, *command("ENTRYPOINT"), *command("CMD")]
    with started(*whole) as process:
        found = Container(process)
        until(lambda: found.run(*command("HEALTHCHECK")).returncode == 0, 60)
        try:
            yield found
        finally:
            # It does not end with unshare(1), since it has changed its user (PR_SET_PDEATHSIG).
            subprocess.run(["kill", "-KILL", str(found.pid)], check=False)


def test_image_is_small(root: Path) -> None:
    archive = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
    with archive:
        packed = subprocess.run(["gzip", "-1"], stdin=archive.stdout, capture_output=True, check=True).stdout
    assert len(packed) < 90_000_000, "gzip -1 makes it larger than engines do"


def test_image_serves_its_own_config(root: Path) -> None:
    """What `docker run netd` does."""
    done = subprocess.run(
        ["chroot", root, *command("ENTRYPOINT"), "check", "-c", command("CMD")[-1]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "/etc/netd/netd.yaml: valid; on: echo, pingpong\n")


def test_netd_is_process_1_without_rights_and_with_a_root_that_is_read_only(container: Container) -> None:
    assert container.ask(7007, "hello\n") == "hello\n"
    status = Path(f"/proc/{container.pid}/status").read_text()
    assert re.search(rf"^Uid:\t{USER}\t{USER}\t", status, re.MULTILINE)
    assert re.search(r"^NSpid:\t\d+\t1$", status, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert "Read-only file system" in container.run("touch", "/tmp/file").stderr


def test_process_1_reaps_what_programs_leave_behind(container: Container) -> None:
    def sleeping() -> list[str]:
        return [name for name in container.states() if name.startswith("sleep ")]

    assert container.ask(7008, "") == "started\n"
    until(sleeping)
    # The shell that started it has ended, so it is a child of process 1.
    [name] = sleeping()
    assert container.run("/bin/sh", "-c", f"kill -KILL {name.split()[1]}").returncode == 0
    until(lambda: not sleeping())
    assert "Z" not in container.states().values()


def test_signals_reload_and_stop_process_1(container: Container) -> None:
    subprocess.run(["kill", "-HUP", str(container.pid)], check=True)
    until(lambda: '"generation": 2' in container.run("/usr/bin/netd", "status", "--json").stdout)
    subprocess.run(["kill", "-TERM", str(container.pid)], check=True)
    assert container.process.wait(30) == 0


def test_health_check_fails_where_netd_does_not_run(root: Path) -> None:
    done = subprocess.run(["chroot", root, *command("HEALTHCHECK")], capture_output=True, check=False)
    assert done.returncode == 69
