"""The docstrings of attributes, which say what an option means: strings below it in the source of its class.

They are read for the reference, the schema and `netd services` alone, since that takes longer than all else at a start.
"""

import ast
import inspect
from collections.abc import Mapping
from functools import cache
from tokenize import TokenError

from pydantic import BaseModel


def meaning(model: type[BaseModel], name: str) -> str:
    """What an option means: the description of its field, or else its docstring. Empty: it has neither."""
    return model.model_fields[name].description or attribute_docstrings(model).get(name, "")


def attribute_docstrings(owner: type) -> Mapping[str, str]:
    """The docstrings in a class and its bases, by attribute. A class without source has none."""
    return {name: text for one in reversed(owner.__mro__) for name, text in _own(one).items()}


@cache
def _own(owner: type) -> Mapping[str, str]:
    # It was made by a call, or is the interpreter's; or its file has changed since, so that other lines are read.
    try:
        lines, _ = inspect.getsourcelines(owner)
        source = "".join(lines)
        [statement] = ast.parse(f"if True:\n{source}" if source[0].isspace() else source).body
    except (OSError, TypeError, SyntaxError, ValueError, TokenError):
        return {}
    while isinstance(statement, ast.If):
        [statement] = statement.body
    found = {}
    if isinstance(statement, ast.ClassDef):
        for before, after in zip(statement.body, statement.body[1:], strict=False):
            match before, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = inspect.cleandoc(text)
    return found
