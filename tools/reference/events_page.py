"""The page about the events of the log: `events.md`."""

from netd.telemetry.fields import FIELDS
from tools.reference import markdown
from tools.reference.events import FILES, Event, events
from tools.reference.links import linked
from tools.reference.markdown import anchor, prose, wrapped
from tools.reference.source import filled

_TITLES = dict(
    zip(
        FILES,
        (
            "The daemon",
            "Listeners",
            "Services, connections and datagrams",
            "Programs",
            "Targets",
            "Sensors",
            "Code of services",
        ),
        strict=True,
    )
)
"""The titles of the groups, by the files that have their events."""


def events_page() -> str:
    """The page."""
    found = events()
    groups = [_group(title, [event for event in found if event.file == file]) for file, title in _TITLES.items()]
    fields = markdown.table(("field", "meaning"), [(f"`{name}`", prose(text)) for name, text in FIELDS.items()])
    return filled("events.md", {"groups": "\n\n".join(groups), "fields": fields})


def _group(title: str, members: list[Event]) -> str:
    links = wrapped(" · ".join(f"[`{event.name}`](#{anchor(event.name)})" for event in members))
    return "\n\n".join([f"## {title}", links, *map(_event, members)])


def _event(event: Event) -> str:
    level = f"*{event.level}*{', throttled' if event.throttled else ''}"
    fields = f"fields: {', '.join(f'`{name}`' for name in event.fields)}" if event.fields else "no fields"
    meaning = linked(prose(event.meaning))
    return "\n\n".join([f"### `{event.name}`", wrapped(f"{level}; {fields}"), wrapped(meaning)])
