"""`make install`, as a packager and as root use it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import need

ROOT = Path(__file__).parents[1]


def install(**variables: object) -> str:
    need("make")
    settings = [f"{name}={value}" for name, value in variables.items()]
    # Not in the tree itself, where pip would leave its build directory.
    done = subprocess.run(
        ["make", "-C", str(ROOT), "install", *settings],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_install_under_a_prefix_and_again_over_a_config(tmp_path: Path) -> None:
    place = {"PREFIX": tmp_path / "usr", "SYSCONFDIR": tmp_path / "etc", "UNITDIR": tmp_path / "units"}
    install(**place)
    netd = tmp_path / "usr" / "bin" / "netd"
    config = tmp_path / "etc" / "netd" / "netd.yaml"
    done = subprocess.run([netd, "check", "-c", config], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert (config.parent / "netd.schema.json").exists()
    unit = (tmp_path / "units" / "netd.service").read_text()
    assert f"ExecStart={netd} run -c {config}" in unit
    assert "@" not in unit.replace("@system-service", "").replace("@privileged", "").replace("@resources", "")

    config.write_text("services: {}\n")
    assert "netd.yaml is there and stays" in install(**place)
    assert config.read_text() == "services: {}\n"
    assert (config.parent / "netd.yaml.new").read_text() == (ROOT / "config" / "netd.yaml").read_text()


@pytest.mark.timeout(300)
def test_a_staged_install_names_no_staging_directory(tmp_path: Path) -> None:
    install(DESTDIR=tmp_path / "stage", PREFIX="/opt/netd-test")
    stage = tmp_path / "stage"
    files = [file for file in stage.rglob("*") if file.is_file() and not file.is_symlink()]
    assert stage / "etc/systemd/system/netd.service" in files
    assert stage / "etc/netd/netd.yaml" in files
    guilty = [str(file.relative_to(stage)) for file in files if str(stage).encode() in file.read_bytes()]
    assert guilty == []
    assert os.readlink(stage / "opt/netd-test/bin/netd") == "/opt/netd-test/lib/netd/bin/netd"
    first = (stage / "opt/netd-test/lib/netd/bin/netd").read_text().splitlines()[0]
    assert first.startswith("#!/opt/netd-test/lib/netd/bin/python")
