"""The sdist and the wheel: what is in them, and netd installed from them without a checkout."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

import pytest

import netd
from netd.services import table
from tests.source_tree import ROOT
from tests.support.programs import need, started
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    place = tmp_path_factory.mktemp("dist")
    # The build writes to its source.
    source = tmp_path_factory.mktemp("source") / "netd"
    unwanted = shutil.ignore_patterns(".git", ".venv", ".*_cache", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, source, ignore=unwanted, symlinks=True)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "build", "--outdir", place, source], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(file.name for file in place.iterdir()) == [
        f"netd-{netd.__version__}-py3-none-any.whl",
        f"netd-{netd.__version__}.tar.gz",
    ]
    return place


def test_sdist_has_all_files_of_the_repository(dist: Path) -> None:
    need("git")
    if not (ROOT / ".git").exists():
        pytest.skip("this is no repository")
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True)
    with tarfile.open(next(dist.glob("*.tar.gz"))) as archive:
        have = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in tracked.stdout.splitlines() if (ROOT / name).exists()}
    assert wanted - have == set()


def test_wheel_has_what_netd_reads_and_its_metadata(dist: Path) -> None:
    with ZipFile(next(dist.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        metadata = message_from_string(wheel.read(f"netd-{netd.__version__}.dist-info/METADATA").decode())
        example = wheel.read("netd/config/netd.yaml").decode()
    assert example == (ROOT / "config" / "netd.yaml").read_text()
    wanted = {
        f"netd/{file.relative_to(ROOT / 'netd')}"
        for file in (ROOT / "netd").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted - names == set()
    assert not [name for name in names if not name.startswith(("netd/", f"netd-{netd.__version__}.dist-info/"))]
    assert (metadata["License"] or metadata["License-Expression"]) == "MIT"
    assert metadata["Requires-Python"] == ">=3.11"
    assert set(metadata.get_all("Provides-Extra", [])) >= {"plot", "dev"}
    assert "Operating System :: POSIX :: Linux" in metadata.get_all("Classifier", [])
    rfcs = {name: kind.rfc for name in table.BUILT_IN if (kind := table.find(name)) and kind.rfc}
    assert set(metadata.get_all("Project-URL", [])) == {
        f"RFC {rfc} ({name}), https://www.rfc-editor.org/rfc/rfc{rfc}" for name, rfc in rfcs.items()
    }
    assert metadata.get_payload().startswith("# netd\n")  # type: ignore[union-attr]


def test_netd_of_the_wheel_serves(dist: Path, wheels: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    [wheel] = dist.glob("*.whl")
    subprocess.run([environment / "bin" / "pip", "-q", "install", "--no-index", "-f", wheels, wheel], check=True)
    command, clean = environment / "bin" / "netd", {**os.environ, "PYTHONPATH": ""}
    config = tmp_path / "netd.yaml"
    config.write_text(f"services:\n  echo: {{listen: ['unix://{tmp_path}/echo.sock']}}\n")
    assert subprocess.run([command, "check", "-c", config], env=clean, check=False, cwd="/").returncode == 0
    with started(command, "run", "-c", config, env=clean, cwd="/") as process:
        until((tmp_path / "echo.sock").exists)
        answer = subprocess.run(
            [command, "talk", f"unix://{tmp_path}/echo.sock"],
            input="hello\n",
            capture_output=True,
            text=True,
            check=True,
            env=clean,
            cwd="/",
        )
        assert answer.stdout == "hello\n"
        status = subprocess.run([command, "status", "--json"], capture_output=True, check=True, env=clean, cwd="/")
        assert json.loads(status.stdout)["version"] == netd.__version__
        process.terminate()
        assert process.wait(20) == 0
    typed = subprocess.run(
        [environment / "bin" / "python", "-I", "-c", "import netd; print(netd.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
        env=clean,
        cwd="/",
    )
    place = Path(typed.stdout.strip())
    assert place.is_relative_to(environment)
    assert (place / "py.typed").exists()
