"""`netd help`."""

import pytest

from tests.cli.commands import netd_process


@pytest.mark.slow  # processes
def test_help_of_a_command_is_that_of_its_option() -> None:
    for words in (["kick"], ["ban", "add"], []):
        done = netd_process("help", *words)
        assert (done.returncode, done.stdout) == (0, netd_process(*words, "--help").stdout)


@pytest.mark.slow  # processes
def test_help_of_an_unknown_command_is_a_usage_error() -> None:
    assert netd_process("help", "kcik").returncode == 64
