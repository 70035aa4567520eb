"""Which services are at fault when a worker is lost, and when one gets a worker of its own."""

from pathlib import Path
from unittest.mock import patch

import pytest

from netd.config.loader import load
from netd.config.model import ServiceConfig
from netd.daemon.supervisor import crashes
from netd.daemon.supervisor.crashes import Crashes
from netd.shared.running import RunningMemory, record
from tests.daemon.fakes import ManualLoop, Worker, succeed


class Lost:
    """Losses of workers, with a clock, and the services that got a worker of their own."""

    def __init__(self, services: tuple[ServiceConfig, ...]) -> None:
        self.loop = ManualLoop()
        self.moved: list[str] = []
        self.crashes = Crashes(lambda: services)
        self.crashes.isolate = self.moved.append

    def lose(self, *running: tuple[str, str], in_thread: tuple[str, str] | None = None, **given: str) -> dict[str, str]:
        """Lose a worker in which this ran. Returns what is logged of it."""
        worker = Worker(0, 1, self.loop, succeed)
        worker.service = given.get("alone", "")
        threads = [0]
        worker.running = RunningMemory(thread=lambda: threads[-1])
        for service, source in running:
            worker.running.enter(record(service, source))
        if in_thread:
            threads.append(1)
            worker.running.enter(record(*in_thread))
        with patch.object(crashes, "time", self.loop):
            fields = self.crashes.worker_lost(worker, given.get("stack", ""))
        worker.exit(0)
        worker.close()
        return fields


@pytest.fixture
def lost(tmp_path: Path) -> Lost:
    text = "services:\n  echo: {listen: ['udp://127.0.0.1:0']}\n"
    for name in ("a", "b"):
        code = tmp_path / f"{name}.py"
        code.write_text("class A:\n    def datagram(self, data, peer):\n        return data\n")
        text += f"  {name}: {{type: python, listen: ['udp://127.0.0.1:0'], options: {{class: '{code}:A'}}}}\n"
    file = tmp_path / "netd.yaml"
    file.write_text(text)
    return Lost(load(file).services)


def test_service_that_runs_in_the_loop_is_at_fault_before_those_in_threads(lost: Lost) -> None:
    assert lost.lose(("a", "192.0.2.1"), in_thread=("b", "192.0.2.2")) == {"services": "a", "sources": "192.0.2.1"}
    assert lost.lose(in_thread=("b", "192.0.2.2")) == {"services": "b", "sources": "192.0.2.2"}
    assert lost.lose() == {}


def test_stack_tells_which_of_those_that_ran_it_was(lost: Lost, tmp_path: Path) -> None:
    stack = f'Current thread 0x1 (most recent call first):\n  File "{tmp_path}/b.py", line 3 in datagram\n'
    found = lost.lose(("a", "192.0.2.1"), in_thread=("b", "192.0.2.2"), stack=stack)
    assert found == {"services": "b", "sources": "192.0.2.2", "at": "b.py:3 in datagram"}
    # It may be that of no code that ran, since an attacker may write anything.
    assert lost.lose(("a", "192.0.2.1"), stack=stack)["services"] == "a"


def test_service_without_code_of_others_and_unknown_ones_are_never_at_fault(lost: Lost) -> None:
    assert lost.lose(("echo", "192.0.2.1")) == {}
    assert lost.lose(("\x1b[2J", "192.0.2.1")) == {}
    assert lost.crashes.record_of("echo") is None


def test_third_loss_in_ten_minutes_moves_a_service(lost: Lost) -> None:
    for _ in range(2):
        lost.lose(("a", "192.0.2.1"))
    lost.loop.now += 601
    lost.lose(("a", "192.0.2.1"))
    assert lost.moved == []
    lost.lose(("b", "192.0.2.1"))
    lost.lose(("a", "192.0.2.1"))
    lost.lose(("a", "192.0.2.1"))
    assert lost.moved == ["a"]
    lost.lose(("a", "192.0.2.1"))
    assert lost.moved == ["a"], "it takes three more"


def test_worker_of_one_service_moves_and_accuses_no_other(lost: Lost) -> None:
    for _ in range(5):
        assert lost.lose(("b", "192.0.2.1"), alone="a") == {"services": "a"}
    assert lost.moved == []
    record_of_a = lost.crashes.record_of("a")
    assert record_of_a
    assert record_of_a.number == 5
    assert lost.crashes.record_of("b") is None


def test_last_sources_are_kept_and_no_more(lost: Lost) -> None:
    for number in (*range(20), 19, 15):
        lost.lose(("a", f"192.0.2.{number}"), alone="a")
    found = lost.crashes.record_of("a")
    assert found
    assert list(found.sources) == [f"192.0.2.{number}" for number in (12, 13, 14, 16, 17, 18, 19, 15)]
    lost.crashes.keep({"b"})
    assert lost.crashes.record_of("a") is None
