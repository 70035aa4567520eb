"""Writes the reference and the man pages: ``python -m tools.reference``."""

import sys

from tools.reference.files import files
from tools.reference.source import ROOT


def main() -> None:
    """Write the files that differ from what the sources say, and print their names."""
    for name, text in files().items():
        path = ROOT / name
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            sys.stdout.write(f"{name}\n")


main()
