"""check: what a program says about a server, for load balancers and monitors.

``runs`` decides when the program runs, ``verdict`` what its end means; ``http`` and ``agent`` put that into the words
of their protocols.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator

from netd.contract import Context, WaitingConversation
from netd.peer import Peer
from netd.services.check import agent, http, verdict
from netd.services.check.runs import Result, Runs
from netd.services.exec.options import ProgramOptions
from netd.telemetry.program_events import COUNTERS
from netd.values import Duration, Timeout

_LONGEST_LINE = 4096  # octets of the output, where only its first line counts


class Check:
    """Runs a program and answers with its result: over HTTP, as an agent of HAProxy, or as a line of text."""

    single_worker = True
    polled = True
    runs_program = True
    counters = COUNTERS

    class Options(ProgramOptions):
        """Options of ``check``."""

        answer: Literal["http", "agent", "text"] = "http"
        """``http``: a response with the output of the program, at most 64 KiB of it, to any GET, HEAD or OPTIONS;
        where the output is a response itself, as scripts for xinetd print it, one with its status and body; ``agent``:
        a line for agent-check of HAProxy: the first line of the output if it is one, as ``up 75%``, else one for the
        exit code, with the output as the reason; ``text``: the first line of the output, or how the program ended.
        HTTP takes 5s at most for a request of at most 8 KiB; the others are answered without a question."""
        timeout: Annotated[Duration, Field(ge=0.1, le=3600)] = 10.0
        """How long the program may run, 100ms to 1h, before it is ended: plugins of Nagios end themselves after 10s."""
        cache: Annotated[Duration, Field(ge=0.1, le=3600)] = 2.0
        """For how long after a run its result is the answer for all peers, 100ms to 1h; they never cause two runs at
        once. 2s is the interval of HAProxy, so that each check sees a new result, and fifty balancers cost one run."""
        stale: Timeout = None
        """How old an answer may be that is sent while a new run is under way, more than ``cache``; off: peers wait for
        the new result. A peer that comes after a pause gets the old state once."""
        codes: verdict.Codes = Field(default_factory=dict)
        """The answer by exit code (0 to 255), ``signal``, ``timeout`` or ``other``: a status code for ``http``, words
        such as ``drain`` or ``up 50%`` for ``agent``. Unless given, 0 and 1 (OK and WARNING of Nagios) are 200 or
        ``up``, and all others 503 or ``down``."""

        @field_validator("stale")
        @classmethod
        def _stale_is_older_than_cached(cls, stale: float | None, info: ValidationInfo) -> float | None:
            if stale is not None and stale <= info.data.get("cache", 0.0):
                raise ValueError("expected more than cache: until then an answer is not stale")
            return stale

        @field_validator("codes")
        @classmethod
        def _codes_have_answers(cls, codes: dict[str, int | str], info: ValidationInfo) -> dict[str, int | str]:
            answer = info.data.get("answer")  # None: it is wrong itself
            if answer == "text" and codes:
                raise ValueError("has no meaning with answer: text")
            for code, meaning in codes.items():
                try:
                    if answer == "http":
                        http.check_status(meaning)
                    elif answer == "agent":
                        agent.check_words(meaning)
                except ValueError as error:
                    raise ValueError(f"{code}: {error}") from None
            return codes

    def __init__(self, options: Options, context: Context) -> None:
        self._clock = context.clock
        self._is_http = options.answer == "http"
        most = http.LONGEST_BODY if self._is_http else _LONGEST_LINE
        self._runs = Runs(
            lambda ended: context.run(options.timeout, most, ended), context.clock, options.cache, options.stale
        )
        # A result is put into words once, for the first peer that gets it.
        self._answer: Callable[[Result], Any] = lru_cache(1)(_answers(options))

    def stream(self, peer: Peer) -> WaitingConversation:
        if not self._is_http:
            yield self._answer((yield from self._runs.latest()))
            return
        request = yield from http.receive_request(self._clock)
        if isinstance(request, str):
            result = yield from self._runs.latest()
            yield self._answer(result).octets(request, result.age(self._clock()))
        elif request:
            yield http.refusal(request, self._clock())


def _answers(options: Check.Options) -> Callable[[Result], http.Response | bytes]:
    """What makes the answer of a result."""
    if options.answer == "http":
        statuses = http.DEFAULTS | {code: http.check_status(status) for code, status in options.codes.items()}
        return lambda result: http.answer(result.finished, statuses, result.at)
    if options.answer == "agent":
        lines = agent.DEFAULTS | {code: agent.check_words(words) for code, words in options.codes.items()}
        return lambda result: agent.answer(result.finished, lines)
    return lambda result: verdict.first_line(result.finished).encode() + b"\r\n"
