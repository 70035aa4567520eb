"""What the words of a line of inetd.conf mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.importers.inetd import lines as inetd_lines
from netd.importers.inetd.dialects import DIALECTS
from netd.importers.inetd.entries import Entry, UnusableLineError, default_hosts, read
from tests.importers.lines import source


def entry(text: str, dialect: str = "debian", hosts: tuple[str, ...] = ("*",)) -> Entry:
    return read(next(inetd_lines.read(source(text), DIALECTS[dialect])), DIALECTS[dialect], hosts)


def refusal(text: str, dialect: str = "debian") -> str:
    with pytest.raises(UnusableLineError) as caught:
        entry(text, dialect)
    return str(caught.value)


def test_a_line_is_a_service_with_its_program() -> None:
    found = entry("ftp stream tcp nowait root /usr/sbin/ftpd ftpd -l")
    assert (found.service, found.hosts, found.datagrams, found.transport) == ("ftp", ("*",), False, "inet")
    assert (found.waits, found.user, found.group) == (False, "root", "")
    assert (found.program, found.arguments, found.notes) == ("/usr/sbin/ftpd", ("ftpd", "-l"), [])


@pytest.mark.parametrize(
    ("dialect", "protocol", "families"),
    [
        ("debian", "tcp", "both"),
        ("debian", "tcp4", "4"),
        ("debian", "tcp6", "6"),
        ("debian", "tcp46", "both"),
        ("openbsd", "tcp", "4"),
        ("suse", "tcp", "4"),
        ("rhel", "tcp", "4"),
        ("inetutils", "tcp", "4"),
        ("inetutils", "tcp6only", "6"),
        ("busybox", "tcp", "4"),
        ("freebsd", "tcp", "4"),
        ("freebsd", "tcp46", "both"),
        ("netbsd", "tcp6", "6"),
    ],
)
def test_the_dialect_decides_about_the_families_of_a_protocol(dialect: str, protocol: str, families: str) -> None:
    assert entry(f"a stream {protocol} nowait b /c c", dialect).families == families


@pytest.mark.parametrize(
    ("place", "service", "hosts"),
    [
        ("127.0.0.1:80", "80", ("127.0.0.1",)),
        ("192.0.2.1,192.0.2.2:9", "9", ("192.0.2.1", "192.0.2.2")),
        ("[2001:db8::5]:http", "http", ("2001:db8::5",)),
        (":::23", "23", ("::",)),
        ("*:7", "7", ("*",)),
        ("echo", "echo", ("192.0.2.9",)),
    ],
)
def test_addresses_stand_before_the_service(place: str, service: str, hosts: tuple[str, ...]) -> None:
    found = entry(f"{place} stream tcp nowait a /b b", hosts=("192.0.2.9",))
    assert (found.service, found.hosts) == (service, hosts)


def test_an_address_in_brackets_in_a_list_is_none() -> None:
    found = entry("192.0.2.1,[::1]:9 stream tcp nowait a /b b")
    assert found.hosts == ("192.0.2.1",)
    assert "does not listen on '[::1]'" in found.notes[0]
    assert entry("192.0.2.1,::1:9 stream tcp nowait a /b b").hosts == ("192.0.2.1", "::1")
    assert "it has no address" in refusal("[::1],[::2]:9 stream tcp nowait a /b b")


def test_an_address_alone_is_for_the_lines_after_it() -> None:
    dialect = DIALECTS["debian"]
    found = [default_hosts(line, dialect) for line in inetd_lines.read(source("127.0.0.1:\n*:\na b\n"), dialect)]
    assert found == [("127.0.0.1",), ("*",), None]


@pytest.mark.parametrize(
    ("dialect", "account", "user", "group"),
    [
        ("debian", "a.b", "a", "b"),
        ("debian", "a:b", "a", "b"),
        ("debian", "a.b:c", "a", "b:c"),
        ("inetutils", "a.b:c", "a.b", "c"),
        ("rhel", "a:b", "a:b", ""),
        ("freebsd", "a.b:c/daemon", "a.b", "c"),
        ("netbsd", "a.b", "a", "b"),
    ],
)
def test_the_dialect_decides_where_the_group_begins(dialect: str, account: str, user: str, group: str) -> None:
    found = entry(f"a stream tcp nowait {account} /b b", dialect)
    assert (found.user, found.group) == (user, group)


@pytest.mark.parametrize(
    ("dialect", "wait", "waits", "starts"),
    [
        ("debian", "wait", True, None),
        ("debian", "nowait.90", False, 90),
        ("debian", "nowait.0", False, None),
        ("debian", "waut", False, None),
        ("netbsd", "nowait:500", False, 500),
        ("netbsd", "wait.5", True, 5),
        ("busybox", "nowait.7", False, 7),
    ],
)
def test_a_number_of_starts_follows_nowait(dialect: str, wait: str, waits: bool, starts: int | None) -> None:
    found = entry(f"a stream tcp {wait} b /c c", dialect)
    assert (found.waits, found.starts) == (waits, starts)


def test_three_limits_of_freebsd() -> None:
    found = entry("a stream tcp nowait/4/12/2 b /c c", "freebsd")
    assert (found.at_once, found.of_one_address, found.at_once_of_one_address) == (4, 12, 2)
    found = entry("a stream tcp nowait/0/30 b /c c", "freebsd")
    assert (found.at_once, found.of_one_address, found.at_once_of_one_address) == (None, 30, None)


def test_sizes_of_buffers_follow_the_protocol() -> None:
    assert entry("a stream tcp,rcvbuf=32k,sndbuf=1m nowait b /c c").buffers == {"rcvbuf": 2**15, "sndbuf": 2**20}


@pytest.mark.parametrize(
    ("dialect", "text", "expected"),
    [
        ("debian", "a stream tcp nowait root", "5 words of at least 6"),
        ("debian", "rstatd/1-3 dgram rpc/udp wait root /a a", "RPC"),
        ("debian", "circuit/1 tli rpc/circuit_v,udp wait root /a a", "RPC"),
        ("debian", "tcpmux/+a stream tcp nowait root /a a", "it has no tcpmux"),
        ("inetutils", "tcpmux/+a stream tcp wait root /a a", "tcpmux is for stream, tcp and nowait"),
        ("inetutils", "tcpmux/a dgram udp nowait root /a a", "tcpmux is for stream, tcp and nowait"),
        ("freebsd", "tcpmux/HELP stream tcp nowait root /a a", "is no name for tcpmux"),
        ("debian", "a seqpacket unix nowait root /a a", "seqpacket"),
        ("debian", "a strem tcp nowait root /a a", "'strem' is no type"),
        ("rhel", "a stream tcp6 nowait root /a a", "'tcp6' is no protocol"),
        ("debian", "a stream udp nowait root /a a", "udp does not go with stream"),
        ("debian", "a stream tcp,rcvbuf=x nowait root /a a", "no size"),
        ("busybox", "a stream tcp nowayt root /a a", "neither wait nor nowait"),
        ("rhel", "a stream tcp nowait.7 root /a a", "neither wait nor nowait"),
        ("freebsd", "a stream tcp nowait/x root /a a", "begins with no number"),
        ("freebsd", "auth stream tcp nowait root internal auth -r", "nullidentd"),
        ("debian", "time2 stream tcp nowait root internal", "no internal service 'time2'"),
        ("rhel", "discard stream tcp nowait root internal", "no internal service 'discard'"),
        ("busybox", "echo stream tcp wait root internal", "stream with nowait"),
    ],
)
def test_a_line_that_is_skipped_or_cannot_be_served_has_its_reason(dialect: str, text: str, expected: str) -> None:
    assert expected in refusal(text, dialect)


def test_notes_say_what_the_line_did_not_say() -> None:
    (note,) = entry("a dgram udp waut b /c c").notes
    assert "takes it for nowait" in note
    (note,) = entry("a stream tcp nowait b.c:d /e e").notes
    assert "the dot first" in note
    (note,) = entry("a stream:httpready tcp nowait b /c c", "netbsd").notes
    assert "httpready" in note


@given(
    st.lists(st.text(st.sampled_from("ab.:/,=[]*+0129k\udc80é'stream tcpnowait"), min_size=1, max_size=12), max_size=9),
    st.sampled_from(sorted(DIALECTS)),
)
def test_any_words_are_a_service_or_a_refusal_of_one_line(words: list[str], dialect: str) -> None:
    for line in inetd_lines.read(source("\t".join(words)), DIALECTS[dialect]):
        if line.words and default_hosts_or_none(line, dialect) is None:
            try:
                read(line, DIALECTS[dialect])
            except UnusableLineError as error:
                assert "\n" not in str(error)


def default_hosts_or_none(line: inetd_lines.Line, dialect: str) -> tuple[str, ...] | None:
    try:
        return default_hosts(line, DIALECTS[dialect])
    except UnusableLineError:
        return ()
