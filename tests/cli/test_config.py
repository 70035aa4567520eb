"""`netd config`: the commented config, also from an installed package."""

import configparser
from fnmatch import fnmatch
from pathlib import Path

import pytest

from netd.config.loader import EXAMPLE_FILE
from tests.cli.commands import netd_process

ROOT = Path(__file__).parents[2]


@pytest.mark.slow  # processes
def test_example_is_the_commented_config_and_can_be_used(tmp_path: Path) -> None:
    done = netd_process("config", "--example")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "config" / "netd.yaml").read_text()
    (tmp_path / "netd.yaml").write_text(done.stdout)
    assert netd_process("check", "-c", str(tmp_path / "netd.yaml")).returncode == 0


def test_example_is_in_the_package() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert EXAMPLE_FILE.parent == ROOT / "netd" / "config"
    assert fnmatch(EXAMPLE_FILE.name, setup["options.package_data"]["netd.config"])


@pytest.mark.slow  # processes
def test_config_without_an_option_is_a_usage_error() -> None:
    assert netd_process("config").returncode == 64
