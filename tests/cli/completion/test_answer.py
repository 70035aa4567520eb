"""What a command line can go on with, in the form that each shell reads."""

import os
import subprocess
import sys

import pytest

from netd.cli.completion.answer import completions
from netd.cli.main import netd


def test_commands_are_completed_with_what_they_do() -> None:
    assert completions(netd, "bash", "netd sto") == "plain,stop\n"
    assert completions(netd, "fish", "netd sto") == "plain,stop\tStop a running netd, and wait until it has exited.\n"
    assert completions(netd, "zsh", "netd sto") == "plain\nstop\nStop a running netd, and wait until it has exited.\n"


def test_subcommands_and_the_words_of_help_are_completed() -> None:
    assert completions(netd, "bash", "netd ban ") == "plain,add\nplain,list\nplain,remove\n"
    assert completions(netd, "bash", "netd help ban r") == "plain,remove\n"
    assert completions(netd, "bash", "netd help kick ") == ""


def test_word_ends_at_a_blank_that_is_not_escaped() -> None:
    assert completions(netd, "bash", "netd log-level") == "plain,log-level\n"
    assert completions(netd, "bash", "netd log-level inf") == "plain,info\n"
    assert completions(netd, "bash", "netd log-level inf\\ ") == ""


def test_fish_replaces_the_option_too() -> None:
    assert completions(netd, "bash", "netd probe --service=dayt") == "plain,daytime\n"
    assert completions(netd, "fish", "netd probe --service=dayt") == "plain,--service=daytime\n"


def test_files_are_left_to_the_shell() -> None:
    assert completions(netd, "bash", "netd check -c x") == "file,x\n"
    assert completions(netd, "bash", "netd import inetd x") == "file,x\n"


@pytest.mark.parametrize("line", ["", "netd", "netd 'x", "netd kick ", "netd status --control \x1b x "])
def test_line_that_goes_on_with_nothing_prints_nothing(line: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "netd"],
        env={**os.environ, "_NETD_COMPLETE": "bash", "COMP_LINE": line},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"" or line in ("", "netd")
