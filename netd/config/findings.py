"""What is wrong with a section, as pydantic finds it, in the words of the file."""

from typing import Any, get_args

from netd.config.source import Where
from netd.text import shown
from netd.values import Model


def stands(tree: Any, path: Where) -> bool:
    """Whether there is a value at the path."""
    for step in path:
        try:
            tree = tree[step]
        except (LookupError, TypeError):
            return False
    return True


def is_section(model: type[Model], key: str) -> bool:
    """Whether the key holds a mapping, of which no line may be left."""
    field = model.model_fields.get(key)
    return field is not None and (key == "options" or isinstance(field.default, Model))


def model_at(model: type[Model], loc: tuple[int | str, ...]) -> type[Model]:
    """The model of the mapping at ``loc`` below a section."""
    for step in loc:
        if field := model.model_fields.get(str(step)):
            # Of list[Item] and the like, the items are meant: their positions are steps of their own.
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


def wording(item: Any) -> str:
    """What pydantic found, in the words of a YAML file."""
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    if item["type"] == "literal_error":
        return f"expected {item['ctx']['expected']}, got {shown(item['input'])}"
    if expected := _EXPECTED.get(item["type"]):
        return f"expected {expected}, got {shown(item['input'])}"
    return f"{item['msg'][:1].lower()}{item['msg'][1:]}, got {shown(item['input'])}"
