"""Services of NetBSD in keys and values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.importers.inetd.dialects import DIALECTS
from netd.importers.inetd.keys import DefinitionError, read, words
from netd.importers.inetd.lines import Line
from netd.importers.inetd.lines import read as read_lines
from tests.importers.lines import source

FTP = """\
# above
ftp on
    bind = 127.0.0.1, # where
    protocol = tcp, wait = no, service_max = 9,
    user = root, group = wheel, ip_max = 3,
    exec = /usr/libexec/ftpd, args = ftpd "-l x" -u'a b';
echo off protocol = udp6, user = root;
time stream tcp nowait root internal
"""


def lines(text: str) -> list[Line]:
    return list(read_lines(source(text), DIALECTS["netbsd"]))


def test_a_definition_is_a_line_of_words() -> None:
    ftp, echo, time = lines(FTP)
    assert ftp.words == (
        *("127.0.0.1:ftp", "stream", "tcp4", "nowait:9", "root:wheel"),
        *("/usr/libexec/ftpd", "ftpd", "-l x", "-ua b"),
    )
    assert (ftp.place.line, ftp.comments, ftp.ip_max, ftp.is_off) == (2, ("above", "where"), "3", False)
    assert (echo.words, echo.is_off) == (("echo", "dgram", "udp6", "wait", "root", "internal"), True)
    assert time.words == ("time", "stream", "tcp", "nowait", "root", "internal")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("protocol = tcp6, user = root, exec = /a;", "no wait"),
        ("protocol = tcp6, wait = no, exec = /a;", "no user"),
        ("wait = no, user = root, exec = /a;", "no protocol"),
        ("protocol = tcp, wait = no, user = root;", "takes an address in bind"),
        ("protocol = tcp6, wait = maybe, user = root;", "wait is 'maybe'"),
        ("protocl = tcp6;", "no key 'protocl'"),
        ("protocol = tcp6 tcp4;", "2 values"),
        ("protocol = ;", "0 values"),
        ("user = a, user = b;", "user stands twice"),
        ("user = root; echo on", "another one begins"),
    ],
)
def test_a_definition_that_inetd_skips_has_its_reason(text: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        words("x", read(text, iter(())))


@pytest.mark.parametrize(
    "text", ["user root;", "user = 'root;", r"user = '\q';", r"user = '\x0';", "user = root", "", ", user = root;"]
)
def test_inetd_stops_to_read_where_the_form_is_another(text: str) -> None:
    with pytest.raises(DefinitionError):
        read(text, iter(()))
    (line,) = lines(f"x on {text}\ntime stream tcp nowait root internal")[:1]
    assert line.kind == "refused"
    assert "stops to read the file here" in line.reason


def test_policy_of_a_definition_is_its_own() -> None:
    (line,) = lines("echo on protocol = tcp6, user = root, ipsec = 'in ipsec ah//require';")
    assert line.policy == "in ipsec ah//require"


@given(st.text(st.sampled_from("user=, ;#'\"\\x0\n\té\udc80"), max_size=60))
def test_any_text_is_a_definition_or_is_refused(text: str) -> None:
    try:
        words("x", read(text.partition("\n")[0], iter(source(text.partition("\n")[2]))))
    except ValueError as error:
        assert "\n" not in str(error)
