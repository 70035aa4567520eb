"""`make install` and `make uninstall`, as a packager and as root use it."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.programs import faults_of_units, need

ROOT = Path(__file__).parents[1]


def make(target: str, **variables: object) -> str:
    need("make")
    settings = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), target, *settings],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_an_install_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    need("make")
    (tmp_path / "usr/lib/netd/bin").mkdir(parents=True)
    (tmp_path / "usr/lib/netd/bin/netd").write_text("old")
    done = subprocess.run(
        [
            "make",
            "-C",
            ROOT,
            "install",
            f"PREFIX={tmp_path}/usr",
            f"SYSCONFDIR={tmp_path}/etc",
            f"UNITDIR={tmp_path}/units",
        ],
        capture_output=True,
        check=False,
        env={**os.environ, "MAKEFLAGS": "", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""},
    )
    assert done.returncode != 0
    assert (tmp_path / "usr/lib/netd/bin/netd").read_text() == "old"


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_install_under_a_prefix(tmp_path: Path) -> None:
    place = {"PREFIX": tmp_path / "usr", "SYSCONFDIR": tmp_path / "etc", "UNITDIR": tmp_path / "units"}
    text = make("install", **place)
    for part in ("usr/bin/netd", "usr/lib/netd", "etc/netd/netd.yaml", "units/netd.service", "usr/share/doc/netd"):
        assert f"{tmp_path}/{part}" in text
    assert text.splitlines()[-1].endswith(" enable --now netd")
    for page in ("README.md", "docs/operating.md", "docs/alerts.yaml"):
        assert (tmp_path / "usr" / "share" / "doc" / "netd" / page).is_file()
    netd = tmp_path / "usr" / "bin" / "netd"
    config = tmp_path / "etc" / "netd" / "netd.yaml"
    done = subprocess.run([netd, "check", "-c", config], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    assert (config.parent / "netd.schema.json").exists()
    assert {file.name for file in (tmp_path / "units").iterdir()} == {"netd.service", "netd@.service", "netd.socket"}
    assert faults_of_units(tmp_path / "units" / "netd.service") == ""
    examples = tmp_path / "usr" / "share" / "doc" / "netd" / "examples"
    assert {str(file.relative_to(examples)) for file in examples.rglob("*.*") if file.is_file()} == {
        "fail2ban/filter.d/netd.conf",
        "fail2ban/jail.d/netd.conf",
        "lnav/netd.json",
        "netd.service.d/control-group.conf",
        "netd.service.d/log-file.conf",
        "netd.service.d/notify-reload.conf",
        "netd.service.d/programs-leave.conf",
        "netd.service.d/programs.conf",
        "sysusers.d/netd.conf",
        "tmpfiles.d/netd.conf",
    }
    assert (tmp_path / "etc" / "logrotate.d" / "netd").exists()
    unit = (tmp_path / "units" / "netd.service").read_text()
    assert f"ExecStart={netd} run -c {config}" in unit
    assert "@" not in unit.replace("@system-service", "").replace("@privileged", "").replace("@resources", "")
    done = subprocess.run([netd, "config", "--example"], capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout) == (0, config.read_text()), "the example is in the package"
    text = make("uninstall", **place)
    # systemd-analyze has needed units of its own above.
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert [name for name in left if not name.endswith(".target")] == ["etc/netd/netd.yaml"]
    assert f"The configs in {tmp_path}/etc/netd are left." in text


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_an_upgrade_leaves_no_second_config_that_is_equal_and_says_to_restart(tmp_path: Path) -> None:
    etc = tmp_path / "etc" / "netd"
    etc.mkdir(parents=True)
    (etc / "netd.yaml").write_text((ROOT / "config" / "netd.yaml").read_text())
    (etc / "netd.yaml.new").write_text("of an earlier upgrade\n")
    (tmp_path / "usr" / "lib" / "netd").mkdir(parents=True)
    text = make("install", PREFIX=tmp_path / "usr", SYSCONFDIR=tmp_path / "etc", UNITDIR=tmp_path / "units")
    assert "stays" not in text
    assert text.splitlines()[-1].endswith(" restart netd")
    assert not (etc / "netd.yaml.new").exists()


@pytest.mark.timeout(300)
@pytest.mark.slow
def test_a_staged_install_names_no_staging_directory_and_keeps_a_config(tmp_path: Path) -> None:
    stage = tmp_path / "a stage"
    # Relative, with a space in it and a slash behind it: any of these breaks a careless recipe.
    name = os.path.relpath(stage, ROOT) + "/"
    config = stage / "etc/netd/netd.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("services: {}\n")
    before = {file.name for file in ROOT.iterdir()}
    assert "netd.yaml (it is there and stays; the new one is netd.yaml.new)" in make(
        "install", DESTDIR=name, PREFIX="/opt/netd-test"
    )
    assert config.read_text() == "services: {}\n"
    assert (config.parent / "netd.yaml.new").read_text() == (ROOT / "config" / "netd.yaml").read_text()
    assert {file.name for file in ROOT.iterdir()} == before, "something is left in the checkout"
    files = [file for file in stage.rglob("*") if file.is_file() and not file.is_symlink()]
    assert stage / "etc/systemd/system/netd.service" in files
    guilty = [str(file.relative_to(stage)) for file in files if str(stage).encode() in file.read_bytes()]
    assert guilty == []
    assert os.readlink(stage / "opt/netd-test/bin/netd") == "/opt/netd-test/lib/netd/bin/netd"
    assert "/opt/netd-test/lib/netd/bin/python" in (stage / "opt/netd-test/lib/netd/bin/netd").read_text()
    make("uninstall", DESTDIR=name, PREFIX="/opt/netd-test")
    left = {str(path.relative_to(stage)) for path in stage.rglob("*") if not path.is_dir()}
    assert left == {"etc/netd/netd.yaml"}
