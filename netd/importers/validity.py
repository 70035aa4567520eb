"""Whether the config takes a service that an import has made; what it refuses is told, and not written."""

import json

from pydantic import BaseModel, ValidationError

from netd.admission.access import AccessRules
from netd.config.model import ServiceSection
from netd.config.model_errors import describe
from netd.importers.document import Service
from netd.services import table


def fault(service: Service) -> str:
    """Why the config would refuse the service, in one line; empty if it takes it. Nothing of the host is asked."""
    try:
        json.dumps(service.tree, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "it has octets that are no UTF-8"
    tree = {key: value for key, value in service.tree.items() if key != "access"}
    kind = table.find(service.get("type") or service.name)
    if kind is None:
        return "netd has no such type of a service"
    return (
        _fault(ServiceSection, tree)
        or _fault(AccessRules, service.get("access") or {})
        or _fault(kind.options, service.get("options") or {})
    )


def _fault(model: type[BaseModel], value: object) -> str:
    try:
        if issubclass(model, AccessRules):
            model.model_validate(value)
        else:
            model.model_validate_json(json.dumps(value))
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        where = ".".join(map(str, item["loc"]))
        return f"{where}: {next(iter(describe(item))).message}"
    return ""
