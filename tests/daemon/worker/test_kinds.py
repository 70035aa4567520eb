"""The type of a service, as a worker finds or loads it."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from netd.contract import Context
from netd.daemon.messages.from_supervisor import ServiceEntry
from netd.daemon.worker.kinds import UnpreparedError, kind_of
from netd.services.python.options import PythonOptions
from tests.daemon.worker.prepare import Memory, code_of

OPTIONS = json.dumps({"class": "/none/shout.py:Shout", "mark": "?"})
SHOUT = """
from netd.values import Model
class Shout:
    class Options(Model):
        mark: str = "!"
    def __init__(self, options, context):
        self.mark = options.mark.encode()
    def datagram(self, data, peer):
        return data.upper() + self.mark
"""


@pytest.fixture
def entry() -> Iterator[ServiceEntry]:
    memory = Memory()
    yield memory.entry("shout", "python", options=OPTIONS)
    memory.close()


def test_type_of_a_package_is_found(entry: ServiceEntry) -> None:
    assert kind_of(replace(entry, type="echo", options="{}"), code_of).name == "echo"


def test_code_is_loaded_from_the_text_with_the_options_of_its_class(entry: ServiceEntry) -> None:
    kind = kind_of(replace(entry, code=SHOUT), code_of)
    assert (kind.name, kind.datagrams, kind.serving) == ("python", "answer", None)
    service = kind.build(PythonOptions.model_validate_json(OPTIONS), Context())
    assert service.datagram(b"ab", None) == b"AB?"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "none"}, "services.shout: there is no service type 'none'"),
        ({}, "services.shout: its code was missing when the config was read; reload it"),
        ({"code": "raise SystemExit('away')"}, "services.shout: away"),
        ({"code": "class Shout: pass"}, "services.shout: it has neither stream nor datagram"),
    ],
)
def test_type_that_this_worker_cannot_have_is_told(entry: ServiceEntry, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UnpreparedError) as raised:
        kind_of(replace(entry, **changes), code_of)
    assert str(raised.value).startswith(message)
