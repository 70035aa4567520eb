"""What runs in a worker, as the supervisor reads it."""

import os
import threading

from hypothesis import given
from hypothesis import strategies as st

from netd.shared.running import Running, RunningMemory, record


def test_code_in_the_loop_and_in_threads_is_read_by_another_process_until_it_has_returned() -> None:
    seen = RunningMemory()
    worker = RunningMemory(os.dup(seen.descriptor), threading.get_ident)
    in_loop = worker.enter(record("a", "192.0.2.7"))
    entered: list[int] = []
    thread = threading.Thread(target=lambda: entered.append(worker.enter(record("b", ""))))
    thread.start()
    thread.join()
    assert set(seen.read()) == {Running("a", "192.0.2.7", True), Running("b", "", False)}
    worker.leave(in_loop)
    assert seen.read() == [Running("b", "", False)]
    worker.leave(entered[0])
    assert seen.read() == []
    worker.leave(worker.enter(record("longer", "2001:db8::1")))
    worker.enter(record("c", "::1"))
    assert seen.read() == [Running("c", "::1", True)], "nothing of the one before is left"


def test_more_threads_than_slots_are_not_recorded() -> None:
    memory = RunningMemory(thread=threading.get_ident)
    entered: list[int] = []
    what = record("a", "")

    def enter() -> None:
        entered.extend(memory.enter(what) for _ in range(70))
        for slot in entered:
            memory.leave(slot)
        entered.extend(memory.enter(what) for _ in range(2))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered[:70].count(-1) == 7
    assert -1 not in entered[70:]
    assert len(memory.read()) == 2


@given(st.text(min_size=1), st.text())
def test_any_text_has_its_place(service: str, source: str) -> None:
    memory = RunningMemory()
    memory.enter(record(service, source))
    [found] = memory.read()
    assert found.service == "".join(one if one.isascii() and one.isprintable() else "?" for one in service)[:64]
    assert len(found.source) <= 62


@given(st.binary(max_size=64 * 128))
def test_anything_that_a_worker_writes_is_read_as_printable_text(written: bytes) -> None:
    memory = RunningMemory()
    memory.octets[: len(written)] = written
    for found in memory.read():
        assert (found.service + found.source).isascii()
        assert (found.service + found.source).isprintable()
