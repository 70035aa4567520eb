"""`netd probe` on the command line, with a real netd."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.client.probe.relay import Relay
from tests.support.daemon import Daemon, daemon
from tests.support.namespaces import in_namespace
from tests.support.programs import started
from tests.support.sockets import free_port
from tests.support.waiting import until
from tests.terminal import Terminal

pytestmark = pytest.mark.slow  # real processes, dozens of them

CONFIG = """
daemon: {{drain: 1s}}
services:
  echo: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://{directory}/echo.sock"]}}
  pingpong: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://{directory}/pingpong.sock"]}}
  daytime: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://{directory}/daytime.sock"]}}
  time: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0, "unix://{directory}/time.sock"]}}
  rfc868: {{type: time, options: {{encoding: rfc868}}, listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
  discard: {{listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}}
"""
QUICK = ("--count", "10", "--rate", "100/s")


@pytest.fixture(scope="module")
def netd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    directory = tmp_path_factory.mktemp("probe")
    with daemon(CONFIG.format(directory=directory), directory) as running:
        yield running


def probe(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "netd", "probe", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def unused_url() -> str:
    """A URL at which nothing listens."""
    return f"tcp://127.0.0.1:{free_port()}"


@pytest.mark.parametrize("service", ["echo", "pingpong", "time", "daytime", "rfc868", "connect"])
def test_services_are_measured_over_all_transports(netd: Daemon, service: str) -> None:
    schemes = {"rfc868": ("tcp", "udp"), "connect": ("tcp", "unix")}.get(service, ("tcp", "udp", "unix"))
    urls = [netd.url("echo" if service == "connect" else service, scheme) for scheme in schemes]
    done = probe(*urls, "--service", service, *QUICK, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(done.stdout)
    assert [target["target"] for target in result["targets"]] == urls
    for target in result["targets"]:
        assert (target["service"], target["sent"], target["received"], target["lost"]) == (service, 10, 10, 0)
        assert 0 < target["rtt"]["min"] <= target["rtt"]["median"] <= target["rtt"]["max"] < 60
        assert (target["connections"] > 0) == (not target["target"].startswith("udp:"))
        if service in ("time", "rfc868"):
            # Both clocks are the one of this host.
            assert abs(target["offset"]) <= target["offset_margin"] <= 0.5
    assert result["interrupted"] is False


def test_summary_has_figures_and_a_histogram(netd: Daemon) -> None:
    done = probe(netd.url("echo", "udp"), netd.url("echo"), *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.split("\n\ntcp://")
    for text in (first, second):
        assert "sent 10, received 10, lost 0 (0 %), duplicated 0, reordered 0, corrupted 0" in text
        assert re.search(r"^ +MIN +MEAN +MEDIAN +P90 +P99 +MAX +JITTER$", text, re.M)
        assert re.search(r"^rtt +(\d[\d.]* (us|ms|s) *){7}$", text, re.M)
        bars = re.findall(r"^up to +[\d.]+ [mu]?s  (.*?) ?(\d+)$", text, re.M)
        assert sum(int(number) for _, number in bars) == 10
        assert all(bool(bar) == (number != "0") for bar, number in bars)
    assert re.search(r"^connect +\d", second, re.M)
    assert "connect" not in first


def test_csv_has_a_row_for_each_question(netd: Daemon) -> None:
    silent = netd.url("discard", "udp")
    done = probe(netd.url("echo"), silent, "--count", "5", "--rate", "100/s", "--timeout", "2s", "--csv")
    assert done.returncode == 1
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["outcome"] for row in rows] == ["received"] * 5 + ["timed_out"] * 5
    assert [int(row["number"]) for row in rows] == [0, 1, 2, 3, 4] * 2
    dues = [float(row["due"]) for row in rows[:5]]
    assert [round(due - dues[0], 3) for due in dues] == [0, 0.01, 0.02, 0.03, 0.04]
    assert all(0 < float(row["rtt"]) < 60 for row in rows[:5])
    assert {row["rtt"] for row in rows[5:]} == {""}
    assert rows[5]["target"] == silent


def test_prometheus_text_has_a_gauge_for_each_figure(netd: Daemon) -> None:
    url, dead = netd.url("time"), unused_url()
    done = probe(url, dead, "--service", "time", *QUICK, "--prometheus")
    assert done.returncode == 1
    families = list(text_string_to_metric_families(done.stdout))
    assert {family.type for family in families} == {"gauge"}
    samples = {}
    for sample in (sample for family in families for sample in family.samples):
        which = sample.labels.get("figure") or sample.labels.get("reason")
        samples[sample.name, sample.labels.get("target"), which] = sample.value
    assert samples["netd_probe_success", url, None] == 1
    assert samples["netd_probe_success", dead, None] == 0
    assert samples["netd_probe_received", url, None] == samples["netd_probe_sent", url, None] == 10
    assert samples["netd_probe_losses", dead, "refused"] == samples["netd_probe_lost", dead, None] == 10
    assert 0 < samples["netd_probe_rtt_seconds", url, "median"] <= samples["netd_probe_rtt_seconds", url, "max"]
    assert samples["netd_probe_connect_seconds", url, "median"] > 0
    assert abs(samples["netd_probe_clock_offset_seconds", url, None]) <= 0.5
    assert ("netd_probe_rtt_seconds", dead, "median") not in samples
    assert samples["netd_probe_time_seconds", None, None] > 1.7e9


def test_plots_are_written_as_svg_and_png(netd: Daemon, tmp_path: Path) -> None:
    urls = [netd.url("echo"), netd.url("echo", "udp"), unused_url()]
    done = probe(*urls, *QUICK, "--plot", str(tmp_path / "a.svg"))
    assert (done.returncode, done.stderr) == (1, "")
    drawing = ET.parse(tmp_path / "a.svg").getroot()
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    texts = [" ".join("".join(text.itertext()).split()) for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert f"{urls[0]} (10 of 10)" in texts
    assert f"{urls[2]} (0 of 10)" in texts
    # Each answer is a mark, and one more is in the legend.
    uses = [use.get("{http://www.w3.org/1999/xlink}href") for use in drawing.iter("{http://www.w3.org/2000/svg}use")]
    assert max(uses.count(use) for use in uses) >= 10
    done = probe(*urls, *QUICK, "--plot", str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_plot_without_answers_is_written(tmp_path: Path) -> None:
    assert probe(unused_url(), *QUICK, "--plot", str(tmp_path / "a.svg")).returncode == 1
    assert ET.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_missing_matplotlib_is_an_error_before_the_first_question(netd: Daemon, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('not here')\n")
    done = subprocess.run(
        [sys.executable, "-m", "netd", "probe", netd.url("echo"), "--plot", str(tmp_path / "a.svg")],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (64, "")
    assert done.stderr == "netd: --plot needs matplotlib: pip install 'netd[plot]'\n"


def test_probe_imports_no_heavy_library_at_start() -> None:
    code = "import sys, netd.cli.probe; print({'rich', 'matplotlib', 'prometheus_client', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("thresholds", "code", "state"),
    [
        (("--crit", "rtt=1h,loss=50%"), 0, "OK"),
        (("--warn", "rtt=0.000001ms", "--crit", "rtt=1h"), 1, "WARNING"),
        (("--warn", "rtt=1h", "--crit", "p99=0.000001ms"), 2, "CRITICAL"),
    ],
)
def test_check_has_a_state_and_performance_data(
    netd: Daemon, thresholds: tuple[str, ...], code: int, state: str
) -> None:
    done = probe(netd.url("echo"), *QUICK, *thresholds)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(f"PROBE {state} - {netd.url('echo')} ")
    assert re.search(r" \| rtt=0\.\d+s;[\d.]*;[\d.]*;0; .*loss=0%;;[\d]*;0;100 wrong=0;;;0;\n$", done.stdout)
    done = probe(netd.url("echo"), *QUICK, *thresholds, "--json")
    assert done.returncode == code
    assert json.loads(done.stdout)["state"] == state


def test_check_of_an_unreachable_target_is_critical_or_unknown(netd: Daemon) -> None:
    done = probe(unused_url(), netd.url("echo"), *QUICK, "--warn", "loss=1%")
    assert done.returncode == 2
    assert done.stdout.startswith("PROBE CRITICAL - 1 of 2 targets: ")
    assert "refused: Connection refused" in done.stdout
    done = probe("tcp://a..b:7", "--warn", "loss=1%")
    assert (done.returncode, done.stdout.partition(" -")[0]) == (3, "PROBE UNKNOWN")
    done = probe("tcp://127.0.0.1", "--warn", "loss=1%")
    assert (done.returncode, done.stderr) == (3, "")
    assert done.stdout.startswith("PROBE UNKNOWN - tcp://127.0.0.1: expected a URL such as")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--warn", "rrt=5ms"], "'--warn': unknown figure 'rrt'; did you mean 'rtt'?"),
        (["--crit=loss=1"], "'--crit': expected a loss such as 1%, got '1'"),
        (["--warn", "a|b"], "'--warn': unknown figure 'a/b'"),
        (["--interval", "soon", "--crit", "rtt=1s"], "'--interval': expected a duration"),
        (["--crit", "rtt=1s", "--critical", "rtt=1s"], "No such option"),
        (["--crit", "rtt=1s", "--json", "--csv"], "--json and --csv exclude each other"),
        (["--crit"], "Option '--crit' requires an argument"),
    ],
)
def test_usage_error_of_a_check_is_unknown(arguments: list[str], problem: str) -> None:
    done = probe("udp://127.0.0.1:7", *arguments)
    assert (done.returncode, done.stderr) == (3, "")
    assert re.match("PROBE UNKNOWN - [^|\\n]+\\n$", done.stdout)
    assert problem in done.stdout


def test_wrong_answers_exit_with_1(netd: Daemon) -> None:
    done = probe(netd.url("daytime", "udp"), "--service", "echo", *QUICK, "--timeout", "2s", "--json")
    [target] = json.loads(done.stdout)["targets"]
    assert done.returncode == 1
    assert (target["received"], target["corrupted"], target["losses"]["timed_out"]) == (0, 10, 10)
    assert re.match(r'expected the 64 octets of the question, got \d+ octets: "', target["wrong"])


def test_single_damaged_answer_exits_with_1(netd: Daemon) -> None:
    with Relay(netd.port("echo", "udp"), 1, damage=0.2) as relay:
        done = probe(relay.url, "--service", "echo", "--count", "40", "--rate", "200/s", "--timeout", "1s")
    assert relay.damaged > 0
    assert f"received {40 - relay.damaged}" in done.stdout
    assert f"corrupted {relay.damaged}" in done.stdout
    assert done.returncode == 1


def test_each_kind_of_loss_has_its_message(netd: Daemon, tmp_path: Path) -> None:
    urls = [unused_url(), f"unix://{tmp_path}/no.sock", "udp://a..b:7", netd.url("discard", "udp")]
    done = probe(*urls, "--count", "3", "--rate", "100/s", "--timeout", "2s")
    assert (done.returncode, done.stderr) == (1, "")
    assert "3 refused: Connection refused" in done.stdout
    assert "3 unreachable: No such file or directory" in done.stdout
    assert "1 unresolved: encoding with 'idna' codec failed" in done.stdout
    assert "3 timed out: no right answer in time" in done.stdout


def test_unreachable_network_and_resolver_are_reported() -> None:
    """In a network that has nothing but loopback."""

    def run() -> None:
        done = probe("udp://192.0.2.1:7", "tcp://192.0.2.1:7", "tcp://name.invalid:7", "--count", "2", "--json")
        targets = json.loads(done.stdout)["targets"]
        assert [target["losses"]["unreachable"] for target in targets] == [2, 2, 0]
        assert targets[0]["reasons"] == {"unreachable": "Network is unreachable"}
        assert targets[2]["losses"]["unresolved"] == 1
        assert done.returncode == 1

    in_namespace(run)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["udp://192.0.2.1:7", "--rate", "101/s"], "--flood-limit allows 100/s"),
        (["udp://192.0.2.1:7", "tcp://192.0.2.2:7", "--rate", "51/s"], "102 questions a second would leave this host"),
        (["udp://127.0.0.1:7", "--rate", "50/s", "--interval", "1s"], "give one of them"),
        (["udp://127.0.0.1:7", "--rate", "1000000/s"], "more than 100000 questions a second"),
        (["udp://127.0.0.1:7", "--rate", "100000/s", "--timeout", "10s"], "more than 500000 questions"),
        (["udp://127.0.0.1:7", "--service", "connect"], "a datagram service has no connections"),
        (["udp://127.0.0.1:7", "--size", "8"], "expected a size from 41"),
        (["udp://*:7"], "is not an address to connect to"),
        (["udp://127.0.0.1:0"], "is not an address to connect to"),
        (["systemd://x"], "systemd:// is for listeners"),
        (["tcp://127.0.0.1:7?backlog=1"], "socket options are for listeners"),
        (["127.0.0.1:7"], "expected a URL"),
        (["udp://127.0.0.1:7", "--plot", "a.gif"], "ends in .svg or .png"),
        (["udp://127.0.0.1:7", "--interval", "soon"], "expected a duration"),
        (["udp://127.0.0.1:7", "--rate", "50/s burst 3"], "expected a rate such as 50/s"),
        (
            ["udp://127.0.0.1:7", "--json", "--csv", "--prometheus"],
            "--json and --csv and --prometheus exclude each other",
        ),
        (["udp://127.0.0.1:7", "--prometheus", "--json"], "--json and --prometheus exclude each other"),
        (["udp://127.0.0.1:7", "--service", "gopher"], "'gopher' is not one of"),
        ([], "Missing argument"),
    ],
)
def test_usage_errors_exit_with_64(arguments: list[str], problem: str) -> None:
    done = probe(*arguments)
    assert (done.returncode, done.stdout) == (64, "")
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_flood_limit_does_not_apply_to_loopback(netd: Daemon) -> None:
    assert probe(netd.url("echo"), "--rate", "500/s", "--count", "20").returncode == 0
    done = probe("tcp://a..b:7", netd.url("echo"), "--rate", "500/s", "--count", "2")
    assert done.returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_run_prints_its_figures(netd: Daemon, number: int) -> None:
    before = sum(service["requests"] for service in netd.ask("status")["services"])
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "netd", "probe", netd.url("echo", "udp")]
    with started(*command, "--count", "0", "--rate", "100/s", "--json", stdout=pipe, stderr=pipe, text=True) as running:
        until(lambda: sum(service["requests"] for service in netd.ask("status")["services"]) > before + 20)
        running.send_signal(number)
        out, errors = running.communicate(timeout=20)
    result = json.loads(out)
    assert (running.returncode, errors) == (0, "")
    assert result["interrupted"] is True
    assert result["targets"][0]["received"] >= 20
    assert result["targets"][0]["lost"] == 0


def test_duration_ends_the_run(netd: Daemon) -> None:
    done = probe(netd.url("echo"), "--duration", "300ms", "--rate", "100/s", "--json")
    assert json.loads(done.stdout)["targets"][0]["sent"] == 30


def test_terminal_shows_a_live_table_and_then_only_the_summary(netd: Daemon) -> None:
    leader, follower = pty.openpty()
    url = netd.url("echo", "udp")
    arguments = [url, "--duration", "1s", "--rate", "50/s"]
    with started(
        *(sys.executable, "-m", "netd", "probe", *arguments),
        stdin=follower, stdout=follower, stderr=follower, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as running:  # fmt: skip
        os.close(follower)
        output = b""
        try:
            while piece := os.read(leader, 65536):
                output += piece
        except OSError:
            pass  # the other end is closed
        os.close(leader)
        assert running.wait(20) == 0
    live, summary = output.rsplit(b"\x1b[2K", 1)  # the last line of the table that is erased
    assert b"target" in live
    assert url.encode() in live
    assert b"sent 50, received 50" in summary
    assert b"\x1b[?25h" in output  # the cursor is shown again


def test_interrupt_leaves_only_a_summary_that_fits_the_terminal(netd: Daemon) -> None:
    urls = [netd.url("echo", "udp"), netd.url("echo")]
    command = [sys.executable, "-m", "netd", "probe", *urls, "--count", "0", "--rate", "50/s"]
    terminal = Terminal(command, 60, 60, {**os.environ, "TERM": "xterm"})
    try:
        terminal.wait(lambda: any(line.startswith("target ") for line in terminal.lines))
        shown = "\n".join(terminal.lines)
        assert all(f":{url.rpartition(':')[2]}" in shown for url in urls), "the ports tell the targets apart"
        terminal.type(b"\x03")
        terminal.read_rest()
        assert terminal.process.returncode == 0
        lines = [line for line in terminal.lines if line]
        assert lines[0].removeprefix("^C") == f"{urls[0]}, echo"
        assert "MEDIAN" in [line.split()[0] for line in lines], "a row for each figure"
        assert lines[-3].split() == ["TARGET", "SENT", "LOSS", "MEDIAN", "P99", "MAX"]
    finally:
        terminal.close()


def test_json_names_the_address_that_answered(netd: Daemon) -> None:
    port = netd.port("echo")
    done = probe(f"tcp://localhost:{port}", "--service", "echo", *QUICK, "--json")
    assert json.loads(done.stdout)["targets"][0]["address"] == f"127.0.0.1:{port}"
