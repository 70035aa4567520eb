"""The types of the services of a worker: those of packages, and those that a worker loads from code it has got."""

from collections.abc import Callable
from typing import Any, TypeAlias

from netd.daemon.messages.from_supervisor import ServiceEntry
from netd.daemon.worker.faults import reason
from netd.services import table
from netd.services.python import loading
from netd.services.python.options import PythonOptions
from netd.services.python.running import RunningCode
from netd.services.service_type import ServiceType

CodeOf: TypeAlias = Callable[[str, str], RunningCode]


class UnpreparedError(Exception):
    """This worker cannot serve a config. The message is the reason."""


def type_of(entry: ServiceEntry) -> ServiceType:
    """The type of a service, without its code. `UnpreparedError` if this worker cannot have it, as in a chroot without
    its package.
    """
    try:
        kind = table.find_again(entry.type)
    except ValueError as error:
        raise UnpreparedError(f"services.{entry.name}: {error}") from error
    if kind is None:
        raise UnpreparedError(f"services.{entry.name}: there is no service type '{entry.type}'")
    return kind


def kind_of(entry: ServiceEntry, code_of: CodeOf) -> ServiceType:
    """The type of a service, that of its class where it has code. `UnpreparedError` as of `type_of`.

    ``code_of`` returns the code of a service from a file or module (`CodeOutput.code_of`).
    """
    kind = type_of(entry)
    if kind.options is not PythonOptions:
        return kind
    if entry.code is None:
        raise UnpreparedError(f"services.{entry.name}: its code was missing when the config was read; reload it")
    try:
        options: Any = kind.options.model_validate_json(entry.options)
        code = code_of(entry.name, options.place)
        return loading.as_python(code.run(loading.load, options.place, options.name, entry.code), code)
    except BaseException as error:  # the code of others may raise anything, SystemExit too
        raise UnpreparedError(f"services.{entry.name}: {reason(error)}") from error
