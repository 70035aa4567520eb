"""forward without sockets: which target a connection gets."""

import json

from netd.contract import Context
from netd.services.forward import Forward
from netd.services.forward.options import ForwardOptions
from netd.services.service_type import ServiceType

URLS = ["tcp://192.0.2.1:80", "udp://192.0.2.2:80", "unix:///run/x"]


def forward(**values: object) -> Forward:
    return Forward(ForwardOptions.model_validate_json(json.dumps({"to": URLS, **values})), Context())


def test_type_forwards_streams_and_datagrams() -> None:
    kind = ServiceType.of(Forward, "forward")
    assert (kind.serving, kind.datagrams, kind.takes_over, kind.converses) == ("forward", "forward", True, True)


def test_connection_gets_a_target_of_streams_and_a_datagram_one_of_datagrams() -> None:
    service = forward()
    assert [service.candidates("stream", "198.51.100.1", 1.0)[0] for _ in range(4)] == [0, 2, 0, 2]
    assert service.candidates("datagram", "198.51.100.1", 1.0) == [1]


def test_targets_that_rest_are_the_last() -> None:
    service = forward(balance="first")
    service.targets.failed(0, "refused", 1.0)
    assert service.candidates("stream", "", 1.5) == [2, 0]
    service.targets.failed(2, "refused", 1.2)
    assert service.candidates("stream", "", 1.5) == [0, 2]


def test_balance_by_source_and_by_connections() -> None:
    service = forward(balance="source", to=[f"tcp://192.0.2.{number}:80" for number in range(1, 9)])
    assert len({service.candidates("stream", "198.51.100.1", 1.0)[0] for _ in range(9)}) == 1
    assert len({service.candidates("stream", f"198.51.100.{one}", 1.0)[0] for one in range(99)}) > 4
    service = forward(balance="least")
    service.targets.opened(0)
    assert {service.candidates("stream", "", 1.0)[0] for _ in range(4)} == {2}


def test_service_after_a_reload_knows_which_targets_rest() -> None:
    before, after = forward(), forward(to=[URLS[2], URLS[0]])
    before.targets.failed(0, "refused", 1.0)
    after.take_over(before)
    assert after.candidates("stream", "", 1.5) == [0, 1]
    assert after.candidates("stream", "", 1.5) == [0, 1]
