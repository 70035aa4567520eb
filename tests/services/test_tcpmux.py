"""tcpmux: what its class declares. The connections are in `tests/transport/stream/test_tcpmux.py`."""

from netd.services import table


def test_connections_of_all_peers_are_passed_on_by_one_worker() -> None:
    kind = table.find("tcpmux")
    assert kind
    assert (kind.serving, kind.datagrams, kind.rfc, kind.single_worker) == ("multiplex", None, 1078, True)
    assert not kind.converses, "without a listener there is nothing to name"
