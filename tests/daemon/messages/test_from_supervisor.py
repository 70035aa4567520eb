"""The messages of the supervisor, encoded and decoded."""

import json
from typing import Any, get_args

import pytest

from netd.daemon.channel import ProtocolError
from netd.daemon.messages import from_supervisor
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_supervisor import (
    Heartbeat,
    Kick,
    ListConnections,
    ListPeers,
    Order,
    Prepare,
    Request,
    ServiceEntry,
    Stop,
    response_to,
)
from netd.daemon.messages.from_worker import Alive, ConnectionList, Done, Kicked, PeerList

COMMANDS: list[tuple[Any, int]] = [
    (Heartbeat(), 0),
    (from_supervisor.SetDaemonLimits(), 1),
    (from_supervisor.SetRunning(), 1),
    (from_supervisor.Isolate("greet"), 0),
    (from_supervisor.SetBans({"c0000207": 12.5, "c0000208": None}), 0),
    (Prepare(["{}"], [1, 2], ["echo"], {"time": 5.0}, None, 512, "{}"), 4),
    (from_supervisor.Commit(), 0),
    (from_supervisor.CloseRemoved(), 0),
    (ListConnections(service="echo"), 0),
    (ListPeers(), 0),
    (Kick(peer="192.0.2.7"), 0),
    (from_supervisor.CountTraffic(), 0),
    (from_supervisor.ConnectLauncher(2), 1),
    (from_supervisor.SyncPrograms(2), 0),
    (from_supervisor.SetLogLevel("info"), 0),
    (from_supervisor.SetLogFile(), 1),
    (from_supervisor.StartTrace(1, "echo", ""), 0),
    (from_supervisor.Attach("echo"), 1),
    (from_supervisor.Abort(), 0),
    (from_supervisor.Retire({"echo": 5.0}), 0),
    (from_supervisor.LeaveTarget("web", "unix:///x"), 0),
    (from_supervisor.StopTrace(1), 0),
    (from_supervisor.Report("status", {"ok": [1, None]}), 0),
    (from_supervisor.Drain(leave=False), 0),
    (Stop(), 0),
]


def test_message_of_each_type_is_decoded_as_it_was_encoded_if_its_descriptors_match() -> None:
    assert {type(one) for one, _ in COMMANDS} == {*get_args(from_supervisor.AnyRequest), *get_args(Order)}
    for message, descriptors in COMMANDS:
        request = {} if isinstance(message, Order) else {"request": 5}
        sent = {**json.loads(encode(message)), **request}
        assert from_supervisor.decode(sent, range(descriptors)) == (request.get("request"), message)
        with pytest.raises(ProtocolError, match="descriptors expected"):
            from_supervisor.decode(sent, range(descriptors + 1))


def test_service_entry_is_decoded_as_it_was_encoded() -> None:
    entry = ServiceEntry(
        "echo", "echo", '{"size":1e999}', "{}", (8, 64), [1, 2], changed=True, log_connections=100, program=(1, 7)
    )
    assert ServiceEntry.decode(entry.encode()) == entry


def test_descriptors_of_a_config_are_in_the_order_in_which_it_names_them() -> None:
    prepare = Prepare(["{}"], [7, 8], ["echo", "time"], {}, None, 512, "{}")
    assert list(prepare.attached()) == [
        ("access", 0),
        ("listener", 7),
        ("listener", 8),
        ("counters", "echo"),
        ("counters", "time"),
    ]


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        (Heartbeat(), Alive),
        (ListConnections(), ConnectionList),
        (ListPeers(), PeerList),
        (Kick(), Kicked),
        (from_supervisor.Commit(), Done),
    ],
)
def test_request_has_one_type_of_response(request_: Request[Any], response: type) -> None:
    assert response_to(request_) is response
