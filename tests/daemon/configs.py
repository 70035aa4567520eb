"""The config file of a daemon."""

from pathlib import Path


def write(tmp_path: Path, text: str) -> None:
    """Put another config in the file; at once, as an editor does."""
    (tmp_path / "new").write_text(text)
    (tmp_path / "new").rename(tmp_path / "netd.yaml")
