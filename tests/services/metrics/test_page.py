"""The status page in a real browser, beside a real daemon: it shows the values of the counters."""

import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.daemon.clients import echoed, load, talking
from tests.support.daemon import Daemon, daemon
from tests.support.programs import need
from tests.support.sockets import free_port
from tests.support.waiting import until
from tests.transport.stream.targets import closed_port, url_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SWITCHES = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHONE = {"width": 390, "height": 844}
CONFIG = """
daemon: {workers: 2, heartbeat: 5s}
log: {connections: off}
services:
  echo: {listen: [tcp://127.0.0.1:0, udp://127.0.0.1:0]}
  closed: {type: echo, listen: [tcp://127.0.0.1:0], access: {deny: [local]}}
  time: {enabled: false, listen: [tcp://127.0.0.1:0]}
  metrics: {listen: ["tcp://127.0.0.1:PORT"]}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    need("chromium")
    with sync_playwright() as playwright:
        expect.set_options(timeout=30_000)  # instead of 5 s: the browser and netd share a busy machine
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=SWITCHES)
        yield started
        started.close()


class Complaints(list[str]):
    """The errors of a page, and what its Content-Security-Policy blocked."""

    def of(self, page: Page) -> Page:
        page.on("console", lambda message: self.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        return page


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    """Checked after each test."""
    found = Complaints()
    yield found
    assert found == []


def open_page(browser: Browser, running: Daemon, complaints: Complaints, **context: Any) -> Page:
    page = complaints.of(browser.new_context(**context).new_page())
    page.set_default_timeout(30_000)
    page.goto(f"http://127.0.0.1:{running.port('metrics')}/")
    return page


def shown(page: Page, service: str) -> dict[str, int]:
    """The numbers in a row of the table."""
    cells = page.locator(f'tr[data-service="{service}"] [data-number]').all()
    texts = {str(cell.get_attribute("data-number")): cell.inner_text().replace(",", "") for cell in cells}
    return {name: int(text) for name, text in texts.items() if not name.endswith("_bytes")}


def fact(page: Page, name: str) -> str:
    return page.locator(f'[data-fact="{name}"]').inner_text()


def numbers(running: Daemon, service: str) -> dict[str, int]:
    """The same numbers from the control socket."""
    [row] = [one for one in running.ask("status")["services"] if one["service"] == service]
    return {name: row[name] for name in ("connections", "requests", "refused", "dropped", "failed")}


def test_values_are_those_of_the_counters_and_follow_them(
    browser: Browser, tmp_path: Path, complaints: Complaints
) -> None:
    with daemon(CONFIG.replace("PORT", "0"), tmp_path) as running:
        load(running, 20)
        page = open_page(browser, running, complaints)
        expect(page.locator("#state")).to_have_text("healthy")
        host = socket.gethostname()
        expect(page).to_have_title(f"netd on {host}: healthy")
        expect(page.locator("h1")).to_contain_text(f"netd on {host} ")
        for rounds in (0, 1200):
            load(running, rounds)
            with socket.create_connection(("127.0.0.1", running.port("echo"))):
                until(lambda: numbers(running, "echo")["connections"] == 1)
                requests = 2 * (20 + rounds) + (rounds > 0)  # the open connection has sent nothing yet
                wanted = {"connections": 1, "requests": requests, "refused": 0, "dropped": 0, "failed": 0}
                assert numbers(running, "echo") == wanted
                until(lambda: shown(page, "echo") == numbers(running, "echo"))
                assert shown(page, "echo") == wanted
                until(lambda: shown(page, "closed") == numbers(running, "closed"))
                assert shown(page, "closed")["refused"] == 20 + rounds
            until(lambda: shown(page, "echo")["connections"] == 0)
        status = running.ask("status")
        assert fact(page, "Process") == str(status["pid"])
        assert fact(page, "Workers") == "2"
        assert fact(page, "Config") == f"{tmp_path}/netd.yaml"
        assert page.locator("#workers li").count() == 2
        row = page.locator('tr[data-service="time"]')
        assert "off (by the config)" in row.inner_text()
        assert running.url("echo", "udp") in page.locator('tr[data-service="echo"]').inner_text()
        # One service alone, in the plots.
        expect(page.locator("figcaption").first).to_contain_text("/s")
        page.locator("#chosen").select_option("time")
        expect(page.locator("figcaption").nth(1)).to_have_text("open 0")
        assert running.netd("disable", "echo").returncode == 0
        expect(page.locator('tr[data-service="echo"]')).to_contain_text("by netd disable, until the next reload")


def test_present_trouble_is_a_notice_and_past_trouble_has_its_time(
    browser: Browser, tmp_path: Path, complaints: Complaints
) -> None:
    config = CONFIG.replace("PORT", "0")
    with daemon(config, tmp_path) as running:
        page = open_page(browser, running, complaints)
        expect(page.locator("#state")).to_have_text("healthy")
        notice = page.locator("#rejected")
        expect(notice).to_be_hidden()
        (tmp_path / "netd.yaml").write_text("services: 7\n")
        assert running.netd("reload").returncode == 78
        expect(notice).to_contain_text(f"{tmp_path}/netd.yaml:1:11: ")
        (tmp_path / "netd.yaml").write_text(config)
        assert running.netd("reload").returncode == 0
        expect(notice).to_be_hidden()
        until(lambda: re.fullmatch(r"1, \d+s ago", fact(page, "Reloads rejected")))
        os.kill(running.worker, signal.SIGKILL)
        until(lambda: re.fullmatch(r"1, \d+s ago", fact(page, "Workers lost")))
        assert running.netd("ban", "add", "192.0.2.1").returncode == 0
        until(lambda: fact(page, "Sources banned") == "1")
        expect(page.locator("#state")).to_have_text("healthy")
        assert page.locator("#facts .bad").count() == 0


def test_octets_of_an_open_connection_and_reasons_are_shown(
    browser: Browser, tmp_path: Path, complaints: Complaints
) -> None:
    with daemon(CONFIG.replace("PORT", "0"), tmp_path) as running:
        load(running, 3)
        page = open_page(browser, running, complaints)
        row = page.locator('tr[data-service="echo"]')
        with talking(running.port("echo")) as connection:
            echoed(connection, b"x" * 2**20)
            expect(row.locator('[data-number="received_bytes"]')).to_have_text("1.0 MiB")
            expect(row.locator('[data-number="sent_bytes"]')).to_have_text("1.0 MiB")
        expect(page.locator('tr[data-service="closed"]')).to_contain_text("access 3")


def test_service_with_a_program_that_failed_or_a_target_out_of_service_is_shown_as_failing(
    browser: Browser, tmp_path: Path, complaints: Complaints
) -> None:
    agent = "  agent: {type: exec, listen: [tcp://127.0.0.1:0], options: {command: [/bin/false]}}\n"
    with closed_port() as one, closed_port() as other:
        targets = [url_of(one), url_of(other)]
    web = f"  web: {{type: forward, listen: [tcp://127.0.0.1:0], options: {{to: {json.dumps(targets)}}}}}\n"
    with daemon(CONFIG.replace("PORT", "0") + agent + web, tmp_path) as running:
        page = open_page(browser, running, complaints)
        row = page.locator('tr[data-service="agent"]')
        expect(row).not_to_contain_text("failing")
        with socket.create_connection(("127.0.0.1", running.port("agent")), 10) as client:
            assert client.recv(1) == b""
        expect(row).to_contain_text("failing: exit code 1, ")
        expect(row.locator("th .bad")).to_have_count(1)
        row = page.locator('tr[data-service="web"]')
        expect(row).not_to_contain_text("targets")
        running.ask("target", "web", "drain", targets[0])
        expect(row).to_contain_text("targets: 1 of 2 up")


def test_page_does_not_count_itself(browser: Browser, tmp_path: Path, complaints: Complaints) -> None:
    with daemon(CONFIG.replace("PORT", "0"), tmp_path) as running:
        page = open_page(browser, running, complaints)
        until(lambda: shown(page, "metrics").get("requests", 0) > 2)
        caption = page.locator("figcaption").first
        expect(caption).to_have_text("requests 0/s")
        page.locator("#chosen").select_option("metrics")
        expect(caption).not_to_have_text("requests 0/s")


def test_time_under_the_cursor_is_shown_and_one_rate_per_fact(
    browser: Browser, tmp_path: Path, complaints: Complaints
) -> None:
    with daemon(CONFIG.replace("PORT", "0"), tmp_path) as running:
        page = open_page(browser, running, complaints, timezone_id="UTC")
        page.locator("#chosen").select_option("closed")
        until(lambda: shown(page, "closed") == numbers(running, "closed"))
        load(running, 80)
        caption = page.locator("figcaption").nth(2)
        cell = page.locator('tr[data-service="closed"] [data-number="refused"] + .fine')
        expect(cell).to_contain_text("/s")
        both = page.evaluate(
            """() => new Promise(done => new MutationObserver(() => done([
                document.querySelectorAll("figcaption")[2].textContent,
                document.querySelector('tr[data-service="closed"] [data-number="refused"] + .fine').textContent,
            ])).observe(document.querySelectorAll("figcaption")[2], {childList: true, subtree: true}))"""
        )
        assert both[0].startswith(f"refused {both[1]}"), "the same rate in both places"
        assert page.locator("#time").inner_text() == ""
        plot = page.locator(".u-over").nth(2)
        box = plot.bounding_box()
        assert box
        page.mouse.move(box["x"] + box["width"] - 3, box["y"] + 20)
        expect(page.locator("#time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d"))
        assert caption.inner_text()


def test_page_survives_a_restart_of_the_daemon(browser: Browser, tmp_path: Path) -> None:
    port = free_port()
    complaints = Complaints()
    with daemon(CONFIG.replace("PORT", str(port)), tmp_path) as running:
        load(running, 50)
        page = open_page(browser, running, complaints)
        until(lambda: shown(page, "echo") == numbers(running, "echo"))
        first = fact(page, "Process")
        assert complaints == []
    trouble = page.locator("#trouble")
    expect(trouble).to_contain_text("No answer from netd since")
    expect(page.locator("#state")).to_have_text("no answer")
    said = trouble.inner_text()
    with daemon(CONFIG.replace("PORT", str(port)), tmp_path) as running:
        assert said == trouble.inner_text() or trouble.is_hidden()
        expect(trouble).to_be_hidden()
        expect(page.locator("#state")).to_have_text("healthy")
        until(lambda: fact(page, "Process") == str(running.ask("status")["pid"]))
        assert fact(page, "Process") != first
        load(running, 3)
        until(lambda: shown(page, "echo") == numbers(running, "echo"))
        assert shown(page, "echo")["requests"] == 6
        for caption in page.locator("figcaption").all_inner_texts():
            assert "-" not in caption
    # The browser itself logs that the connection was refused.
    assert all("ERR_CONNECTION_REFUSED" in one or "ERR_EMPTY_RESPONSE" in one for one in complaints), complaints


def test_hidden_tab_sends_no_requests(browser: Browser, tmp_path: Path, complaints: Complaints) -> None:
    with daemon(CONFIG.replace("PORT", "0"), tmp_path) as running:
        page = open_page(browser, running, complaints)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        with page.expect_request("**/status.json"):
            pass
        hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        tell = "document.dispatchEvent(new Event('visibilitychange'))"
        page.evaluate(hide % "true" + tell)
        page.wait_for_load_state("networkidle")
        before = len(asked)
        page.evaluate("new Promise(done => setTimeout(done, 5000))")  # long enough for two requests of a visible page
        assert len(asked) == before
        with page.expect_request("**/history.json"):
            page.evaluate(hide % "false" + tell)
        assert asked[before] == "status.json"


def test_text_from_the_config_is_shown_as_text(browser: Browser, tmp_path: Path, complaints: Complaints) -> None:
    place = tmp_path / "<img src=x onerror=alert(1)>"
    place.mkdir()
    with daemon(CONFIG.replace("PORT", "0"), place) as running:
        page = open_page(browser, running, complaints)
        until(lambda: fact(page, "Config") == f"{place}/netd.yaml")
        assert page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_is_readable_in_dark_mode_and_on_a_phone(
    browser: Browser, tmp_path: Path, complaints: Complaints, scheme: str
) -> None:
    names = [f"{number}-{'long' * 15}" for number in range(30)]
    many = "".join(f"  {name}: {{type: echo, enabled: false, listen: [tcp://127.0.0.1:0]}}\n" for name in names)
    with daemon(CONFIG.replace("PORT", "0") + many, tmp_path) as running:
        page = open_page(browser, running, complaints, viewport=PHONE, is_mobile=True, color_scheme=scheme)
        expect(page.locator("#services tr")).to_have_count(34)
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        table = page.locator(".scroll")
        assert table.evaluate("table => table.scrollWidth <= table.clientWidth")
        colours = page.evaluate(
            """names => Object.fromEntries(names.map(name => {
                const style = getComputedStyle(document.documentElement);
                return [name, style.getPropertyValue(`--${name}`).trim()];
            }))""",
            ["back", "card", "text", "dim", "good", "bad", "link", "first", "second", "third"],
        )
        assert (luminance(colours["back"]) < 0.5) is (scheme == "dark")
        for ground in (colours.pop("back"), colours.pop("card")):
            for name, colour in colours.items():
                assert contrast(colour, ground) >= 4.5, f"{name} on {ground} (WCAG 2, 1.4.3)"


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_page_without_scripts_refers_to_other_pages(browser: Browser, tmp_path: Path, complaints: Complaints) -> None:
    with daemon(CONFIG.replace("PORT", "0"), tmp_path) as running:
        page = open_page(browser, running, complaints, java_script_enabled=False)
        expect(page.locator(".notice").first).to_contain_text("JavaScript")
        assert page.locator(".notice a").first.get_attribute("href") == "status.json"


def test_rates_are_of_one_run_and_never_negative(browser: Browser, tmp_path: Path, complaints: Complaints) -> None:
    with daemon(CONFIG.replace("PORT", "0"), tmp_path) as running:
        page = open_page(browser, running, complaints)
        result = page.evaluate(
            """async () => {
                const {ofStatus, ofHistory, joined, columns, reference} = await import("./samples.js");
                const row = (service, requests, connections) =>
                    ({service, requests, connections, refused: 0, dropped: 0});
                const at = (started, seconds, ...services) =>
                    ofStatus({started, run: `7-${started}`, uptime_seconds: seconds, services});
                const history = ofHistory({times: [1001, 1006], services: {
                    echo: {requests: [10, 20], connections: [1, 2], refused: [0, 0], dropped: [0, 0]},
                    late: {requests: [null, 5], connections: [null, 1], refused: [null, 0], dropped: [null, 0]},
                }}, "7-1000");
                let known = joined([at(1000, 1.5, row("echo", 12, 1))], history);
                known = joined(known, [at(1000, 8, row("echo", 30, 3), row("late", 9, 1))]);
                known = joined(known, [at(1000, 10, row("echo", 1, 0), row("late", 19, 1))]);  // echo began anew
                known = joined(known, [at(1020, 1, row("echo", 2, 0))]);  // another run
                known = joined(known, [at(1020, 3, row("echo", 8, 4))]);
                return {
                    all: columns(known, "", ["requests", "connections"]),
                    late: columns(known, "late", ["requests", "connections"]),
                    reference: reference(known, known.length - 1).time,
                    old: joined(known, [at(5000, 1)]).length,
                };
            }"""
        )
        times = [1001, 1006, 1008, 1010, 1015.5, 1021, 1023]
        # From 1001 to 1008: 20 of echo. To 1010: echo is unknown, as it has begun anew, and late was not there yet.
        seconds = 20 / 7
        assert result["all"] == [
            times,
            [None, 2, pytest.approx(seconds), None, None, None, 3],
            [1, 3, 4, 1, None, 0, 4],
        ]
        assert result["late"] == [times, [None, None, None, None, None, None, None], [None, 1, 1, 1, None, None, None]]
        assert result["reference"] == 1021
        assert result["old"] == 1
