"""What the supervisor knows of the services."""

from pathlib import Path

import pytest

from netd.config import loader
from netd.config.model import Config
from netd.daemon.supervisor.control import CommandError
from netd.daemon.supervisor.state import State


def config(tmp_path: Path, *services: str) -> Config:
    file = tmp_path / "netd.yaml"
    file.write_text("services:\n" + "".join(f"  {name}: {{type: echo, listen: [tcp://*:0]}}\n" for name in services))
    return loader.load(file)


def test_a_service_that_is_not_there_is_refused_with_the_name_that_may_be_meant(tmp_path: Path) -> None:
    state = State(config(tmp_path, "echo", "upper"))
    state.require("echo")
    with pytest.raises(CommandError, match=r"^there is no service 'ecoh'; did you mean 'echo'\?$") as raised:
        state.require("ecoh")
    assert raised.value.exit_code == 1
    with pytest.raises(CommandError, match=f"^there is no service '{'x' * 64}'; known: echo, upper$") as raised:
        state.require("x" * 4000, exit_code=64)
    assert raised.value.exit_code == 64


def test_a_service_that_was_removed_is_known_where_its_connections_may_be_meant(tmp_path: Path) -> None:
    state = State(config(tmp_path, "echo", "upper"))
    state.adopt(config(tmp_path, "echo"), {})
    state.require("upper", once=True)
    with pytest.raises(CommandError, match="^there is no service 'upper'; known: echo$"):
        state.require("upper")
    with pytest.raises(CommandError, match="^there is no service 'uper'; known: echo$"):
        state.require("uper", once=True)
