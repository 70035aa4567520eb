"""The Containerfile, built and run by podman as docs/operating.md says: in `make hosts`, since a build takes minutes.

No registry is asked: the image that it is FROM is made by mmdebstrap, under the name that the Containerfile has.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.conftest import IMAGE_CONFIG, pip, wheels_for
from tests.source_tree import ROOT
from tests.support.pages import all_commands
from tests.support.programs import need, need_root, started
from tests.support.waiting import until

pytestmark = [pytest.mark.release, pytest.mark.timeout(3600)]

SUITE, BASE, VERSION = "trixie", "docker.io/library/debian:13-slim", "3.13"
"""The Debian of the image, and the version of its Python."""
# crun takes a host for one with cgroup v1 that has only some of it.
MOUNTS = "umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup && echo ready && exec sleep infinity"
# What a host without systemd as process 1, and without the right to raise limits, has no timers and networks for.
HERE = ["--network=none", "--cgroups=disabled", "--health-interval=disable", "--ulimit=nofile=1024:1024"]
HERE += ["--ulimit=nproc=1000:1000"]


def page(words: str) -> list[str]:
    """What follows these words in a command of the page, which docker and podman take alike."""
    [command] = [one for one in all_commands("docs/operating.md") if one.text.startswith(f"{words} ")]
    return command.text.removeprefix(f"{words} ").split()


class Engine:
    """podman, with images and containers of its own."""

    def __init__(self, place: Path, mounts: int) -> None:
        self._podman = ["nsenter", "-t", str(mounts), "-m", "-w", "podman", "--root", f"{place}/images"]
        self._podman += ["--runroot", f"{place}/run", "--cgroup-manager=cgroupfs", "--events-backend=none"]
        self._podman += ["--runtime", need("crun")]

    def command(self, *words: object) -> list[str]:
        return [*self._podman, *(str(word) for word in words)]

    def run(self, *words: object, code: int = 0) -> str:
        """Run a command of podman. Returns what it prints."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr if code else done.stdout

    def is_healthy(self, name: str) -> bool:
        """What the health check of a container says."""
        done = subprocess.run(self.command("healthcheck", "run", name), capture_output=True, check=False)
        return done.returncode == 0


def sources_of_debian(place: Path) -> list[Path]:
    """The sources of packages of this host, for the Debian of the image."""
    release = Path("/etc/os-release").read_text()
    [codename] = re.findall(r"^VERSION_CODENAME=(\w+)$", release, re.MULTILINE)
    made = []
    for source in (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d/debian.sources")):
        if source.exists() and codename in (text := source.read_text()):
            made.append(place / f"s{source.suffix}")
            made[-1].write_text(re.sub(rf"\b{codename}\b", SUITE, text))
    return made


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman with an image `netd`."""
    need_root()
    need("podman", "crun", "mmdebstrap", "nsenter", "unshare")

    wheels = wheels_for(tmp_path_factory, VERSION)
    place = tmp_path_factory.mktemp("podman")
    subprocess.run([pip(place), "download", "--quiet", "--no-deps", "-d", place / "builder", "setuptools"], check=True)
    (place / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels /builder\n")
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "locale", "man")]  # as -slim does
    options = ["--mode=root", "--variant=minbase", "--skip=check/qemu", "--quiet", *left_out]
    subprocess.run(["mmdebstrap", *options, SUITE, place / "base.tar", *sources_of_debian(place)], check=True)
    with started("unshare", "--mount", "sh", "-c", MOUNTS, stdout=subprocess.PIPE, cwd=ROOT) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"ready\n"
        podman = Engine(place, holder.pid)
        podman.run("import", "--quiet", place / "base.tar", BASE)
        # Python packages come from directories here, and from an index elsewhere.
        directories = [
            f"-v={wheels}:/wheels:ro",
            f"-v={place}/builder:/builder:ro",
            f"-v={place}/pip.conf:/etc/pip.conf:ro",
        ]
        options = ["--isolation=chroot", "--pull=never", "--layers=false", *directories]
        for typed in ("docker build", "podman build"):  # the second names what docker does by itself
            podman.run("build", *options, *page(typed))
        yield podman
        podman.run("rm", "--all", "--force")


@pytest.fixture
def container(engine: Engine, tmp_path: Path) -> Iterator[str]:
    """A container that is healthy, started as on the page."""
    (tmp_path / "netd.yaml").write_text(IMAGE_CONFIG)
    words = [word.replace("./netd.yaml", f"{tmp_path}/netd.yaml") for word in page("docker run")]
    number = words.index("-p")
    del words[number : number + 2]
    name = engine.run("run", "--detach", *HERE, *words).strip()
    until(lambda: engine.is_healthy(name), 60)
    yield name
    engine.run("rm", "--force", name)


def ask(engine: Engine, name: str, port: int, text: str) -> str:
    """What a client in the network of a container gets."""
    pid = engine.run("inspect", "--format", "{{.State.Pid}}", name).strip()
    client = ["nsenter", "-t", pid, "-n", need("nc"), "-N", "127.0.0.1", str(port)]
    return subprocess.run(client, input=text, capture_output=True, text=True, check=True).stdout


def test_image_is_small(engine: Engine) -> None:
    archive = subprocess.Popen(engine.command("save", "--quiet", "netd"), stdout=subprocess.PIPE)
    with archive:
        packed = subprocess.run(["gzip", "-1"], stdin=archive.stdout, capture_output=True, check=True).stdout
    assert 40_000_000 < len(packed) < 90_000_000, "gzip -1 makes it larger than engines do"


def test_image_says_how_it_is_run(engine: Engine) -> None:
    [image] = json.loads(engine.run("inspect", "netd"))
    assert image["Config"]["User"] == "65532:65532"
    assert image["Config"]["StopSignal"] == "SIGTERM"
    assert image["Healthcheck"]["Test"] == ["CMD", "/usr/bin/netd", "status", "-c", "/etc/netd/netd.yaml"]


def test_image_serves_its_own_config(engine: Engine) -> None:
    shown = engine.run("run", "--rm", *HERE, "netd", "check", "-c", "/etc/netd/netd.yaml")
    assert shown == "/etc/netd/netd.yaml: valid; on: echo, pingpong\n"


def test_netd_is_process_1_without_rights_and_with_a_root_that_is_read_only(engine: Engine, container: str) -> None:
    assert ask(engine, container, 7007, "hello\n") == "hello\n"
    status = engine.run("exec", container, "cat", "/proc/1/status")
    assert re.search(r"^Name:\tnetd$", status, re.MULTILINE)
    assert re.search(r"^Uid:\t65532\t65532\t", status, re.MULTILINE)
    assert re.search(r"^CapBnd:\t0+$", status, re.MULTILINE)
    assert "Read-only file system" in engine.run("exec", container, "touch", "/etc/netd/file", code=1)
    assert "pid 1," in engine.run("exec", container, "netd", "status")


def test_process_1_reaps_what_programs_leave_behind(engine: Engine, container: str) -> None:
    def names() -> str:
        return engine.run("exec", container, "sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null; :")

    assert ask(engine, container, 7008, "") == "started\n"
    until(lambda: "sleep\n" in names())
    engine.run(
        "exec", container, "sh", "-c", "for p in /proc/[0-9]*; do grep -q sleep $p/comm && kill ${p#/proc/}; done; :"
    )
    until(lambda: "sleep\n" not in names())


def test_signals_reload_and_stop_the_container(engine: Engine, container: str) -> None:
    engine.run("kill", "--signal=HUP", container)
    until(lambda: '"generation": 2' in engine.run("exec", container, "netd", "status", "--json"))
    with started(*engine.command("wait", container), stdout=subprocess.PIPE) as waiting:
        engine.run("stop", "--time=60", container)
        assert waiting.communicate(timeout=60)[0] == b"0\n"
