"""The messages of the supervisor to a launcher, encoded and decoded."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given

from netd.daemon.channel import ProtocolError
from netd.daemon.messages import to_launcher
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import (
    CountTraffic,
    Heartbeat,
    Kick,
    ListConnections,
    ListPeers,
    SetLogFile,
    SetLogLevel,
)
from netd.daemon.messages.to_launcher import (
    AddPrograms,
    AddWorker,
    EndAll,
    EndPrograms,
    Listen,
    Order,
    Program,
    RemovePrograms,
    TakeOver,
)
from tests.daemon.messages.any_json import JSON, nearly

COMMANDS: list[tuple[Any, int]] = [
    (Heartbeat(), 0),
    (CountTraffic(), 0),
    (ListConnections(service="rsync"), 0),
    (ListPeers(), 0),
    (Kick(peer="192.0.2.7"), 0),
    (SetLogLevel("info"), 0),
    (SetLogFile(), 1),
    (AddPrograms(["{}"], [3, 4], {"3": (4711, 1.5)}), 2),
    (AddWorker(63, 4711), 1),
    (TakeOver(), 1),
    (Listen([3]), 0),
    (RemovePrograms([3, 4]), 0),
    (EndPrograms([3, 4], 30.0), 0),
    (EndPrograms(None, 0.0), 0),
    (EndAll(wait=True, leave=False), 0),
]
PROGRAM = Program(
    number=7,
    service="rsync",
    command=["/usr/bin/rsync", "--daemon"],
    argv0="rsync",
    environment={"PATH": "/usr/bin", "Ä": "ö\n"},
    directory="/",
    umask=0o22,
    nice=-5,
    limits={"AS": (1, 2**63 - 1), "CORE": (-1, -1)},
    gives="connection",
    errors="log",
    described=False,
    connections=None,
    lifetime=None,
    stop_signal=15,
    stop_after=5.0,
)


def test_message_of_each_type_is_decoded_as_it_was_encoded_if_its_descriptors_match() -> None:
    assert {type(one) for one, _ in COMMANDS} == {*get_args(to_launcher.AnyRequest), *get_args(Order)}
    for message, descriptors in COMMANDS:
        request = {} if isinstance(message, Order) else {"request": 5}
        sent = {**json.loads(encode(message)), **request}
        assert to_launcher.decode(sent, range(descriptors)) == (request.get("request"), message)
        with pytest.raises(ProtocolError, match="descriptors expected"):
            to_launcher.decode(sent, range(descriptors + 1))


def test_program_is_decoded_as_it_was_encoded() -> None:
    assert Program.decode(PROGRAM.encode()) == PROGRAM


@given(message=JSON.filter(lambda value: isinstance(value, dict)) | nearly([one for one, _ in COMMANDS]))
def test_message_with_any_values_is_decoded_or_is_a_protocol_error(message: dict[str, Any]) -> None:
    try:
        _, command = to_launcher.decode(message, ())
    except ProtocolError as error:
        assert len(str(error)) < 200
    else:
        assert type(command).__name__ == message["kind"]


def test_a_launcher_makes_no_validator_of_an_order_after_its_fork() -> None:
    assert set(get_args(Order)) <= set(to_launcher.AT_START)
