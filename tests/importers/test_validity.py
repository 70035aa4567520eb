"""Whether the config takes a service."""

import pytest

from netd.importers.account import Place
from netd.importers.document import Service
from netd.importers.validity import fault


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (("type",), "exec", ""),
        (("type",), "nosuch", "no such type"),
        (("listen",), ["tcp://x"], "listen.0: expected HOST:PORT"),
        (("limits", "connections"), "a", "limits.connections: expected a number"),
        (("access", "allow"), ["a b"], "allow"),
        (("options", "user"), "a b", "user: expected"),
        (("options", "command"), ["/a", "\0"], "command: expected text"),
        (("options", "command"), ["/a", "\udc80"], "no UTF-8"),
    ],
)
def test_a_service_that_the_config_refuses_has_a_fault_of_one_line(
    path: tuple[str, ...], value: object, expected: str
) -> None:
    service = Service("x", Place("f", 1))
    service.put("exec", "type")
    service.put(["tcp://*:7"], "listen")
    service.put(["/bin/cat"], "options", "command")
    service.put(value, *path)
    found = fault(service)
    assert expected in found
    assert "\n" not in found
    assert bool(found) is bool(expected)
