"""Units of systemd in a directory, and what an import makes of them."""

import os
import re
from pathlib import Path

from netd.config import loader
from netd.importers.account import Account
from netd.importers.document import Document, Service
from netd.importers.systemd.convert import convert
from netd.importers.yaml_text import render
from tests.importers.made_up_host import MadeUpHost


def write_units(name: str, text: str, directory: Path) -> None:
    """Write the units of a sample; where there are several, each is behind a line such as ``# == .socket``."""
    parts = re.split(r"(?m)^# == (.*)\n", text) if text.startswith("# == ") else ["", ".socket", text]
    for suffix, content in zip(parts[1::2], parts[2::2], strict=True):
        path = directory / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(os.fsencode(content))


def imported(text: str, tmp_path: Path, host: MadeUpHost | None = None) -> tuple[Document, str]:
    """The result for the units x of a text, and the account of it."""
    write_units("x", text, tmp_path)
    account = Account()
    document = convert(["x.socket"], account, host or MadeUpHost(), (str(tmp_path),))
    assert_config_is_valid(document, tmp_path)
    return document, "\n".join(str(one) for one in account.findings)


def assert_config_is_valid(document: Document, tmp_path: Path) -> None:
    """Load it with all services off, since this host lacks their users and programs."""
    file = tmp_path / "netd.yaml"
    file.write_text(re.sub("(?m)^    type: exec$", "    type: exec\n    enabled: false", render(document)))
    if document.services:
        file.write_text(re.sub("(?m)^    enabled: false\n((?:    #.*\n)*    enabled: false)", r"\1", file.read_text()))
    loader.load(file)


def accepting(
    tmp_path: Path, socket: str = "", program: str = "", host: MadeUpHost | None = None
) -> tuple[Service, str]:
    """The service of a socket unit with Accept=yes that has these further lines, and the account of it."""
    text = f"# == .socket\n[Socket]\nListenStream=80\nAccept=yes\n{socket}\n"
    text += f"# == @.service\n[Service]\nStandardInput=socket\n{program or 'ExecStart=/bin/cat'}\n"
    document, account = imported(text, tmp_path, host)
    return document.services["x"], account


def listening(tmp_path: Path, socket: str = "ListenStream=80", program: str = "") -> tuple[Service, str]:
    """The same for a socket unit without Accept=."""
    text = f"# == .socket\n[Socket]\n{socket}\n# == .service\n[Service]\n{program or 'ExecStart=/bin/cat'}\n"
    document, account = imported(text, tmp_path)
    return document.services["x"], account
