"""The values of the contract: waits, and the protocols of services."""

import math

import pytest

from netd.contract import BlockingService, Context, DatagramService, Finished, Receive, StreamService, Wait


def test_finished_wait_resumes_each_waiter_once() -> None:
    wait, resumed = Wait(), list[int]()
    for number in range(2):
        wait.then(lambda number=number: resumed.append(number))  # type: ignore[misc]
    assert (wait.done, resumed) == (False, [])
    wait.finish()
    wait.finish()
    assert (wait.done, resumed) == (True, [0, 1])


def test_waiter_of_a_finished_wait_is_resumed_at_once() -> None:
    wait, resumed = Wait(), list[bool]()
    wait.finish()
    wait.then(lambda: resumed.append(wait.done))
    assert resumed == [True]


def test_waiter_that_waits_again_is_not_resumed_by_the_same_finish() -> None:
    first, second, resumed = Wait(), Wait(), list[str]()
    first.then(lambda: second.then(lambda: resumed.append("second")))
    first.finish()
    assert resumed == []
    second.finish()
    assert resumed == ["second"]


def test_protocols_differ_by_their_methods() -> None:
    def method(*arguments: object) -> None: ...

    protocols = (StreamService, DatagramService, BlockingService)
    for name, protocol in zip(("stream", "datagram", "handler"), protocols, strict=True):
        service = type("Service", (), {name: method})()
        assert [isinstance(service, one) for one in protocols] == [one is protocol for one in protocols]


def test_context_without_a_daemon_reports_no_status() -> None:
    assert Context().inspect("status") == {}
    assert Context().random is not Context().random
    with pytest.raises(AttributeError):
        Context().line_limit = 1  # type: ignore[misc]


@pytest.mark.parametrize("seconds", [None, 0, -1.5, 30, 1e9])
def test_receive_of_a_finite_time_is_right(seconds: float | None) -> None:
    Receive(seconds, "3 octets").check()


@pytest.mark.parametrize(
    ("receive", "error", "text"),
    [
        (Receive("30"), TypeError, "the seconds of a Receive are a number or None, not '30'"),  # type: ignore[arg-type]
        (Receive(math.nan), ValueError, "the seconds of a Receive are at most 1e9, or None, not nan"),
        (Receive(-math.inf), ValueError, "the seconds of a Receive are at most 1e9, or None, not -inf"),
        (Receive(1.1e9), ValueError, "the seconds of a Receive are at most 1e9, or None, not 1100000000.0"),
        (Receive(1, "", "4"), TypeError, "the octets waiting in a Receive are an int, not '4'"),  # type: ignore[arg-type]
        (Receive(1, b"x"), TypeError, "what is unanswered in a Receive is a str, not b'x'"),  # type: ignore[arg-type]
    ],
)
def test_receive_with_a_wrong_field_is_refused(receive: Receive, error: type[Exception], text: str) -> None:
    with pytest.raises(error) as raised:
        receive.check()
    assert str(raised.value) == text


def test_context_without_a_daemon_calls_at_once() -> None:
    called: list[int] = []
    Context().call_soon(lambda: called.append(1))
    assert called == [1]


def test_service_has_no_program_unless_the_daemon_provides_one() -> None:
    with pytest.raises(RuntimeError, match="the service has no program"):
        Context().run(1.0, 1, lambda finished: None)
    with pytest.raises(AttributeError):
        Finished(0, b"").code = 1  # type: ignore[misc]
