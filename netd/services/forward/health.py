"""What the checks of a target say of it. Pure: the checks themselves are `netd.transport.target_check`."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from netd.errors import InvalidValueError
from netd.text import shown
from netd.values import Duration, Model

_LEAST_EVERY = 0.1  # seconds: 64 targets are then 640 connections a second
_MOST_RESULTS = 100
_LONGEST_QUESTION = 1024  # octets, which fit into the send buffer of any socket
_LONGEST_EXPECTED = 256


def _every(seconds: float) -> float:
    if seconds < _LEAST_EVERY:
        raise ValueError("expected at least 100ms")
    return seconds


def _text(least: int, most: int) -> BeforeValidator:
    def check(value: object) -> object:
        if value is None:
            return value
        if not isinstance(value, str):
            raise InvalidValueError(f'expected text such as "PING\\r\\n", got {shown(value)}')
        if not least <= len(_octets(value)) <= most:
            raise ValueError(f"expected {least} to {most} octets of text, got {len(_octets(value))}")
        return value

    return BeforeValidator(check)


def _octets(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


Results = Annotated[int, Field(ge=1, le=_MOST_RESULTS)]


class Check(Model):
    """How a target is checked."""

    every: Annotated[Duration, AfterValidator(_every)] = 2.0
    """How often each target is checked (`inter` of HAProxy), 100 ms or more."""
    timeout: Duration = 1.0
    """How long a target may take to accept the connection and to answer; longer is a failure. 1 s is more than a host
    that is up takes; the loss of a packet is one failure."""
    rise: Results = 2
    """After how many successes in a row a target that is down is used again, 1 to 100."""
    fall: Results = 3
    """After how many failures in a row a target is down and gets no connections, 1 to 100."""
    send: Annotated[str | None, _text(0, _LONGEST_QUESTION), WithJsonSchema({"type": ["string", "null"]})] = None
    """Text that is sent to the target, at most 1024 octets in UTF-8: it has to answer. YAML has "\\r\\n" and "\\x00" in
    double quotes. Targets of datagrams need it; "" is an empty datagram."""
    expect: Annotated[str | None, _text(1, _LONGEST_EXPECTED), WithJsonSchema({"type": ["string", "null"]})] = None
    """Text that is in the first 16 KiB of the answer. Unset: any answer will do where there is `send`, and else the
    target has to accept the connection."""

    @property
    def question(self) -> bytes:
        """What is sent."""
        return _octets(self.send or "")

    @property
    def expected(self) -> bytes:
        """What the answer contains."""
        return _octets(self.expect or "")

    @property
    def wants_answer(self) -> bool:
        """Whether the target has to answer, and not only to accept the connection."""
        return self.send is not None or self.expect is not None


@dataclass(slots=True)
class Health:
    """Whether a target is down: after `Check.fall` failures in a row, until `Check.rise` successes in a row."""

    check: Check
    is_down: bool = False
    _against: int = 0  # results in a row that contradict `is_down`

    def passed(self) -> bool:
        """A check has succeeded. Returns whether the target is up now and was not before."""
        return self._count(self.is_down, self.check.rise)

    def failed(self) -> bool:
        """A check has failed. Returns whether the target is down now and was not before."""
        return self._count(not self.is_down, self.check.fall)

    def _count(self, contradicts: bool, enough: int) -> bool:
        self._against = self._against + 1 if contradicts else 0
        if self._against < enough:
            return False
        self.is_down = not self.is_down
        self._against = 0
        return True
