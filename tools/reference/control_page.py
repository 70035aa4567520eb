"""The page about the commands of the control socket: `control.md`."""

import re

from netd.daemon.supervisor.control import LINE_LIMIT, REQUESTS, Request
from tools.reference import json_page
from tools.reference.links import linked
from tools.reference.markdown import anchor, prose, wrapped
from tools.reference.source import filled


def control_page() -> str:
    """The page."""
    shapes = re.findall(r"(?m)^## (.*)$", json_page.json_page())
    commands = [_command(name, request, shapes) for name, request in sorted(REQUESTS.items())]
    return filled("control.md", {"line limit": str(LINE_LIMIT), "commands": "\n\n".join(commands)})


def _command(name: str, request: Request, shapes: list[str]) -> str:
    forms = "\n".join(f"    {form if form.startswith(name) else f'{name} {form}'}" for form in _forms(request.usage))
    answers = [f"[{title}](json.md#{anchor(title)})" for title in shapes if _is_of(title, name)]
    answer = f"Answer: {', '.join(answers)}." if answers else ""
    return "\n\n".join(
        part for part in (f"## `{name}`", forms, wrapped(linked(prose(request.meaning))), answer) if part
    )


def _forms(usage: str) -> list[str]:
    """The forms of a command, a line each; those within brackets stay together."""
    return re.split(r" \| (?![^\[]*\])", usage)


def _is_of(title: str, name: str) -> bool:
    """Whether a shape with this title is the answer to a command: it names the command, or a form of it."""
    named = [re.sub(r"^netd |^/|\.json$", "", one) for one in re.findall(r"`([^`]+)`", title)]
    return any(one == name or one.startswith(f"{name} ") for one in named)
