"""``bench.turn`` and ``bench/ping.py`` run, and print what they measured."""

import re
import shutil
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not shutil.which("cc"), reason="not installed: cc")]


def output_of(*command: str) -> str:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("service", ["echo", "pingpong"])
def test_turns_of_netd_and_of_the_limit_are_timed(service: str) -> None:
    text = output_of("-m", "bench.turn", "--service", service, "--connections", "40", "--rounds", "3")
    found = re.findall(r"^(C|netd) +([\d.]+) us a request, at least ([\d.]+)$", text, re.MULTILINE)
    assert [name for name, _, _ in found] == ["C", "netd"]
    assert all(0 < float(least) <= float(median) for _, median, least in found)


def test_probe_is_compared_with_a_c_client() -> None:
    text = output_of("bench/ping.py", "--rounds", "1", "--count", "20")
    for scheme in ("tcp", "udp", "unix"):
        assert scheme in text
