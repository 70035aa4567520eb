"""The notations of values."""

from typing import Annotated, Any

from netd.notation import JsonSchema
from netd.values import Model


def test_schema_is_made_when_it_is_asked_for() -> None:
    made: list[dict[str, Any]] = []

    def make() -> dict[str, Any]:
        made.append({"type": "string", "pattern": "^a$"})
        return made[-1]

    class Options(Model):
        name: Annotated[str, JsonSchema(make)]

    assert Options(name="a").name == "a"
    assert made == []
    assert Options.model_json_schema()["properties"]["name"]["pattern"] == "^a$"
