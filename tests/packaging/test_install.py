"""`make install` and `make uninstall`, as a packager and as root use them."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.source_tree import ROOT
from tests.support.programs import faults_of_units, need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SHIPPED = ROOT / "config" / "netd.yaml"
EXAMPLES = {
    "fail2ban/filter.d/netd.conf",
    "fail2ban/jail.d/netd.conf",
    "lnav/netd.json",
    *(file.name for file in (ROOT / "examples").glob("*.py")),
    *(str(file.relative_to(ROOT / "systemd")) for file in (ROOT / "systemd").glob("*.d/*.conf")),
}


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


def below(place: Path) -> dict[str, Path]:
    return {"PREFIX": place / "usr", "SYSCONFDIR": place / "etc", "UNITDIR": place / "units"}


def answer(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (0, ""), command
    return done.stdout


def test_an_install_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    need("make")
    (tmp_path / "usr/lib/netd/bin").mkdir(parents=True)
    (tmp_path / "usr/lib/netd/bin/netd").write_text("old")
    done = subprocess.run(
        ["make", "-C", ROOT, "install", *(f"{name}={value}" for name, value in below(tmp_path).items())],
        capture_output=True,
        check=False,
        env={**os.environ, "MAKEFLAGS": "", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": ""},
    )
    assert done.returncode != 0
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "usr/lib/netd/bin/netd"
    ]
    assert (tmp_path / "usr/lib/netd/bin/netd").read_text() == "old"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> tuple[Path, str]:
    """Where netd is installed, and what `make install` said."""
    place = tmp_path_factory.mktemp("installed")
    return place, make("install", **below(place), WHEELS=wheels)


def test_install_under_a_prefix(installed: tuple[Path, str]) -> None:
    place, text = installed
    for part in ("usr/bin/netd", "usr/lib/netd", "etc/netd/netd.yaml", "units/netd.service", "usr/share/doc/netd"):
        assert f"{place}/{part}" in text
    assert text.splitlines()[-1].endswith(" enable --now netd")
    doc = place / "usr" / "share" / "doc" / "netd"
    for page in ("README.md", "docs/operating.md", "docs/alerts.yaml", "deploy/haproxy/haproxy.cfg"):
        assert (doc / page).is_file()
    manual = place / "usr" / "share" / "man"
    pages = {str(page.relative_to(manual)) for page in manual.rglob("*") if page.is_file()}
    assert pages == {f"man{page.suffix[1:]}/{page.name}" for page in (ROOT / "man").iterdir()}
    netd = place / "usr" / "bin" / "netd"
    config = place / "etc" / "netd" / "netd.yaml"
    assert "valid" in answer(netd, "check", "-c", config)
    assert (config.parent / "netd.schema.json").exists()
    assert (place / "etc" / "logrotate.d" / "netd").exists()
    assert answer(netd, "config", "--example") == SHIPPED.read_text(), "the example is in the package"
    compiled = place.glob("usr/lib/netd/lib/python*/site-packages/netd/__pycache__/__init__.*.pyc")
    assert len(list(compiled)) == 1, "a user that may not write there would compile netd at each start"
    found = (doc / "examples").rglob("*.*")
    assert {str(file.relative_to(doc / "examples")) for file in found if file.is_file()} == EXAMPLES


def test_units_of_an_install(installed: tuple[Path, str]) -> None:
    units = installed[0] / "units"
    assert {file.name for file in units.iterdir()} >= {"netd.service", "netd@.service", "netd.socket"}
    assert faults_of_units(units / "netd.service") == ""
    unit = (units / "netd.service").read_text()
    assert f"ExecStart={installed[0]}/usr/bin/netd run -c {installed[0]}/etc/netd/netd.yaml" in unit
    assert "@" not in unit.replace("@system-service", "").replace("@privileged", "").replace("@resources", "")


def plug_in(place: Path) -> Path:
    """The source of a package with a service."""
    (place / "netd_greet.py").write_text(
        "class Greet:\n    'Says hello.'\n    def stream(self, peer):\n        yield b'hello'\n"
    )
    (place / "pyproject.toml").write_text(
        '[project]\nname = "netd-greet"\nversion = "1"\n[project.entry-points."netd.services"]\n'
        'greet = "netd_greet:Greet"\n[tool.setuptools]\npy-modules = ["netd_greet"]\n'
    )
    return place


def test_an_upgrade_keeps_an_edited_config_and_what_was_installed_beside_netd(
    installed: tuple[Path, str], wheels: Path, tmp_path: Path
) -> None:
    place = installed[0]
    config = place / "etc" / "netd" / "netd.yaml"
    answer(place / "usr/lib/netd/bin/pip", "-qq", "--disable-pip-version-check", "install", plug_in(tmp_path))
    mine = "services:\n  greet: {listen: [tcp://127.0.0.1:0]}\n"
    config.write_text(mine)
    text = make("install", **below(place), WHEELS=wheels)
    assert f"what was installed beside it in {place}/usr/lib/netd: netd_greet\n" in text
    assert text.splitlines()[-1].endswith(" restart netd")
    assert "netd.yaml (it is there and stays)\n" in text
    assert config.read_text() == mine
    assert not Path(f"{config}.new").exists(), "there is nothing new in it"
    assert "on: greet" in answer(place / "usr/bin/netd", "check", "-c", config)

    # The config of an earlier version, which was not edited.
    [shipped] = place.glob("usr/lib/netd/lib/python*/site-packages/netd/config/netd.yaml")
    shipped.write_text("services: {}\n")
    config.write_text("services: {}\n")
    Path(f"{config}.new").write_text("of an upgrade between\n")
    assert "netd.yaml (it was not edited, and is the new one now)\n" in make("install", **below(place), WHEELS=wheels)
    assert config.read_text() == SHIPPED.read_text()
    assert not Path(f"{config}.new").exists()


def test_a_staged_install_names_no_staging_directory_and_says_what_it_leaves_out(tmp_path: Path, wheels: Path) -> None:
    stage = tmp_path / "a stage"
    # Relative, with a space in it and a slash behind it: any of these breaks a careless recipe.
    name = os.path.relpath(stage, ROOT) + "/"
    config = stage / "etc/netd/netd.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("services: {}\n")
    of_another_python = stage / "opt/netd-test/lib/netd/lib/python3.1/site-packages/netd_greet-1.dist-info"
    of_another_python.mkdir(parents=True)
    before = {file.name for file in ROOT.iterdir()}
    text = make("install", DESTDIR=name, PREFIX="/opt/netd-test", WHEELS=wheels)
    assert "netd.yaml (it is there and stays; the new one is netd.yaml.new)" in text
    assert "left out what was installed beside it for another Python: netd_greet\n" in text
    assert "Next: /opt/netd-test/lib/netd/bin/pip install netd_greet\n" in text
    assert not of_another_python.exists()
    assert config.read_text() == "services: {}\n"
    assert (config.parent / "netd.yaml.new").read_text() == SHIPPED.read_text()
    assert {file.name for file in ROOT.iterdir()} == before, "something is left in the checkout"
    files = [file for file in stage.rglob("*") if file.is_file() and not file.is_symlink()]
    assert stage / "etc/systemd/system/netd.service" in files
    guilty = [str(file.relative_to(stage)) for file in files if str(stage).encode() in file.read_bytes()]
    assert guilty == []
    assert os.readlink(stage / "opt/netd-test/bin/netd") == "/opt/netd-test/lib/netd/bin/netd"
    assert "/opt/netd-test/lib/netd/bin/python" in (stage / "opt/netd-test/lib/netd/bin/netd").read_text()
    text = make("uninstall", DESTDIR=name, PREFIX="/opt/netd-test")
    left = {str(path.relative_to(stage)) for path in stage.rglob("*") if not path.is_dir()}
    assert left == {"etc/netd/netd.yaml"}
    assert "The configs in /etc/netd are left." in text
