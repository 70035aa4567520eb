"""The files of netd, and what each imports, for the tests of its structure and its words."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "netd").rglob("*.py"))


def modules(file: Path) -> set[str]:
    """What a file imports of netd, also for types alone: modules, or names in them, without ``netd.`` in front."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name.removeprefix("netd.") for name in found if name.startswith("netd.")} - {"__version__"}
