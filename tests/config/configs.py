"""A config as text: loaded, or its problems."""

from pathlib import Path

import pytest

from netd.config import loader
from netd.config.model import Config
from netd.errors import ConfigError


def load(tmp_path: Path, text: str) -> Config:
    """The config of a file netd.yaml with this text."""
    file = tmp_path / "netd.yaml"
    file.write_text(text)
    return loader.load(file)


def problems(tmp_path: Path, text: str) -> list[str]:
    """Its problems, in their order, without the name of the file."""
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, text)
    assert raised.value.exit_code == 78
    return [problem.removeprefix(f"{tmp_path}/netd.yaml:") for problem in raised.value.problems]
