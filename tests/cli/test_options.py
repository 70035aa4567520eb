"""Options that several commands share."""

import click
import pytest
from click.testing import CliRunner

from netd.cli.main import netd
from netd.cli.options import parsed, peer_option, seconds
from netd.values import parse_duration


@pytest.mark.parametrize("command", ["connections", "kick", "trace"])
@pytest.mark.parametrize("peer", ["foo", "300.1.1.1", "192.0.2.7/33", "192.0.2.7:x", "[::1]:y", ""])
def test_peer_that_is_no_address_is_a_usage_error(command: str, peer: str) -> None:
    done = CliRunner().invoke(netd, [command, *(["echo"] if command == "trace" else []), "--peer", peer])
    assert done.exit_code != 0
    assert "expected an address, a network or a peer as netd connections shows it" in done.output


@pytest.mark.parametrize(
    "peer", ["192.0.2.7", "192.0.2.7:5", "[::1]:5", "192.0.2.0/24", "/x/s", "@x", "pid=1", "uid=0"]
)
def test_address_network_and_unix_peer_are_accepted(peer: str) -> None:
    @click.command()
    @peer_option("Which.")
    def command(peer: str) -> str:
        return peer

    assert command(["--peer", peer], standalone_mode=False) == peer


def test_parser_error_is_a_usage_error_that_names_the_option() -> None:
    @click.command()
    @click.option("--every", callback=parsed(parse_duration))
    def command(every: float | None) -> float | None:
        return every

    assert command(["--every", "2m"], standalone_mode=False) == 120.0
    assert command([], standalone_mode=False) is None
    with pytest.raises(click.BadParameter, match="expected a duration") as caught:
        command(["--every", "soon"], standalone_mode=False)
    assert caught.value.param
    assert caught.value.param.name == "every"


@pytest.mark.parametrize(
    ("text", "found"), [("5", 5.0), ("0.5", 0.5), ("250ms", 0.25), ("5m", 300.0), ("366d", 366 * 86400.0)]
)
def test_duration_is_as_in_the_config_or_a_number_of_seconds(text: str, found: float) -> None:
    assert seconds(text) == found


@pytest.mark.parametrize("text", ["", "0", "-1", "1e3", "5 m", "soon", "\u0665"])
def test_other_text_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration"):
        seconds(text)


@pytest.mark.parametrize(
    "words",
    [
        ("top", "--interval", "soon"),
        ("ban", "add", "192.0.2.7", "--for", "soon"),
        ("talk", "--every", "soon"),
        ("probe", "--interval", "soon"),
    ],
)
def test_every_command_takes_durations_in_the_same_way(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(netd, words)
    assert done.exit_code != 0
    assert "expected a duration such as 30s, 5m or 1h, got 'soon'" in done.output
