"""The addresses of names: when they are resolved, and which are used meanwhile."""

from collections.abc import Callable

from netd.services.forward.names import Names

Answer = Callable[[tuple[str, ...], str], object]


class Resolver:
    """Keeps what it is asked, and the answers that are due."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Answer]] = []

    def __call__(self, name: str, then: Answer) -> None:
        self.asked.append((name, then))

    def answer(self, *addresses: str, error: str = "") -> None:
        self.asked.pop()[1](addresses, error)


class Told:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def name_failed(self, name: str, error: str) -> None:
        self.lines.append(f"{name}: {error}")

    def name_resolved(self, name: str) -> None:
        self.lines.append(name)


def test_name_is_resolved_once_for_all_that_wait() -> None:
    resolver, told = Resolver(), Told()
    names = Names(resolver, 30.0)
    got: list[tuple[str, ...]] = []
    assert names.addresses("db", 100.0, told, got.append) is None
    assert names.addresses("db", 100.1, told, got.append) is None
    assert [name for name, _ in resolver.asked] == ["db"]
    resolver.answer("192.0.2.1", "192.0.2.2")
    assert got == [("192.0.2.1", "192.0.2.2")] * 2
    assert names.addresses("db", 129.9, told, got.append) == ("192.0.2.1", "192.0.2.2")
    assert not resolver.asked
    assert not told.lines


def test_old_addresses_are_used_while_it_is_resolved_again_and_where_that_fails() -> None:
    resolver, told = Resolver(), Told()
    names = Names(resolver, 30.0)
    names.addresses("db", 100.0, told, print)
    resolver.answer("192.0.2.1")
    for now in (130.0, 160.0):
        assert names.addresses("db", now, told, print) == ("192.0.2.1",)
        assert names.addresses("db", now + 1, told, print) == ("192.0.2.1",)
        resolver.answer(error="no answer")
    assert told.lines == ["db: no answer"], "once"
    names.addresses("db", 190.0, told, print)
    resolver.answer("192.0.2.9")
    assert names.addresses("db", 191.0, told, print) == ("192.0.2.9",)
    assert told.lines == ["db: no answer", "db"]


def test_name_without_an_address_is_asked_for_after_five_seconds() -> None:
    resolver, told = Resolver(), Told()
    names = Names(resolver, 3600.0)
    got: list[tuple[str, ...]] = []
    assert names.addresses("db", 100.0, told, got.append) is None
    resolver.answer(error="unknown")
    assert got == [()]
    assert names.addresses("db", 104.9, told, got.append) == ()
    assert not resolver.asked
    assert names.addresses("db", 105.0, told, got.append) is None, "a host may start before its name server"
    resolver.answer("192.0.2.1")
    assert got == [(), ("192.0.2.1",)]
    assert names.addresses("db", 3704.9, told, got.append) == ("192.0.2.1",)
    assert not resolver.asked


def test_name_without_an_address_is_asked_for_as_often_as_others_where_that_is_more_often() -> None:
    resolver, told = Resolver(), Told()
    names = Names(resolver, 1.0)
    names.addresses("db", 100.0, told, print)
    resolver.answer(error="unknown")
    assert names.addresses("db", 100.9, told, print) == ()
    assert names.addresses("db", 101.0, told, print) is None


def test_addresses_are_taken_over() -> None:
    resolver, told = Resolver(), Told()
    before, after = Names(resolver, 30.0), Names(resolver, 30.0)
    for name in ("db", "gone"):
        before.addresses(name, 100.0, told, print)
        resolver.answer("192.0.2.1")
    after.take_over(before, frozenset(("db", "new")))
    assert after.addresses("db", 110.0, told, print) == ("192.0.2.1",)
    assert after.addresses("gone", 110.0, told, print) is None
