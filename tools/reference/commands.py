"""The command tree of netd, as values: what each command takes, does and prints with `--help`."""

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

import click

from netd.cli.main import netd

_WIDTH = 1000
"""The columns for which click makes a text: so many that it breaks no line."""


@dataclass(frozen=True)
class CommandOption:
    """An option of a command."""

    names: str
    """As in ``-c, --config PATH``."""
    meaning: str

    @property
    def long(self) -> str:
        """The long name, as ``--config``."""
        return next(word for word in re.split("[ ,]+", self.names) if word.startswith("--"))


@dataclass(frozen=True)
class Command:
    """A command, as ``ban add``."""

    name: str
    arguments: str
    """What follows its options, as in ``[SERVICE]``."""
    summary: str
    paragraphs: tuple[str, ...]
    """What it does, in Markdown; one that begins with four blanks is a table."""
    options: tuple[CommandOption, ...]
    examples: tuple[str, ...]
    is_group: bool

    @property
    def has_json(self) -> bool:
        """Whether it can print JSON."""
        return any(option.names == "--json" for option in self.options)


def commands() -> Iterator[Command]:
    """All commands, in the order of `netd --help`."""
    context = click.Context(netd, info_name="netd", max_content_width=_WIDTH, terminal_width=_WIDTH)
    yield from _below(netd, context, "")


def _below(group: click.Group, context: click.Context, prefix: str) -> Iterator[Command]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=context, max_content_width=_WIDTH, terminal_width=_WIDTH)
        yield _described(command, inner, f"{prefix}{name}")
        if isinstance(command, click.Group):
            yield from _below(command, inner, f"{prefix}{name} ")


def _described(command: click.Command, context: click.Context, name: str) -> Command:
    records = [one.get_help_record(context) for one in command.get_params(context) if isinstance(one, click.Option)]
    options = tuple(CommandOption(*record) for record in records if record and "--help" not in record[0])
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    text = (command.help or "").partition("\f")[0]
    return Command(
        name=name,
        arguments=" ".join(pieces),
        summary=command.get_short_help_str(_WIDTH),
        paragraphs=tuple(_paragraph(one) for one in re.split(r"\n\s*\n", text.strip())),
        options=options,
        examples=_examples(command.epilog or ""),
        is_group=isinstance(command, click.Group),
    )


def _paragraph(text: str) -> str:
    """A paragraph on one line, or the lines of one that click leaves as they are (BS), indented by four blanks."""
    lines = text.strip("\n").split("\n")
    if lines[0].strip() == "\b":
        return textwrap.indent(textwrap.dedent("\n".join(line.rstrip() for line in lines[1:])), "    ")
    return " ".join(text.split())


def _examples(epilog: str) -> tuple[str, ...]:
    """The commands in a text such as ``Example: netd status echo``."""
    lines = [line.strip().removeprefix("Example: ") for line in epilog.split("\n")]
    return tuple(line for line in lines if line and line not in ("\b", "More:"))
