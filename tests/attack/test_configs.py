"""Configs that cost time, memory or files: a reload refuses each, and netd goes on with the old one."""

import os
import time
from pathlib import Path

from tests.attack.conftest import Row
from tests.attack.processes import failures
from tests.daemon.clients import echoed, talking
from tests.support.daemon import daemon

ECHO = "services: {echo: {listen: [tcp://127.0.0.1:0]}}\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{place}: &a{place} [{', '.join([f'*a{place - 1}'] * 9)}]\n" for place in range(1, 10)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{place}: &a{place} [*a{place - 1}]\n" for place in range(1, 5000))


def _qotd(file: object) -> bytes:
    return f"services: {{qotd: {{listen: [tcp://127.0.0.1:0], options: {{file: {file}}}}}}}\n".encode()


WORKERS = ("0", "-1", "65", '"16"', "1.5", "Auto", "true", "1e1")
MAIN = {
    "bomb": BOMB.encode(),
    "chain of aliases": CHAIN.encode(),
    "tag": b"services: !!python/object/apply:os.system [true]\n",
    "100,000 levels": b"[" * 100_000,
    "100,000 mappings": b"{a: " * 100_000,
    "UTF-32": ECHO.encode("utf-32"),
    "more than 1 MiB": b"#" * (2**20 + 1),
    "octets": os.urandom(4096),
    "quotes of /dev/zero": _qotd("/dev/zero"),
    **{f"workers: {text}": f"daemon: {{workers: {text}}}\n{ECHO}".encode() for text in WORKERS},
}
INCLUDED = (
    "/dev/zero",
    "/proc/kmsg",
    "fifo",
    "directory",
    "netd.yaml",
    "loop",
    "nested.yaml",
    "bomb.yaml",
    "none.yaml",
)


def test_configs_that_are_refused(tmp_path: Path, row: Row) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "nested.yaml").write_text("include: [bomb.yaml]\n")
    (tmp_path / "bomb.yaml").write_text(BOMB)
    refused = {
        **MAIN,
        "quotes of a fifo": _qotd(tmp_path / "fifo"),
        **{f"include of {name}": f"include: [{name}]\n{ECHO}".encode() for name in INCLUDED},
    }
    main, slowest = tmp_path / "netd.yaml", 0.0
    with daemon(ECHO, tmp_path) as running, talking(running.port("echo")) as live:
        for name, content in refused.items():
            main.write_bytes(content)
            slowest = max(slowest, _refused(running.ask, name))
            echoed(live, b"still\n")
        for name in ("fifo", "directory", "loop"):
            main.unlink()
            (tmp_path / name).rename(main)
            slowest = max(slowest, _refused(running.ask, f"the config is a {name}"))
            main.rename(tmp_path / name)
            main.write_text(ECHO)
        assert running.ask("reload")["ok"]
        with talking(running.port("echo")):
            echoed(live, b"still\n")
        row(f"{len(refused) + 3} configs", f"each refused, in {slowest:.2f} s or less; the connection lives")
        assert failures(running) == []


def _refused(ask: object, name: str) -> float:
    start = time.monotonic()
    answer = ask("reload")  # type: ignore[operator]
    assert not answer["ok"], (name, answer)
    problems = answer.get("problems") or [answer["error"]]
    assert all(str(problem).isprintable() for problem in problems), (name, problems)
    return time.monotonic() - start
