"""Converts the errors of pydantic to messages in the terms of a YAML file."""

from typing import Any, get_args

from netd.config.source import Where
from netd.text import shown
from netd.values import Model


def exists(tree: Any, path: Where) -> bool:
    """Whether the tree has a value at the path."""
    for step in path:
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return False
    return True


def is_section(model: type[Model], key: str) -> bool:
    """Whether the value of the key is a mapping, which is empty (null) if all its lines are commented out."""
    field = model.model_fields.get(key)
    return field is not None and (key == "options" or isinstance(field.default, Model))


def model_at(model: type[Model], loc: tuple[int | str, ...]) -> type[Model]:
    """The model of the mapping at ``loc``, relative to a section."""
    for step in loc:
        if field := model.model_fields.get(str(step)):
            # For list[Item] and the like, the model is Item: the positions in the list are other steps of ``loc``.
            for inner in (field.annotation, *get_args(field.annotation)):
                if isinstance(inner, type) and issubclass(inner, Model):
                    model = inner
    return model


_EXPECTED = {
    "bool_type": "true or false",
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def describe(item: Any) -> str:
    """The message for an error of pydantic."""
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if item["type"] == "literal_error":
        return f"expected {item['ctx']['expected']}, got {shown(item['input'])}"
    if expected := _EXPECTED.get(item["type"]):
        return f"expected {expected}, got {shown(item['input'])}"
    return f"{item['msg'][:1].lower()}{item['msg'][1:]}, got {shown(item['input'])}"
