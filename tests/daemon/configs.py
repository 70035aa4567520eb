"""The config file of a daemon."""

from pathlib import Path


def write(tmp_path: Path, text: str) -> None:
    """Replace the config file by rename(2), as an editor does."""
    (tmp_path / "new").write_text(text)
    (tmp_path / "new").rename(tmp_path / "netd.yaml")
