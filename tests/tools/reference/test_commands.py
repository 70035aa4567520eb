"""The command tree as values."""

from tools.reference.commands import CommandOption, commands

COMMANDS = {command.name: command for command in commands()}


def test_commands_are_those_of_netd_with_those_below_them() -> None:
    assert COMMANDS.keys() >= {"run", "status", "ban", "ban add", "import xinetd", "talk", "probe", "help"}
    assert COMMANDS["ban"].is_group
    assert not COMMANDS["ban add"].is_group


def test_a_command_has_its_arguments_options_and_examples() -> None:
    status = COMMANDS["status"]
    assert status.arguments == "[SERVICE]"
    assert status.has_json
    assert {option.long for option in status.options} >= {"--all", "--json", "--config"}
    assert status.examples == ("netd status echo",)
    assert status.summary.startswith("Show the services")


def test_paragraphs_are_lines_and_tables_keep_theirs() -> None:
    paragraphs = COMMANDS["status"].paragraphs
    assert all("\n" not in one for one in paragraphs if not one.startswith("    "))
    [table] = [one for one in paragraphs if one.startswith("    ")]
    assert table.startswith("    OPEN      connections open now\n    REQUESTS")


def test_the_long_name_of_an_option() -> None:
    assert CommandOption("-c, --config PATH", "").long == "--config"
    assert CommandOption("--json", "").long == "--json"
