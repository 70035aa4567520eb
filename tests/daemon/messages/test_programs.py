"""The messages between a worker and a launcher, and their limits: an attacker may control one side."""

import json
import struct
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netd.daemon.channel import ProtocolError
from netd.daemon.messages.programs import (
    LONGEST_ERROR,
    Ended,
    ErrorPipe,
    Lost,
    NotStarted,
    OfLauncher,
    Start,
    Started,
    Stop,
    Sync,
    Synced,
    of_launcher,
    of_worker,
)
from netd.peer import Credentials, Peer
from netd.services.exec.environment import peer_environment
from tests.daemon.messages.any_json import JSON

OF_WORKER: list[Start | Stop | Sync] = [
    Start(1, 7, {}),
    Start(2**62, 2**64 - 1, {"REMOTE_HOST": "192.0.2.7"}),
    Stop(1),
    Sync(2**62),
]
OF_LAUNCHER: list[OfLauncher] = [
    Started(1, 4711),
    Ended(1, -15, 0.5, 0.25, 2**20, timed_out=True),
    Ended(2, 255, 0.0, 0.0, 0, timed_out=False),
    Lost(3),
    Synced(4),
    NotStarted(1, "failed", "no such file: ä"),
    NotStarted(2, "connections", ""),
]
PIPES = [ErrorPipe(4711, "test", "192.0.2.7:4711"), ErrorPipe(4711, "test", "")]
VARIABLES = """
    LD_PRELOAD LD_LIBRARY_PATH PATH HOME IFS ENV BASH_ENV PYTHONPATH PERL5OPT GCONV_PATH SHELL USER LISTEN_FDS
    NOTIFY_SOCKET SSL_CERT_FILE SSL_CERT_DIR OPENSSL_CONF TZ REMOTE
"""
START = Start(1, 7, {}).encode()


def test_message_of_a_worker_is_decoded_as_it_was_encoded() -> None:
    for message in OF_WORKER:
        assert of_worker(message.encode()) == message


def test_message_of_a_launcher_is_decoded_as_it_was_encoded() -> None:
    for answer in (*OF_LAUNCHER, *PIPES):
        assert list(of_launcher(answer.encode())) == [answer]


def test_packet_of_a_launcher_may_have_many_records() -> None:
    sent = OF_LAUNCHER[:5]
    assert list(of_launcher(b"".join(one.encode() for one in sent))) == sent


def test_message_in_the_wrong_direction_is_rejected() -> None:
    for sent in OF_WORKER:
        with pytest.raises(ProtocolError):
            of_launcher(sent.encode())
    for answer in OF_LAUNCHER:
        with pytest.raises(ProtocolError):
            of_worker(answer.encode())


def test_message_that_is_cut_is_rejected() -> None:
    for message in (
        Start(1, 7, {"REMOTE_HOST": "x"}),
        Stop(1),
        Started(1, 2),
        Ended(1, 0, 0.0, 0.0, 0, timed_out=False),
    ):
        whole = message.encode()
        read: Any = of_worker if isinstance(message, Start | Stop) else of_launcher
        for length in range(1, len(whole)):
            if (length, type(message)) == (len(START), Start):
                continue  # a start without facts
            with pytest.raises(ProtocolError):
                read(whole[:length])


@pytest.mark.parametrize(
    "facts",
    [
        peer_environment(Peer("tcp", "192.0.2.7", 5353, "198.51.100.1", 873)),
        peer_environment(Peer("unix", "/run/x", 0, "/run/y", 0, credentials=Credentials(1, 2, 3))),
        {"SSL_PROTOCOL": "TLSv1.3", "SSL_CIPHER": "X", "SSL_PEER_CERT_SUBJECT": "CN=x"},
        {"REMOTE_HOST": ""},
        {"REMOTE_HOST": "("},
        {"REMOTE_HOST": "(x)"},
        {"REMOTE_HOST": "x" * 256},
    ],
)
def test_facts_about_a_peer_are_accepted(facts: dict[str, str]) -> None:
    assert of_worker(Start(1, 7, facts).encode()) == Start(1, 7, facts)


@pytest.mark.parametrize(
    "facts",
    [
        {"REMOTE_HOST": "x" * 257},
        {"REMOTE_HOST": "() { :; }; id"},
        {"REMOTE_HOST": "()"},
        {"REMOTE_HOST": "a\n"},
        {"REMOTE_HOST": "a\nb"},
        {"REMOTE_HOST": "\x1b[31m"},
        {"REMOTE_HOST": "\0"},
        {"REMOTE_HOST": "é"},
        {"REMOTE_HOST": 7},
        {"REMOTE_HOST": None},
        {"REMOTE_HOST": ["x"]},
        {"REMOTE_HOST\n": "x"},
        {"REMOTE_HOST=x": "x"},
        {"": "x"},
        {"TCPREMOTE" + "X" * 100: "x"},
        {f"TCPREMOTE{letter}{other}": "x" for letter in "ABCDEFG" for other in "ABCDEFG"},
        [],
        "REMOTE_HOST",
        None,
    ],
)
def test_facts_with_invalid_values_are_rejected(facts: Any) -> None:
    with pytest.raises(ProtocolError, match="Start: "):
        of_worker(START + json.dumps(facts).encode())


@pytest.mark.parametrize(
    "name",
    VARIABLES.split(),
)
def test_variable_that_is_not_about_the_peer_is_rejected(name: str) -> None:
    """Else a worker that an attacker controls could have the program load any code."""
    with pytest.raises(ProtocolError, match="Start: "):
        of_worker(Start(1, 7, {name: "x.so"}).encode())


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\0" * 30,
        b"{}",
        Start(0, 7, {}).encode(),
        Start(2**62 + 1, 7, {}).encode(),
        START + b"{",
        START + b"[" * 10_000,
        START + b"\xff",
        Stop(1).encode() + b"x",
        Sync(1).encode() + b"x",
        Sync(0).encode(),
    ],
)
def test_packet_of_a_worker_with_invalid_values_is_rejected(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        of_worker(packet)


@pytest.mark.parametrize(
    "packet",
    [
        Started(1, 0).encode(),
        Started(1, -1).encode(),
        Ended(1, 256, 0.0, 0.0, 0, timed_out=False).encode(),
        Ended(1, -65, 0.0, 0.0, 0, timed_out=False).encode(),
        Ended(1, 0, -1.0, 0.0, 0, timed_out=False).encode(),
        Ended(1, 0, 0.0, float("nan"), 0, timed_out=False).encode(),
        NotStarted(1, "failed", "").encode()[:-1] + b"\x09",
        b"\x06",
        b"\0" * len(Started(1, 1).encode()),
    ],
)
def test_packet_of_a_launcher_with_invalid_values_is_rejected(packet: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(of_launcher(packet))


def test_long_error_is_cut() -> None:
    [refusal] = of_launcher(NotStarted(1, "failed", "x" * 1000).encode())
    assert isinstance(refusal, NotStarted)
    assert refusal.error == "x" * LONGEST_ERROR


@given(packet=st.binary(max_size=120) | st.builds(lambda value: START + json.dumps(value).encode(), JSON))
@example(packet=struct.pack("<BQ", 3, 1))
def test_any_packet_is_decoded_or_is_a_protocol_error(packet: bytes) -> None:
    for read in (of_worker, of_launcher):
        try:
            read(packet)
        except ProtocolError as error:
            assert len(str(error)) < 200
