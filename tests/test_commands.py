"""The commands of the pages, also of man pages, typed one after the other, page by page, in a network of their own.

They stand as on the page: with its ports, at the addresses that it names. Only directories of the host are replaced,
and intervals are shorter. A command that runs until it is stopped gets SIGINT once it has printed something; a netd
that a page starts serves until its page ends.
"""

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.daemon import Daemon, daemon
from tests.support.namespaces import in_namespace
from tests.support.pages import MAN_PAGES, PAGES, REQUESTS, Command, all_commands, blocks, elsewhere
from tests.support.programs import need

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # daemons, and many commands

LAST = ("netd stop", "netd run -c /etc/netd/netd.yaml")
"""Commands that are typed after all others of a page: the second needs the ports of the netd that the first stops."""


def typed(page: str) -> list[Command]:
    """The commands of a page that are typed, in their order; of a man page each once, which may say one again."""
    found = [one for one in all_commands(page) if elsewhere(one) is None]
    found = list({one.text: one for one in found}.values()) if page in MAN_PAGES else found
    return sorted(found, key=lambda one: LAST.index(one.text) if one.text in LAST else -1)


TYPED = {page: found for page in (*PAGES, *MAN_PAGES) if (found := typed(page))}
ADDRESSES = ("192.0.2.1", "192.0.2.7", "10.0.0.5", "10.0.0.6")
"""Addresses that the pages name, of this host here."""

SERVICES = """
include: [conf.d/*.yaml]
services:
  echo: {listen: ["tcp://*:7007", "udp://*:7007", "udp://192.0.2.1:7"]}
  upper: {listen: ["tcp://*:7080", "tcp://*:8000", "udp://*:7080"]}
  time: {listen: ["tcp://*:7037", "udp://*:7037"]}
  clock: {type: time, listen: ["tcp://*:37"], options: {encoding: rfc868}}
  pingpong: {listen: ["tcp://*:8888", "udp://*:8888"]}
  chat: {listen: ["tcp://*:9999", "udp://*:9999"]}
  metrics: {enabled: false, listen: ["tcp://localhost:7090"]}
  web: {type: forward, listen: ["tcp://*:7181"], options: {to: [tcp://10.0.0.5:8080, tcp://10.0.0.6:8080]}}
"""
UNTIL_STOPPED = r"netd (trace|talk (?!.*--(count|service))|.*--count 0).*"
SHOWN = {"Saturday": r"\w+day"}
"""What varies of the output that pages show."""
MISTAKES = {"tpc": "tcp", "Asia/Shangai": "Asia/Shanghai"}
"""What is wrong in a config where the output of `netd check` says so, and what is right."""
CODES = {r"netd (kick|explain) ": (0, 1), r"netd probe .*--warn ": (0, 1, 2)}
"""Commands with an answer that may be no, and checks, of which this host may be too busy to be in time."""
SOURCES = {
    "etc/xinetd.conf": "service echo\n{\n type = INTERNAL UNLISTED\n port = 7\n socket_type = stream\n wait = no\n}\n",
    "etc/inetd.conf": "7 stream tcp nowait daemon /bin/cat cat\n",
    "rsync.socket": "[Socket]\nListenStream=873\nAccept=yes\n",
    "rsync@.service": "[Service]\nStandardInput=socket\nExecStart=/bin/cat\n",
}
"""What other super-servers leave to `netd import`."""
VALUES = {
    "ADDRESS": "127.0.0.1",
    "DURATION": "1h",
    "ID": "1",
    "LEVEL": "info",
    "PEER": "192.0.2.7:53",
    "SERVICE/TRANSPORT": "echo/udp",
    "SOURCE": "192.0.2.7",
    "URL": "tcp://10.0.0.5:8080",
}
"""What requests of the control socket have in place of these words. A NAME is that of a service."""
NOT_COMPARED = r"netd (status|target \w+|probe .*)"
"""Commands with an output that is an example."""


def here(text: str, own: Path) -> str:
    """A command as it is typed: with directories of the test, shorter intervals, and a file for each import."""
    text = re.sub(r"^sudo |(?<=&& )sudo ", "", text, flags=re.MULTILINE)
    text = re.sub(r"(?<![\w/.])/(etc/netd|etc/inetd.conf|run/netd|var/lib/node_exporter)\b", rf"{own}/\1", text)
    text = re.sub(r"netd check(?! -c)", f"netd check -c {own}/etc/netd/netd.yaml", text)
    text = re.sub(r"(netd import inetd)(?! /)", rf"\1 {own}/etc/inetd.conf", text)
    text = text.replace("netd import xinetd", f"netd import xinetd {own}/etc/xinetd.conf")
    text = text.replace("netd import systemd ", "netd import systemd ./")
    text = re.sub(r"(netd import (\w+) .*)-o netd\.yaml", r"\1-o \2.yaml", text)
    text = re.sub(r"(netd probe(?!.*--rate))", r"\1 --rate 20/s", text)
    return re.sub(r"--every \d+s", "--every 100ms", text)


class Session:
    """A shell's place: a directory, an environment, and the programs that run in the background."""

    def __init__(self, own: Path, control: str, stack: contextlib.ExitStack) -> None:
        self._own = own
        self._stack = stack
        self._numbers = itertools.count()
        self._environment = {
            **os.environ,
            "HOME": str(own),
            "LC_ALL": "C.UTF-8",
            "NETD_CONTROL": control,
            "PATH": f"{own}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def type(self, command: Command) -> None:
        """Type a command, and compare what it prints with the page."""
        text = here(command.text, self._own)
        if re.match(r"netd run ", text):
            self._serve(text)
            return
        wrong = any(word in line for word in MISTAKES for line in command.shown)
        if wrong:
            self._make_mistakes()
        codes = (78,) if wrong else next((codes for form, codes in CODES.items() if re.match(form, text)), (0,))
        stops = re.fullmatch(UNTIL_STOPPED, text)
        with subprocess.Popen(
            ["sh", "-c", text],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._own,
            env=self._environment,
            text=True,
            start_new_session=True,
        ) as process:
            assert process.stdin
            assert process.stdout
            if stops:
                process.stdin.write("hello\n")
                process.stdin.flush()
            first = process.stdout.readline() if stops else ""
            if stops:
                os.killpg(process.pid, signal.SIGINT)
            output = first + process.communicate(timeout=60)[0]
        assert process.returncode in ((0, 130, -signal.SIGINT) if stops else codes), (
            f"{command.page}:{command.line}: {text}\n{output}"
        )
        if command.shown and not re.fullmatch(NOT_COMPARED, command.text):
            wanted = [SHOWN.get(line, re.escape(line)) for line in command.shown if line]
            # Which user the workers have, the host decides.
            lines = [line for line in output.splitlines() if line and ": notice: " not in line]
            shown = [re.sub(r"valid, \d notices?;", "valid;", line) for line in lines]
            assert len(wanted) <= len(shown), f"{command.page}:{command.line}: {output}"
            assert all(map(re.fullmatch, wanted, shown)), f"{command.page}:{command.line}: {output}"

    def _make_mistakes(self) -> None:
        """Write a config with the mistakes of a page."""
        file = self._own / "netd.yaml"
        text = file.read_text()
        for mistake, right in MISTAKES.items():
            text = text.replace(right, mistake, 1)
        file.write_text(text)

    def _serve(self, text: str) -> None:
        """Start a netd beside the first one, and wait until it serves."""
        process = self._stack.enter_context(
            subprocess.Popen(
                ["sh", "-c", f"exec {text}"],
                stderr=subprocess.PIPE,
                cwd=self._own,
                env={**self._environment, "NETD_CONTROL": f"{self._own}/{next(self._numbers)}.sock"},
                text=True,
            )
        )
        self._stack.callback(process.terminate)
        assert process.stderr
        lines = [""]
        while '"netd_started"' not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], f"{text}\n{''.join(lines)}"


def write_files(page: str, own: Path) -> None:
    """Write the files of a page, the blocks of which begin with their name."""
    for block in blocks(page):
        if name := re.fullmatch(r"# (\w+\.(?:py|yaml))", block.lines[0]):
            text = "\n".join(block.lines).partition("\n$ ")[0]
            (own / name[1]).write_text(text.replace("/tmp/", f"{own}/") + "\n")


@contextlib.contextmanager
def session(page: str, own: Path) -> Iterator[Session]:
    """A place with the files of a page, beside a netd with the services that pages speak of."""
    (etc := own / "etc" / "netd").mkdir(parents=True)
    (etc / "conf.d").mkdir()
    for directory in (".config/fish/completions", ".venv/bin", "bin", "run/netd", "var/lib/node_exporter"):
        (own / directory).mkdir(parents=True)
    for name, text in SOURCES.items():
        (own / name).write_text(text)
    issued = Authority(own, "ca").issue("host")
    tls = f"{{certificate: {issued.certificate}, key: {issued.key}}}"
    secure = f"services:\n  secure: {{type: echo, listen: ['tls://*:7443'], tls: {tls}}}\n"
    (etc / "conf.d" / "secure.yaml").write_text(secure)
    for place in (own / "bin", own / ".venv" / "bin"):
        (place / "netd").write_text(f'#!/bin/sh\nexec {sys.executable} -m netd "$@"\n')
        (place / "netd").chmod(0o755)
    write_files(page, own)
    with daemon(SERVICES, etc) as netd, contextlib.ExitStack() as stack:
        (own / "run" / "netd" / "control.sock").symlink_to(netd.control)
        yield Session(own, netd.control, stack)


@pytest.mark.parametrize("page", TYPED)
def test_commands_of_the_page_do_what_it_says(page: str, tmp_path: Path) -> None:
    need("nc", "curl", "openssl")

    def run() -> None:
        with session(page, tmp_path) as typing:
            for command in TYPED[page]:
                typing.type(command)

    in_namespace(run, *(f"addr add {address}/32 dev lo" for address in ADDRESSES))


def test_commands_of_these_pages_are_typed() -> None:
    pages = {"README.md", *(f"docs/{name}.md" for name in ("operating", "talk", "tls", "writing-services"))}
    assert pages | {"man/netd.8", "man/netd-probe.1", "man/netd-talk.1"} <= TYPED.keys()


def requests(form: str) -> list[str]:
    """The requests of a form on the page of the control socket: without what may be left out, and with each of it."""
    optional = re.findall(r" \[([^]]+)\]", form)
    needed = re.sub(r" \[[^]]+\]", "", form)
    found = [needed, *(f"{needed} {one}" for choice in optional for one in choice.split(" | "))]
    named = [one.replace("NAME", "web" if one.startswith("target") else "echo") for one in found]
    return [re.sub("|".join(VALUES), lambda word: VALUES[word[0]], one) for one in named]


def test_requests_of_the_control_socket_are_answered(tmp_path: Path) -> None:
    sent = [one for block in blocks(REQUESTS) for form in block.lines for one in requests(form)]
    stops = [one for one in sent if one.startswith("stop")]

    def send(netd: Daemon, request: str) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(netd.control)
            connection.sendall(f"{request}\n".encode())
            with connection.makefile() as stream:
                answer = json.loads(stream.readline())
        # A command that is known, with arguments that it takes; what it names need not be there.
        assert answer["ok"] or answer["exit_code"] == 1, (request, answer)

    def run() -> None:
        with daemon(SERVICES, tmp_path) as netd:
            for request in sent:
                if request not in stops:
                    send(netd, request)
            with socket.create_connection(("127.0.0.1", 7007), 30) as held:
                held.sendall(b"x")
                assert held.recv(1) == b"x"  # so that netd still runs after `stop`, for `stop now`
                for request in stops:
                    send(netd, request)
                assert netd.process.wait(30) == 0

    assert stops == ["stop", "stop now"]
    assert len(sent) > 30
    in_namespace(run, *(f"addr add {address}/32 dev lo" for address in ADDRESSES))
