"""From files of inetd to services of netd: samples, each with the config and the account that are expected."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.errors import ConfigError
from netd.importers.account import Account
from netd.importers.inetd.convert import convert, guessed
from netd.importers.inetd.dialects import DIALECTS
from netd.importers.yaml_text import render
from tests.importers.inetd.files import assert_config_is_valid, imported
from tests.importers.made_up_host import MadeUpHost

WORDS = (
    "echo|127.0.0.1:|23|[::1]:7|stream|dgram|tcp|udp6|unix|wait|nowait.5|root|a.b|internal|/bin/cat|cat|-x|é|\udc80"
    "|#<off>#|#@|'|a\0|on|/usr/sbin/tcpd|tcp,rcvbuf=1k|\x1b[2J|{a: b}|/bin/sh"
)
SAMPLES = Path(__file__).parent.parent / "samples"
DIALECT = {"35": "busybox", "37": "freebsd", "38": "netbsd"}
WRAPPERS = {"/etc/hosts.allow": "in.telnetd: 192.0.2.0/24\ncopyd: ALL\n", "/etc/hosts.deny": "ALL: ALL\n"}


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.inetd")), ids=lambda file: file.stem)
def test_a_sample_has_the_expected_config_and_account(
    sample: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(SAMPLES)
    account = Account()
    document = convert([sample.name], account, MadeUpHost(WRAPPERS), DIALECT.get(sample.stem, "debian"))
    assert render(document) == sample.with_suffix(".yaml").read_text()
    assert "".join(f"{one}\n" for one in account.findings) == sample.with_suffix(".account").read_text()
    assert_config_is_valid(document, tmp_path)


@pytest.mark.parametrize(
    ("dialect", "line", "expected"),
    [
        ("debian", "a.stranger stream tcp nowait root /b b", "has no 'a.stranger'"),
        ("debian", "23 stream tcp nowait stranger /b b", "has no user 'stranger'"),
        ("debian", "23 stream tcp nowait root:stranger /b b", "has no group 'stranger'"),
        ("debian", "23 stream tcp nowait root b b", "by absolute paths, and 'b' is none"),
        ("debian", "70000 stream tcp nowait root /b b", "is no port"),
        ("debian", "192.0.2.1:23 stream tcp6 nowait root /b b", "no address of IPv6"),
        ("debian", "a/b:23 stream tcp nowait root /b b", "netd cannot listen there"),
        ("debian", "a stream unix nowait root /b b", "netd cannot listen there"),
        ("debian", "/a?b stream unix nowait root /b b", "cannot listen"),
        ("debian", f"23 stream tcp nowait root /b b {'x ' * 20}", "passes 20 words on"),
        ("debian", f"23 stream tcp nowait root /b b {'x' * 1024}", "cuts it after 1024 octets"),
        ("debian", "23 stream tcp nowait root /usr/bin/env /usr/bin/b", "stands where the name of the program does"),
        ("debian", "23 stream tcp nowait root /bin/sh x.sh", "stands where the name of the program does"),
        ("debian", "23 stream tcp nowait root /bin/b -l", "stands where the name of the program does"),
        ("busybox", "23 dgram udp nowait root /b b", "connected to the peer"),
        ("netbsd", ".include", "it names no file"),
        ("netbsd", "echo on user = root;", "inetd skips it: it has no protocol"),
        ("freebsd", "#@ ipsec x\n23 stream tcp nowait root /b b", "it has a policy of IPsec"),
    ],
)
def test_a_line_that_is_not_imported_or_off_has_its_reason(
    dialect: str, line: str, expected: str, tmp_path: Path
) -> None:
    document, account = imported(line, tmp_path, dialect)
    assert expected in account
    assert "not imported" in account
    assert not any(service.enabled for service in document.services.values())


@pytest.mark.parametrize(
    ("words", "release", "dialect"),
    [
        ({"debian"}, 'VERSION_ID="12"', "debian"),
        ({"debian"}, 'VERSION_ID="11"', "openbsd"),
        ({"debian"}, "", "debian"),
        ({"ubuntu", "debian"}, 'VERSION_ID="22.04"', "openbsd"),
        ({"alpine"}, "", "busybox"),
        ({"rhel", "fedora"}, "", "rhel"),
        ({"opensuse"}, "", "suse"),
    ],
)
def test_the_host_says_which_inetd_it_has(
    words: set[str], release: str, dialect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = MadeUpHost({"/etc/os-release": release})
    monkeypatch.setattr(host, "distribution", lambda: words)
    assert guessed(host) == dialect


def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nosuch: No such file"):
        convert([str(tmp_path / "nosuch")], Account(), MadeUpHost())


@given(
    st.lists(
        st.lists(
            st.sampled_from(WORDS.split("|")),
            max_size=9,
        ),
        max_size=4,
    ),
    st.sampled_from(sorted(DIALECTS)),
)
def test_any_file_becomes_a_config_and_an_account(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], dialect: str
) -> None:
    text = "\n".join("\t".join(row) for row in rows)
    tmp_path = tmp_path_factory.mktemp("any")
    document, account = imported(text, tmp_path, dialect)
    assert "\x1b" not in render(document) + account
    assert_config_is_valid(document, tmp_path)


def test_files_of_netbsd_include_others(tmp_path: Path) -> None:
    (tmp_path / "more.d").mkdir()
    (tmp_path / "more.d" / "a.conf").write_text("# Of a.\n23 stream tcp nowait root /bin/cat cat\n192.0.2.2:\n")
    (tmp_path / "more.d" / "b.conf").write_text(".include ../inetd.conf\n24 stream tcp nowait root /bin/cat cat\n")
    (tmp_path / "more.d" / "c.conf").mkdir()
    text = """192.0.2.1:
.include "more.d/*.conf"
.include none/*
25 stream tcp nowait root /bin/cat cat
"""
    document, account = imported(text, tmp_path, "netbsd")
    [service] = document.services.values()
    assert service.tree["listen"] == [f"tcp://192.0.2.1:{port}" for port in (23, 24, 25)]
    assert service.comments == ["Of a."]
    told = [line.removeprefix(f"{tmp_path}/") for line in account.splitlines()]
    assert "inetd.conf:3: note: .include none/*: no file matches" in told
    assert any(line.startswith("more.d/b.conf:1: note: ") and "includes itself" in line for line in told)
    assert any(line.startswith("inetd.conf:2: note: ") and "c.conf cannot be read" in line for line in told)
    assert any(line.startswith("more.d/a.conf:2: ") for line in told)


def test_policy_of_ipsec_holds_in_included_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("23 stream tcp nowait root /bin/cat cat\n#@\n")
    document, account = imported("#@ ipsec x\n.include a\n24 stream tcp nowait root /bin/cat cat\n", tmp_path, "netbsd")
    assert [one.enabled for one in document.services.values()] == [False, False]
    assert account.count("it has a policy of IPsec") == 2


def test_files_of_others_include_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("23 stream tcp nowait root /bin/cat cat\n")
    document, account = imported(".include a\n", tmp_path, "freebsd")
    assert not document.services
    assert "not imported" in account


def test_names_of_tcpmux_have_no_listener_and_inetutils_listens_for_them(tmp_path: Path) -> None:
    lines = "tcpmux/+Date stream tcp nowait root /bin/date date\ntcpmux/cat stream tcp nowait root /bin/cat cat\n"
    document, account = imported(lines, tmp_path, "inetutils", MadeUpHost(ports={"tcpmux": 1}))
    services = document.services
    assert services["Date"].tree["tcpmux"] == "Date"
    assert services["cat"].tree["tcpmux"] == {"name": "cat", "plain": True}
    assert services["tcpmux"].tree == {"listen": ["tcp://0.0.0.0:1"]}
    assert "inetd of inetutils listens for it" in account
    assert_config_is_valid(document, tmp_path)
    document, _ = imported(lines, tmp_path, "freebsd")
    assert list(document.services) == ["Date", "cat"]
    listening = "tcpmux stream tcp nowait root internal\n"
    for dialect in ("freebsd", "inetutils"):
        document, _ = imported(lines + listening, tmp_path, dialect, MadeUpHost(ports={"tcpmux": 1}))
        assert document.services["tcpmux"].tree == {"listen": ["tcp://0.0.0.0:1"]}
        assert len(document.services) == 3


def test_second_line_of_a_name_of_tcpmux_is_off(tmp_path: Path) -> None:
    lines = "tcpmux/a stream tcp nowait root /bin/cat cat\ntcpmux/+A stream tcp nowait root /bin/cat cat\n"
    document, _ = imported(lines, tmp_path, "freebsd")
    assert [one.enabled for one in document.services.values()].count(True) == 1


@pytest.mark.parametrize(
    "lines",
    [
        "echo stream tcp nowait root internal\necho stream tcp nowait root internal\n",
        "#<off># echo stream tcp nowait root internal\necho dgram udp wait root internal\n",
    ],
    ids=["one address twice", "TCP off, UDP on"],
)
def test_second_built_in_service_of_a_name_has_its_type(lines: str, tmp_path: Path) -> None:
    document, _ = imported(lines, tmp_path)
    assert [(name, one.enabled) for name, one in document.services.items()] == [("echo", False), ("echo-2", True)]
    assert document.services["echo-2"].tree["type"] == "echo"
    assert_config_is_valid(document, tmp_path)
