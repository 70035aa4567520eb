"""The service type `python`."""

import pytest

from netd.services.python import Python
from netd.services.python.options import PythonOptions
from netd.services.service_type import ServiceType
from netd.testing import PEER, build


def test_type_takes_a_class_and_the_options_of_that() -> None:
    kind = ServiceType.of(Python, "python")
    assert kind.options is PythonOptions
    assert (kind.streams, kind.datagrams) == (True, "answer")


def test_type_serves_nothing_itself() -> None:
    service = build(Python, **{"class": "netd.services.upper:Upper"})
    with pytest.raises(NotImplementedError):
        service.stream(PEER)
    with pytest.raises(NotImplementedError):
        service.datagram(b"", PEER)
