"""The console script: the command group, and what becomes of an error that reaches it."""

import os
import sys
import traceback

import click

from netd import __version__
from netd.cli import catalogue, run
from netd.errors import EXIT_OSERR, EXIT_SOFTWARE, EXIT_USAGE, ConfigError, OperatorError

EPILOG = """\b
Exit codes: 0 done, 1 the answer is no, 64 usage, 70 a bug in netd,
71 the system refused (a port in use, a missing right), 78 the config is wrong.
"""


@click.group(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", prog_name="netd", message="%(prog)s %(version)s")
def netd() -> None:
    """One daemon for the small network services of a host: echo, time, ping/pong and the rest of the inetd family."""


for command in (run.run, run.check, catalogue.services, catalogue.schema):
    netd.add_command(command)


def main() -> None:
    """Run the command line and exit."""
    _open_standard_descriptors()
    try:
        code = netd.main(prog_name="netd", standalone_mode=False)
        sys.stdout.flush()
    except OperatorError as error:
        # A problem in a file starts with its place, as editors and grep expect it.
        head = "" if isinstance(error, ConfigError) else "netd: "
        for problem in error.problems:
            click.echo(head + problem, err=True)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = EXIT_USAGE
    except click.Abort:
        code = 130  # as a shell reports SIGINT
    except BrokenPipeError:
        code = 141  # and SIGPIPE: whoever read the output has had enough
        sys.stdout = None
    except OSError as error:
        click.echo(f"netd: {error}", err=True)
        sys.stdout = None  # what is left in it would be tried again at the exit
        code = EXIT_OSERR
    except Exception:
        traceback.print_exc()
        code = EXIT_SOFTWARE
    sys.exit(code or 0)


def _open_standard_descriptors() -> None:
    """Whoever started this may have closed 0, 1 or 2, and the next file opened would be taken for one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
