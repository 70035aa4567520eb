"""A file of inetd, and what an import makes of it."""

import os
from pathlib import Path

from netd.config import loader
from netd.importers.account import Account
from netd.importers.document import Document
from netd.importers.inetd.convert import convert
from netd.importers.yaml_text import render
from tests.importers.made_up_host import MadeUpHost


def imported(
    text: str, tmp_path: Path, dialect: str = "debian", host: MadeUpHost | None = None
) -> tuple[Document, str]:
    """The result for a file with this text, and the account of it."""
    file = tmp_path / "inetd.conf"
    file.write_bytes(os.fsencode(text))
    account = Account()
    document = convert([str(file)], account, host or MadeUpHost(), dialect)
    return document, "\n".join(str(one) for one in account.findings)


def assert_config_is_valid(document: Document, tmp_path: Path) -> None:
    """Load it with all services off, since this host lacks their users and programs."""
    for service in document.services.values():
        service.switch_off()
    file = tmp_path / "netd.yaml"
    file.write_text(render(document))
    loader.load(file)
