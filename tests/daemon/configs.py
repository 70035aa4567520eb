"""The config file of a daemon."""

from pathlib import Path

ONE_ON = "services:\n  echo: {listen: [tcp://127.0.0.1:0]}\n  off: {type: upper, enabled: false, listen: [tcp://*:0]}\n"
THREE_SERVICES = """
log: {{level: debug}}
daemon: {{drain: {drain}}}
services:
  echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://{tmp}/echo.sock"]}}
  pingpong: {{listen: [tcp://127.0.0.1:0]}}
  upper: {{enabled: false, listen: [tcp://127.0.0.1:0, "unix://{tmp}/upper.sock"]}}
"""
"""To be formatted with ``drain``, the drain time, and ``tmp``, a directory."""


def write(tmp_path: Path, text: str) -> None:
    """Replace the config file by rename(2), as an editor does."""
    (tmp_path / "new").write_text(text)
    (tmp_path / "new").rename(tmp_path / "netd.yaml")
