"""What stands in files and in no object: docstrings of constants and of fields, and the texts of pages."""

import ast
import inspect
import itertools
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]


_PAGES = Path(__file__).parent / "pages"


def filled(name: str, parts: Mapping[str, str]) -> str:
    """The text of `pages/` with this name, and these parts in their places; a place without a part is left."""
    text = (_PAGES / name).read_text()
    return re.sub(r"\{\{(.*?)\}\}", lambda place: parts.get(place[1], place[0]), text)


@cache
def parsed(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text())


def docstrings(module: ModuleType, name: str = "") -> dict[str, str]:
    """The docstrings below the assignments in a module, or in its class of that name, in the order of the source."""
    body: list[ast.stmt] = parsed(Path(str(module.__file__))).body
    if name:
        [body] = [node.body for node in body if isinstance(node, ast.ClassDef) and node.name == name]
    found = {}
    for node, after in itertools.pairwise(body):
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[target.id] = inspect.cleandoc(str(after.value.value))
    return found
