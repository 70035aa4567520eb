"""``netd import``: the config of another super-server, as one of netd, and an account of what became of each line."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from typing import Any, TypeVar

import click

from netd.cli.completion import candidates
from netd.cli.excerpts import count
from netd.cli.output import print_json
from netd.errors import EXIT_NO, EXIT_OK, EXIT_USAGE, OpenError
from netd.importers.account import Account, Outcome
from netd.importers.document import Document
from netd.importers.host import Host
from netd.importers.programs import note_drop_ins
from netd.importers.yaml_text import render
from netd.text import printable

C = TypeVar("C", bound=Callable[..., Any])


@click.group("import", epilog="Example: netd import xinetd -o netd.yaml", invoke_without_command=True)
@click.pass_context
def import_(context: click.Context) -> None:
    """Make a config of netd from that of another super-server. Nothing is started, and the source is read only.

    The config is on standard output, or in FILE with -o; what became of each line of the source is on standard error:
    imported, a note (the meaning is kept, and may surprise) or not imported, with the reason. A service that would be
    open to more peers, or run something else, has `enabled: false`.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(EXIT_USAGE)


def output_options(command: C) -> C:
    """The options of every format: ``-o``, ``--force`` and ``--json``."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print the account, and the config in it, as JSON."),
        click.option("--force", is_flag=True, help="Replace the file of -o if it exists."),
        click.option(
            "-o",
            "--output",
            metavar="FILE",
            shell_complete=candidates.files,
            help="Write the config to this file, in one step.",
        ),
    ):
        command = option(command)
    return command


@import_.command("xinetd", epilog="Example: netd import xinetd -o /etc/netd/netd.yaml --force")
@click.argument("file", default="/etc/xinetd.conf", shell_complete=candidates.files)
@click.option(
    "--from",
    "dialect",
    type=click.Choice(["debian", "suse", "rhel"]),
    help="The distribution that the file is from: its xinetd decides about IPv6. Default: that of this host.",
)
@output_options
def import_xinetd(file: str, dialect: str | None, output: str | None, *, force: bool, as_json: bool) -> int:
    """Import /etc/xinetd.conf, or FILE, and the files that it includes.

    What running xinetd does with the file decides, not what its manual says. It looks up ports, users and programs on
    this host, as xinetd does at its start.
    """
    from netd.importers.xinetd import convert

    account = Account()
    document = convert(file, account, Host(), dialect)
    return finish(document, account, output, force=force, as_json=as_json)


@import_.command("inetd", epilog="Example: netd import inetd /etc/inetd.conf -o netd.yaml")
@click.argument("files", nargs=-1, metavar="[FILE]...", shell_complete=candidates.files)
@click.option(
    "--from",
    "dialect",
    type=click.Choice(["debian", "rhel", "suse", "openbsd", "inetutils", "busybox", "freebsd", "netbsd"]),
    help="The system that the file is from: its inetd decides about IPv6, limits, quotes and more. Default: this host.",
)
@output_options
def import_inetd(files: tuple[str, ...], dialect: str | None, output: str | None, *, force: bool, as_json: bool) -> int:
    """Import /etc/inetd.conf, or each FILE.

    What the running inetd does with a line decides, not what its manual says. Ports, users and programs are looked up
    on this host. With --from, debian is openbsd-inetd as of Debian 12, and rhel is xinetd -inetd_compat.
    """
    from netd.importers.inetd import convert

    account = Account()
    document = convert(list(files), account, Host(), dialect)
    return finish(document, account, output, force=force, as_json=as_json)


@import_.command("systemd", epilog="Example: netd import systemd rsync.socket -o netd.yaml")
@click.argument("units", nargs=-1, required=True, metavar="UNIT.socket...", shell_complete=candidates.files)
@output_options
def import_systemd(units: tuple[str, ...], output: str | None, *, force: bool, as_json: bool) -> int:
    """Import socket units, and the services they start.

    A unit is a name or a path. Drop-ins are read too. Units are not stopped: `systemctl disable --now UNIT.socket` does
    that.
    """
    from netd.importers.systemd import convert

    account = Account()
    document = convert(list(units), account, Host())
    return finish(document, account, output, force=force, as_json=as_json)


def finish(document: Document, account: Account, output: str | None, *, force: bool, as_json: bool) -> int:
    """Write the config and the account. The exit code. Raises `OpenError`."""
    note_drop_ins(document, account)
    text = render(document)
    if output:
        _write(output, text, force=force)
    if as_json:
        print_json(_fields(document, account, text))
    else:
        click.echo("".join(f"{line}\n" for line in _account_lines(document, account)), err=True, nl=False)
        if not output:
            click.echo(text, nl=False)
    return EXIT_NO if account.counts[Outcome.LEFT_OUT] else EXIT_OK


def _account_lines(document: Document, account: Account) -> list[str]:
    """Each finding, what the unit needs, and the numbers."""
    on = sum(service.enabled for service in document.services.values())
    counts = account.counts
    lines = [str(one) for one in account.findings]
    lines += [f"under systemd: {text}" for text in account.drop_ins]
    lines.append(
        f"{count(len(document.services), 'service')} ({on} on), {count(counts[Outcome.IMPORTED], 'line')} imported, "
        f"{count(counts[Outcome.NOTE], 'note')}, {counts[Outcome.LEFT_OUT]} not imported"
    )
    return lines


def _fields(document: Document, account: Account, text: str) -> dict[str, Any]:
    return {
        "config": text,
        "services": [{"service": one.name, "enabled": one.enabled} for one in document.services.values()],
        "counts": {outcome.name.lower(): number for outcome, number in account.counts.items()},
        "account": [one.fields() for one in account.findings],
        "unit": list(account.drop_ins),
    }


def _write(path: str, text: str, *, force: bool) -> None:
    """Write a new file in one step: it has all of its content, or is not there. Raises `OpenError`."""
    try:
        descriptor, new = tempfile.mkstemp(prefix=".netd-import-", dir=os.path.dirname(path) or ".")
        try:
            with open(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                umask = os.umask(0o077)
                os.umask(umask)
                os.fchmod(descriptor, 0o644 & ~umask)
                stream.flush()
                os.fsync(descriptor)
            if force:
                os.replace(new, path)
            else:
                os.link(new, path)  # fails where the file exists
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
    except FileExistsError:
        raise OpenError([f"{printable(path)} exists; --force replaces it"]) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise OpenError([f"cannot write {printable(path)}: {reason}"]) from None
