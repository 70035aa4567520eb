"""What is in force of a config, and where each value came from."""

from pathlib import Path
from typing import Any

from netd.config import loader
from netd.config.in_force import Commands, Value, values
from netd.steps import finish

TEXT = """\
include: [conf.d/*.yaml]
daemon:
  workers: 2
  beat: 3s
log: {level: warning}
defaults:
  limits: {idle: 2m}
  access:
    deny:
      - 192.0.2.1
      - 192.0.2.2
services:
  echo:
    listen: [tcp://127.0.0.1:0]
    limits: {rate: 5/s}
  off: {type: echo, enabled: false, listen: [tcp://127.0.0.1:0], access: {deny: []}}
"""
INCLUDED = """\
services:
  cat:
    type: exec
    listen: [tcp://127.0.0.1:0]
    options:
      command: [/bin/cat]
      limits: {memory: 1GiB}
"""


def found(tmp_path: Path, *arguments: Any, text: str = TEXT, **options: Any) -> dict[str, Value]:
    """The values by path, those of files with the file's name alone."""
    (tmp_path / "conf.d").mkdir(exist_ok=True)
    (tmp_path / "conf.d" / "a.yaml").write_text(INCLUDED)
    (tmp_path / "netd.yaml").write_text(text)
    config = loader.load(tmp_path / "netd.yaml")
    if not arguments:
        arguments = (Commands(),)
    return {".".join(one.path): one for one in finish(values(config, *arguments, **options))}


def place(value: Value) -> tuple[Any, str, str, int | None]:
    return value.value, value.origin, Path(value.file or "").name, value.line


def test_values_of_files_have_their_file_and_line(tmp_path: Path) -> None:
    shown = found(tmp_path)
    assert place(shown["daemon.workers"]) == (2, "file", "netd.yaml", 3)
    assert place(shown["daemon.heartbeat"]) == ("3s", "file", "netd.yaml", 4)
    assert place(shown["services.echo.limits.rate"]) == ("5/s", "file", "netd.yaml", 15)
    assert place(shown["services.cat.options.command"]) == (["/bin/cat"], "file", "a.yaml", 6)
    assert place(shown["services.cat.options.limits.memory"]) == ("1GiB", "file", "a.yaml", 7)


def test_values_of_the_defaults_are_shown_where_they_hold(tmp_path: Path) -> None:
    shown = found(tmp_path)
    assert place(shown["defaults.limits.idle"]) == ("2m", "file", "netd.yaml", 7)
    assert place(shown["services.echo.limits.idle"]) == ("2m", "defaults", "netd.yaml", 7)
    assert place(shown["services.echo.access.deny"]) == (["192.0.2.1", "192.0.2.2"], "defaults", "netd.yaml", 10)
    assert shown["services.echo.access.deny"].lines == (10, 11)
    assert place(shown["services.off.access.deny"]) == ([], "file", "netd.yaml", 16)
    # A program has the connection, so that netd cannot close it when it is idle.
    assert "services.cat.limits.idle" not in shown


def test_keys_that_nothing_sets_are_shown_on_demand(tmp_path: Path) -> None:
    assert "services.echo.limits.per_source" not in found(tmp_path)
    shown = found(tmp_path, defaults=True)
    assert place(shown["services.echo.limits.per_source"]) == (64, "built-in", "", None)
    assert place(shown["services.echo.type"]) == ("echo", "built-in", "", None)
    assert place(shown["services.cat.options.stop.signal"]) == ("TERM", "built-in", "", None)
    assert place(shown["bans.threshold"]) == ("100/m burst 100", "built-in", "", None)


def test_service_is_shown_with_the_defaults_of_its_file(tmp_path: Path) -> None:
    shown = found(tmp_path, Commands(), "cat")
    assert {path.split(".")[1] for path in shown if path.startswith("services.")} == {"cat"}
    assert "daemon.workers" not in shown
    assert "defaults.limits.idle" in shown
    assert not [path for path in found(tmp_path, Commands(), "none") if path.startswith("services.")]


def test_change_by_a_command_has_it_as_its_origin(tmp_path: Path) -> None:
    shown = found(tmp_path, Commands({"echo": False}, "debug"))
    assert shown["services.echo.enabled"].origin == "command"
    assert place(shown["log.level"]) == ("debug", "command", "", None)
    assert place(found(tmp_path, Commands({}, "warning"))["log.level"]) == ("warning", "file", "netd.yaml", 5)


def test_services_with_threads_have_limits_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        "import socketserver\n\n\nclass Greet(socketserver.StreamRequestHandler):\n    def handle(self): ...\n"
    )
    service = f"{{type: python, listen: [tcp://127.0.0.1:0], options: {{class: '{tmp_path}/code.py:Greet'}}}}"
    shown = found(tmp_path, text=f"services:\n  greet: {service}\n", defaults=True)
    assert place(shown["services.greet.limits.per_source"]) == (8, "built-in", "", None)
    assert shown["services.greet.options.class"].value == f"{tmp_path}/code.py:Greet"
