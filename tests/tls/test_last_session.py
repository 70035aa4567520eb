"""The session that further connections to a server resume."""

import ssl
import time
from pathlib import Path

import pytest

from netd.tls.client import client_context
from netd.tls.last_session import LONGEST, LastSession
from tests.support.certificates import Authority
from tests.support.tls_server import server_context


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = Authority(tmp_path)
    return client_context(str(authority.certificate)), server_context(authority.issue("server"))


def connected(contexts: tuple[ssl.SSLContext, ssl.SSLContext], last: LastSession) -> ssl.SSLObject:
    """The client's end of a connection, after a handshake and an octet."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = contexts[0].wrap_bio(to_client, to_server, server_hostname="localhost", session=last.get())
    other = contexts[1].wrap_bio(to_server, to_client, server_side=True)
    with pytest.raises(ssl.SSLWantReadError):
        one.do_handshake()
    with pytest.raises(ssl.SSLWantReadError):
        other.do_handshake()
    one.do_handshake()
    other.do_handshake()
    other.write(b"x")
    assert one.read(1) == b"x"
    return one


def test_session_is_resumed_for_an_hour_after_its_full_handshake(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    now = 1000.0
    last = LastSession(lambda: now)
    assert last.get() is None
    seen = []
    for then in (1000.0, 1001.0, 1001 + LONGEST / 2, 999 + LONGEST, 1000 + LONGEST, 1001 + LONGEST):
        now = then
        connection = connected(contexts, last)
        seen.append(connection.session_reused)
        last.keep(connection, now)
    assert seen == [False, True, True, True, False, True]


def test_session_is_dropped(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    last = LastSession()
    last.keep(connected(contexts, last), time.monotonic())
    assert last.get()
    last.drop()
    assert last.get() is None


def test_session_of_an_older_handshake_replaces_none(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    now = 1000.0
    last = LastSession(lambda: now)
    older, newer = connected(contexts, last), connected(contexts, last)
    last.keep(newer, 999.0)
    kept = last.get()
    now += 10
    last.keep(older, 998.0)
    assert last.get() is kept


def test_sessions_are_taken_once_a_second(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    now = 1000.0
    last = LastSession(lambda: now)
    first, second = connected(contexts, last), connected(contexts, last)
    last.keep(first, 1000.0)
    kept = last.get()
    last.keep(second, 1000.0)
    assert last.get() is kept
    now += 1
    last.keep(second, 1000.0)
    assert last.get() is not kept
