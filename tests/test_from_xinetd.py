"""docs/from-xinetd.md: the commands of the page, run on its file, print what the page shows."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from netd.importers.xinetd.attributes import KINDS, OTHER_NAMES
from tests.source_tree import ROOT

PAGE = (ROOT / "docs" / "from-xinetd.md").read_text()
[SOURCE] = re.findall(r"(?ms)^```xinetd\n(.*?)^```$", PAGE)
CONSOLES = re.findall(r"(?ms)^```console\n(.*?)^```$", PAGE)


@pytest.mark.slow  # processes
def test_commands_of_the_page_print_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "xinetd.conf").write_text(SOURCE)
    for console in CONSOLES:
        for typed, shown in re.findall(r"(?ms)^\$ (.*?)\n(.*?)(?=^\$ |\Z)", console):
            named = typed.replace("netd import xinetd", f"netd import xinetd {tmp_path}/xinetd.conf --from debian")
            command = re.sub(r"^netd ", f"{sys.executable} -m netd ", named.replace("/etc/netd/", f"{tmp_path}/"))
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
            text = done.stdout.replace(f"{tmp_path}/xinetd.conf", "/etc/xinetd.conf")
            expected = shown
            if "netd check " in typed:  # which user the workers have, the host decides
                text, expected = (re.sub(r"valid(, \d notices?)?", "valid", one) for one in (text, expected))
            assert text.replace(f"{tmp_path}/", "/etc/netd/") == expected


def test_the_page_has_every_attribute() -> None:
    table = PAGE.partition("### Key by key")[2].partition("\n## ")[0]
    names = {*KINDS, *OTHER_NAMES} - {"rpc_version", "rpc_number"}
    assert [name for name in sorted(names) if not re.search(rf"`{name}\b", table)] == []
