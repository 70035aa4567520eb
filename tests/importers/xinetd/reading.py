"""Helpers: a text as a file of xinetd, and what the import makes of it."""

import re
from pathlib import Path
from typing import Any

import yaml

from netd.importers.account import Account
from netd.importers.host import Host
from netd.importers.xinetd import convert
from netd.importers.yaml_text import render
from tests.importers.hosts import KnownHost


class Imported:
    """The result of an import."""

    def __init__(self, file: Path, host: Host | None = None, dialect: str | None = None) -> None:
        account = Account()
        self.document = convert(str(file), account, host or KnownHost(), dialect)
        self.text = render(self.document)
        self.services: dict[str, Any] = yaml.safe_load(self.text)["services"]
        self.lines = [str(one).replace(f"{file.parent}/", "") for one in account.findings]

    def about(self, subject: str) -> list[str]:
        """What the account says of the lines that begin so: the outcome, and the text."""
        pattern = re.compile(r"[^:]*:\d+: (imported|note|not imported): (.*)")
        found = [match for match in map(pattern.fullmatch, self.lines) if match]
        return [f"{one[1]}{one[2].removeprefix(subject)}" for one in found if re.match(f"{subject}(:|$)", one[2])]


def imported(
    folder: Path, *attributes: str, host: Host | None = None, dialect: str | None = None, before: str = ""
) -> Imported:
    """The import of one service `x` on TCP port 1025 with these attributes, behind other entries."""
    file = folder / "xinetd.conf"
    lines = "".join(f"\t{line}\n" for line in attributes)
    file.write_text(
        f"{before}service x\n{{\n\ttype = UNLISTED\n\tport = 1025\n\twait = no\n\tsocket_type = stream\n{lines}}}\n"
    )
    return Imported(file, host, dialect)


def of_text(folder: Path, text: str, host: Host | None = None, dialect: str | None = None) -> Imported:
    """The import of a file with this text."""
    (folder / "xinetd.conf").write_text(text)
    return Imported(folder / "xinetd.conf", host, dialect)
