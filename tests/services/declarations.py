"""Classes of services that declare what a test says."""

import socketserver
from typing import Any

import pytest

from netd.services.service_type import DeclarationError, ServiceType

FLAGS = (
    "reflects",
    "discards_input",
    "server_initiated",
    "client_speaks_first",
    "datagram_blocks",
    "single_worker",
    "polled",
    "reads_ttl",
    "listens",
    "forwards",
    "runs_program",
)

METHODS = ("stream", "datagram", "handler", "program", "take_over", "truncate")


def method(*arguments: object) -> Any:
    """Stands for any method of a service."""


def declares(**attributes: object) -> type:
    """A service class with these attributes."""
    return type("Shout", (), {"__module__": "netd_example", **attributes})


def faults(service: type) -> str:
    """The error of a class, without its name."""
    with pytest.raises(DeclarationError) as caught:
        ServiceType.of(service)
    assert str(caught.value) == f"{service.__module__}:{service.__qualname__}: {caught.value.faults}"
    return caught.value.faults


class Handler(socketserver.BaseRequestHandler):
    """Stands for any request handler."""
