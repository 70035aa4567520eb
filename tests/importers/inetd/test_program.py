"""The program of a line of inetd.conf."""

from pathlib import Path

import pytest

from tests.importers.inetd.files import imported
from tests.importers.made_up_host import MadeUpHost


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("23 stream tcp nowait root /bin/sh -sh", {"command": ["/bin/sh"], "argv0": "-sh"}),
        ("23 stream tcp nowait root /bin/sh name -c date", {"command": ["/bin/sh", "-c", "date"], "argv0": "name"}),
        (
            "23 stream tcp nowait root /usr/bin/python3 python /x.py",
            {"command": ["/usr/bin/python3", "/x.py"], "argv0": "python"},
        ),
        ("23 stream tcp nowait root /b/c /b/c -d", {"command": ["/b/c", "-d"]}),
        ("23 stream tcp nowait root /bin/tcpd in.b -d", {"command": ["/usr/sbin/in.b", "-d"]}),
    ],
)
def test_the_name_of_a_program_is_kept_where_it_is_another_than_that_of_its_file(
    line: str, options: dict[str, object], tmp_path: Path
) -> None:
    document, _ = imported(line, tmp_path)
    (service,) = document.services.values()
    assert service.get("options") == {**options, "user": "root", "stderr": "peer"}
    assert service.enabled


def test_a_program_without_a_slash_is_in_path_for_busybox(tmp_path: Path) -> None:
    document, _ = imported("23 stream tcp nowait root b", tmp_path, "busybox")
    assert document.services["b"].get("options", "command") == ["/usr/bin/b"]


def test_rules_of_tcp_wrappers_that_name_no_addresses_have_the_service_off(tmp_path: Path) -> None:
    host = MadeUpHost({"/etc/hosts.deny": "b: .example.net\n"})
    document, account = imported("23 stream tcp nowait root /usr/sbin/tcpd /usr/sbin/b", tmp_path, host=host)
    assert "by more than addresses: 'b: .example.net'" in account
    assert not document.services["b"].enabled


def test_rules_of_tcp_wrappers_have_no_meaning_for_unix_sockets(tmp_path: Path) -> None:
    host = MadeUpHost({"/etc/hosts.deny": "b: 192.0.2.0/24\n"})
    document, account = imported("/a stream unix nowait root /usr/sbin/tcpd /usr/sbin/b", tmp_path, host=host)
    assert "those of UNIX sockets have no addresses" in account
    assert not document.services["a"].enabled
