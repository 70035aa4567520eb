"""The targets that the supervisor keeps, and what the operator said of them."""

import time

import pytest

from netd.daemon.supervisor.targets import ServiceTargets
from netd.services.forward.options import ForwardOptions
from netd.services.forward.state import Said, Targets
from netd.services.forward.target import Target
from netd.shared.table import Layout, Table
from netd.shared.targets import SAID
from tests.shared.fills import FILLS

URLS = ["tcp://192.0.2.1:80", "tcp://192.0.2.2:80", "tcp://192.0.2.3:80"]
FIRST, SECOND, THIRD = (Target.parse(url) for url in URLS)


def options(*urls: str) -> ForwardOptions:
    return ForwardOptions.model_validate({"to": list(urls)})


@pytest.fixture
def table() -> Table:
    return Table(layout=Layout(targets=True))


def kept(table: Table) -> ServiceTargets:
    assert table.targets
    return ServiceTargets(table.targets)


def test_each_target_keeps_its_row_while_it_is_in_the_config(table: Table) -> None:
    targets = kept(table)
    assert targets.numbers([FIRST, SECOND]) == [0, 1]
    assert targets.numbers([THIRD, SECOND]) == [2, 1], "a config that is prepared"
    targets.keep([FIRST, SECOND])
    assert targets.numbers([SECOND, FIRST]) == [1, 0], "it was not put in force"


@pytest.mark.parametrize("said", ["drain", "disabled"])
def test_words_of_the_operator_reach_the_workers_and_are_reported(table: Table, said: Said) -> None:
    targets = kept(table)
    worker = Targets([FIRST, SECOND])
    assert table.targets
    worker.share(table.targets, targets.numbers([FIRST, SECOND]), 0)
    before = time.monotonic() - 0.001
    assert targets.say(FIRST, said, "netd target, root")
    assert not targets.say(FIRST, said, "netd target, other")
    assert worker.in_service([0, 1]) == [1]
    first, second = targets.report(options(*URLS[:2]), 1000.0)
    assert (first["target"], first["state"], first["why"]) == (URLS[0], said, "netd target, root")
    assert before <= first["since"] - 1000.0 <= time.monotonic() + 0.001, "rounded to milliseconds"
    assert (second["state"], second["since"], second["why"]) == ("up", None, "")
    assert targets.say(FIRST, "enabled", "netd target, root")
    assert not targets.say(FIRST, "enabled", "netd target, root")
    assert worker.in_service([0, 1]) == [0, 1]


@pytest.mark.parametrize("fill", FILLS)
def test_words_hold_although_a_worker_has_overwritten_them(table: Table, fill: bytes) -> None:
    targets = kept(table)
    assert table.targets
    rows = [table.targets.row(number) for number in targets.numbers([FIRST, SECOND])]
    targets.say(SECOND, "drain", "netd target, root")
    octets = table.targets.cells.cast("B")
    octets[:] = fill * (len(octets) // len(fill))
    states = [one["state"] for one in targets.report(options(*URLS[:2]), 0.0)]
    assert states[1] == "drain"
    targets.write()
    assert [table.targets.cells[row + SAID] for row in rows] == [0, 1]


def test_words_are_forgotten_with_their_target(table: Table) -> None:
    targets = kept(table)
    targets.numbers([FIRST, SECOND])
    targets.say(FIRST, "drain", "")
    targets.keep([SECOND])
    targets.numbers([FIRST, SECOND])
    targets.write()
    assert [one["state"] for one in targets.report(options(*URLS[:2]), 0.0)] == ["up", "up"]
