"""What is checked of a service with a worker of its own."""

from collections.abc import Iterator

from netd.config.problems import Finding
from netd.services.python.options import PythonOptions
from netd.services.service_type import ServiceType


def findings(kind: ServiceType, *, isolate: bool) -> Iterator[Finding]:
    """The problem of a service of this type with this ``isolate``, if there is one."""
    if isolate and kind.options is not PythonOptions:
        yield Finding(("isolate",), f"only 'python' services can have a worker of their own, not '{kind.name}'")
