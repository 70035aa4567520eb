"""The JSON Schema of the config, made from the models, for completion and checks in an editor."""

from typing import Any

from netd.admission.access import AccessRules
from netd.admission.bans import BanRules
from netd.admission.limits import Limits
from netd.admission.policy import Policy
from netd.config.model import SERVICE_NAME, DaemonSection, DefaultsSection, FileSection, LogSection
from netd.config.renamed import RENAMED
from netd.services import table
from netd.services.service_type import ServiceType
from netd.values import Model, inner_model

_SECTIONS: tuple[type[Model], ...] = (DaemonSection, LogSection, BanRules, DefaultsSection, AccessRules, Limits)
SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema. Under ``services``, the options depend on the type, which is the name if no type is given."""
    schema = FileSection.model_json_schema(ref_template="#/$defs/{model}")
    definitions = schema["$defs"]
    names = sorted(table.BUILT_IN)
    for name in names:
        options = ServiceType.of(table.BUILT_IN[name], name).options.model_json_schema()
        definitions |= options.pop("$defs", {})
        definitions[f"{name}-options"] = {**options, "title": f"Options of {name}"}

    entry = definitions["ServiceSection"]
    entry["properties"]["type"] = {
        "description": entry["properties"]["type"]["description"],
        "anyOf": [{"enum": names}, {"type": "string"}],
    }
    entry["properties"]["options"].pop("additionalProperties", None)
    entry["anyOf"] = [{"required": ["listen"]}, {"required": ["tcpmux"]}]  # one of them at least
    entry["properties"]["access"].pop("default")  # the default is that of ``defaults``
    entry["allOf"] = [
        {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": _options(name)}
        for name in names
    ]
    _write_defaults(schema, definitions)
    del entry["properties"]["listen"]["default"]  # an empty list is for a service with `tcpmux` alone
    for section, keys in RENAMED.items():
        properties = definitions[schema["properties"][section]["$ref"].rpartition("/")[2]]["properties"]
        for old, new in keys.items():
            shown = {key: value for key, value in properties[new].items() if key != "default"}
            note = f"Renamed to {new}."
            properties[old] = {**shown, "deprecated": True, "title": old.capitalize(), "description": note}
    # A section with all lines commented out is null.
    for properties, names_of in (
        (schema["properties"], ("include", "daemon", "log", "bans", "defaults", "services")),
        (definitions["DefaultsSection"]["properties"], ("access", "limits", "tls")),
        (entry["properties"], ("type", "access", "limits", "tls", "options")),
    ):
        for name in names_of:
            properties[name] = {"anyOf": [properties[name], {"type": "null"}]}
    services = schema["properties"]["services"]["anyOf"][0]
    services["propertyNames"] = {"pattern": SERVICE_NAME}
    services["properties"] = {
        name: {
            "allOf": [{"$ref": "#/$defs/ServiceSection"}],
            "if": {"not": {"required": ["type"]}},
            "then": _options(name),
            "description": ServiceType.of(table.BUILT_IN[name], name).summary,
        }
        for name in names
    }
    services["additionalProperties"] = {"$ref": "#/$defs/ServiceSection"}
    values = {"^x-": {"description": "Values for anchors and aliases; netd does not read them."}}
    return {"$schema": SCHEMA_DIALECT, **schema, "patternProperties": values, "title": "netd.yaml"}


def _write_defaults(schema: dict[str, Any], definitions: dict[str, Any]) -> None:
    """Write the defaults in the notation of the file, so that an editor can insert them."""
    places: list[tuple[type[Model], dict[str, Any]]] = [
        (FileSection, schema),
        (Policy, definitions["ServiceSection"]),
        *((model, definitions[model.__name__]) for model in _SECTIONS),
        *((ServiceType.of(s).options, definitions[f"{n}-options"]) for n, s in table.BUILT_IN.items()),
    ]
    for model, shown in places:
        inner = {one for field in model.model_fields.values() if (one := inner_model(field))}
        # One with a value that is required has no defaults to write.
        whole = [one for one in inner if not any(field.is_required() for field in one.model_fields.values())]
        places += [(one, definitions[one.__name__]) for one in whole if one.__name__ in definitions]
        written = model.model_construct().written()
        for name, field in model.model_fields.items():
            shown["properties"][name].pop("default", None)
            # The defaults of a section are those of its keys.
            if not isinstance(field.default, Model) and not field.is_required():
                shown["properties"][name]["default"] = written[name]
    # Null means "unset", and is no value to insert.
    for place in (schema, *definitions.values()):
        for one in place.get("properties", {}).values():
            if one.get("default", ...) is None:
                del one["default"]


def _options(name: str) -> dict[str, Any]:
    return {"properties": {"options": {"anyOf": [{"$ref": f"#/$defs/{name}-options"}, {"type": "null"}]}}}
