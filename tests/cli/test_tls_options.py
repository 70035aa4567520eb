"""`netd talk` and `netd probe` over TLS: with a server of Python, and with openssl s_server."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from prometheus_client.parser import text_string_to_metric_families

from netd.errors import UsageError
from tests.cli.commands import netd_process, run
from tests.cli.talking import talk
from tests.support.certificates import Authority
from tests.support.programs import need, started
from tests.support.sockets import free_port
from tests.support.tls_server import server_context, tls_server
from tests.support.waiting import until
from tests.terminal import Terminal

URL = "tls://localhost:{}"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def url(ca: Authority) -> Iterator[str]:
    with tls_server(server_context(ca.issue("server"))) as port:
        yield URL.format(port)


@pytest.mark.parametrize("command", ["talk", "probe"])
@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--insecure", "--cafile", "{ca}", "tls://localhost:1"], "--insecure and --cafile exclude each other"),
        (["--key", "{ca}", "tls://localhost:1"], "--key needs --cert"),
        (["--insecure", "tcp://localhost:1"], "--insecure is for a URL that begins with tls://"),
        (["--servername", "x", "tcp://localhost:1"], "--servername is for a URL that begins with tls://"),
        (["--cafile", "{empty}", "tls://localhost:1"], "--cafile {empty}: there is no certificate in PEM in it"),
        (["--cert", "{ca}", "tls://localhost:1"], "--cert {ca}: a certificate and its key in PEM are expected"),
        (
            ["--cert", "{cert}", "--key", "{key}", "tls://localhost:1"],
            "--cert {cert}, --key {key}: the key is not that",
        ),
    ],
)
def test_options_that_make_no_sense_are_an_error(
    ca: Authority, tmp_path: Path, command: str, options: list[str], problem: str
) -> None:
    (tmp_path / "empty").touch()
    names = {"ca": ca.certificate, "empty": tmp_path / "empty"}
    names |= {"cert": ca.issue("one").certificate, "key": ca.issue("two").key}
    with pytest.raises(UsageError, match=f"^{re.escape(problem.format(**names))}"):
        run(command, *(option.format(**names) for option in options))


@pytest.mark.parametrize(
    "options",
    [
        ["--cafile", "/proc/none"],
        ["--servername", "a b"],
        ["--servername", ""],
        ["--servername", "a..b"],
        ["--servername", "a" * 64],
        ["--cert", "/proc"],
    ],
)
def test_value_of_an_option_that_is_none_is_an_error(options: list[str]) -> None:
    with pytest.raises(click.BadParameter, match=r"expected a name|does not exist|is a directory"):
        run("talk", *options, "tls://localhost:1")


def probe(*arguments: object) -> tuple[int, str]:
    return run("probe", "--count", "2", "--rate", "100/s", *map(str, arguments))


def test_probe_shows_the_handshake_apart(ca: Authority, url: str) -> None:
    code, output = probe("--cafile", ca.certificate, url)
    assert code == 0
    rows = [line.split()[0] for line in output.splitlines() if line.endswith((" us", " ms", " -", " s"))]
    assert rows == ["rtt", "connect", "handshake", "sent"]
    [target] = json.loads(probe("--cafile", ca.certificate, "--json", url)[1])["targets"]
    assert target["received"] == 2
    assert 0 < target["handshake"]["median"] < 10
    families = text_string_to_metric_families(probe("--cafile", ca.certificate, "--prometheus", url)[1])
    gauges = {family.name: family.samples for family in families}
    assert {sample.labels["figure"] for sample in gauges["netd_probe_handshake_seconds"]} >= {"min", "median"}
    code, output = probe("--cafile", ca.certificate, "--crit", "handshake=1m", url)
    assert (code, output.startswith("PROBE OK - "), " handshake=0." in output) == (0, True, True)


def test_probe_of_a_server_that_is_not_verified_says_why(url: str) -> None:
    code, output = probe(url)
    assert code == 1
    [line] = [line for line in output.splitlines() if line.startswith("2 tls failed: ")]
    assert "certificate verify failed: " in line
    code, output = probe("--warn", "rtt=1s", url)
    assert (code, output.startswith("PROBE CRITICAL - ")) == (2, True)
    assert "tls_failed: certificate verify failed: " in output
    assert probe("--insecure", url)[0] == 0


def test_each_target_of_a_probe_has_its_own_name(ca: Authority, url: str) -> None:
    with tls_server(server_context(ca.issue("local", ("127.0.0.1",)))) as port:
        options = ("--cafile", ca.certificate, "--json")
        code, output = probe(*options, url, f"tls://127.0.0.1:{port}", URL.format(port))
        first, second, third = json.loads(output)["targets"]
        assert (code, first["received"], second["received"], third["received"]) == (1, 2, 2, 0)
        assert "Hostname mismatch" in third["reasons"]["tls_failed"]
        assert probe(*options, "--servername", "127.0.0.1", URL.format(port))[0] == 0


@pytest.mark.slow
def test_talk_over_tls_has_the_exit_codes_of_other_links(ca: Authority, url: str) -> None:
    done = talk("--cafile", str(ca.certificate), url, typed=b"hello\nbye\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"hello\nbye\n", b"")
    done = talk(url, typed=b"hello\n")
    assert (done.returncode, done.stdout) == (69, b"")
    assert re.fullmatch(rf"netd: {url}: certificate verify failed: .*\n", done.stderr.decode())
    done = talk("--insecure", "--every", "10ms", "--send", "{seq}", "--count", "2", url)
    assert (done.returncode, done.stdout) == (0, b"1\n2\n")


@pytest.mark.slow
def test_terminal_shows_what_secures_the_link(ca: Authority, url: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "netd", "talk", "--cafile", str(ca.certificate), url]
    with contextlib.closing(
        Terminal(command, 150, 10, {**os.environ, "TERM": "xterm-256color", "XDG_STATE_HOME": str(tmp_path)})
    ) as user:
        user.wait(lambda: any(line.startswith(">") for line in user.lines))
        head = "".join(user.lines[:3])
        assert f"talking to {url} (127.0.0.1:" in head
        assert "TLSv1.3, TLS_AES_256_GCM_SHA384, CN=server, issued by CN=Test CA, valid until 20" in head
        user.type(b"hello\r")
        user.wait(lambda: "hello" in user.lines)
        user.type(b"q\r")
        assert user.process.wait(20) == 0


@contextlib.contextmanager
def running(*words: object, port: int) -> Iterator[str]:
    """A server with TLS of another project: its URL."""
    with started(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        with socket.socket() as probing:
            until(lambda: process.poll() is not None or probing.connect_ex(("127.0.0.1", port)) == 0)
        assert process.poll() is None
        yield URL.format(port)


def s_server(ca: Authority, *options: object) -> contextlib.AbstractContextManager[str]:
    """openssl s_server, which sends each line back in reverse."""
    one, port = ca.issue("s_server"), free_port()
    own = ("-accept", f"127.0.0.1:{port}", "-cert", one.certificate, "-key", one.key)
    return running(need("openssl"), "s_server", *own, "-rev", "-quiet", *options, port=port)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_answers_clients(ca: Authority, version: str) -> None:
    alex = ca.issue("alex", client=True)
    own = ("--cafile", str(ca.certificate), "--cert", str(alex.certificate), "--key", str(alex.key))
    with s_server(ca, version, "-CAfile", ca.certificate, "-Verify", "1", "-verify_return_error") as where:
        done = talk(*own, where, typed=b"hello\n")
        assert (done.returncode, done.stdout) == (0, b"olleh\n"), done
        done = talk(*own[:2], where, typed=b"hello\n")
        assert (done.returncode, done.stdout) == (69 if version == "-tls1_2" else 1, b"")
        assert re.search(rb"alert (handshake failure|certificate required)|Connection reset", done.stderr), done
        asked = netd_process("probe", *own, "--service", "connect", "--count", "2", "--rate", "50/s", where)
        assert asked.returncode == 0, asked


@pytest.mark.slow
def test_ncat_answers_clients(ca: Authority) -> None:
    one, port = ca.issue("ncat"), free_port()
    own = ("--ssl-cert", one.certificate, "--ssl-key", one.key, "--keep-open", "--listen", "127.0.0.1", port)
    with running(need("ncat"), "--ssl", *own, "--exec", "/bin/cat", port=port) as where:
        assert probe("--cafile", ca.certificate, where)[0] == 0
        command = (sys.executable, "-m", "netd", "talk", "--cafile", str(ca.certificate), where)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            # The input stays open, since ncat drops the answer of its program at an end of file.
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"hello\n")
            process.stdin.flush()
            assert process.stdout.readline() == b"hello\n"
            process.communicate(b"bye\n", 20)
            assert process.returncode == 0
