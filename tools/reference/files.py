"""All files that `make docs` writes, by their paths in the project."""

from tools.reference.config_pages import config_page, services_page
from tools.reference.control_page import control_page
from tools.reference.events_page import events_page
from tools.reference.json_page import json_page
from tools.reference.man_pages import man_pages
from tools.reference.markdown import NOTE
from tools.reference.metrics_page import metrics_page
from tools.reference.source import filled

DIRECTORIES = ("docs/reference", "man")
"""The directories that have no other files."""


def files() -> dict[str, str]:
    """The text of each file, by its path."""
    pages = {
        "README": filled("README.md", {}),
        "control": control_page(),
        "config": config_page(),
        "services": services_page(),
        "events": events_page(),
        "metrics": metrics_page(),
        "json": json_page(),
    }
    reference = {f"docs/reference/{name}.md": f"{NOTE}\n{text}" for name, text in pages.items()}
    return reference | {f"man/{name}": text for name, text in man_pages()}
