"""Services of the type `python`, from the text of a file, as a worker makes them."""

from typing import Any

from netd.contract import Context
from netd.services.python import loading
from netd.services.python.options import PythonOptions
from netd.services.python.running import AttributedService, RunningCode
from netd.services.service_type import ServiceType
from netd.telemetry.code_events import CodeEvents
from netd.testing import context


def load(path: str, name: str, text: str, given: Context | None = None, **own: object) -> tuple[ServiceType, Any]:
    """The type, and a service with these options of its class."""
    kind, service = load_attributed(path, name, text, given, **own)
    return kind, service.service


def load_attributed(
    path: str, name: str, text: str, given: Context | None = None, **own: object
) -> tuple[ServiceType, AttributedService]:
    """The same, with the service as a worker has it."""
    kind = loading.as_python(loading.load(path, name, text), RunningCode(CodeEvents()))
    options = PythonOptions.model_validate({"class": f"{path}:{name}", **own})
    return kind, kind.build(options, given or context())
