"""time: as text, and as the four octets of RFC 868."""

import math
import re
from datetime import datetime
from typing import Literal

from pydantic import model_validator

from netd.contract import Context, WaitingConversation
from netd.lines import split_terminator
from netd.peer import Peer
from netd.services.framing import Framed
from netd.services.time_format import LONGEST_FORMAT, Format, check_format, format_time
from netd.values import TimeZone, parse_zone

_MOST_ANSWERS = 64  # kept in the cache
_TIMESTAMP = re.compile(rb"[+-]?\d{1,15}(?:\.\d{1,9})?")
_RFC868_EPOCH = 2_208_988_800  # 1970-01-01 in seconds since 1900-01-01, both 00:00 UTC
_HELP = (
    b"error: expected an empty line (now), a strftime format such as %H:%M:%S (now in that format), "
    b"or a Unix timestamp (that time)"
)
_SHORT_HELP = b"error: expected an empty line, a format as %H:%M, a timestamp\r\n"


class _Cache:
    """The answers of the current second, so that the same question is formatted once a second."""

    def __init__(self) -> None:
        self._number = 0
        self._answers: dict[bytes, bytes] = {}

    def answers(self, now: float) -> dict[bytes, bytes]:
        """Answers by question; emptied in each new second, and when it is full, since a client may ask anything."""
        number = math.floor(now)
        if number != self._number or len(self._answers) >= _MOST_ANSWERS:
            self._number = number
            self._answers.clear()
        return self._answers


class Time:
    """Sends the time: as text, and again for each message received, or as the four octets of RFC 868."""

    rfc = 868

    class Options(Framed):
        """Options of ``time``."""

        encoding: Literal["text", "rfc868"] = "text"
        """``text``: lines of text; ``rfc868`` (rdate(1)): seconds since 1900 in 4 octets, modulo 2^32, then close."""
        timezone: TimeZone = "UTC"
        """IANA name of the time zone for text; UTC, since the peers of a network share no other."""
        format: Format = "%Y-%m-%d %H:%M:%S"
        """strftime(3) format for text, at most 256 characters; the default sorts."""
        greeting: Literal[True, False, "auto"] = "auto"
        """Whether a stream begins with the time: true, false, or auto: if no question comes within ``pause``, so that a
        program that asks first gets the answer to its question first."""

        @model_validator(mode="after")
        def _only_text_has_a_format(self) -> "Time.Options":
            extra = sorted(self.model_fields_set - {"encoding"})
            if self.encoding == "rfc868" and extra:
                raise ValueError(f"{', '.join(extra)}: has no meaning with encoding: rfc868")
            return self

    def __init__(self, options: Options, context: Context) -> None:
        self._clock = context.clock
        self._zone = parse_zone(options.timezone)
        self._format = options.format
        self._options = options
        self._line_limit = context.line_limit
        self._binary = options.encoding == "rfc868"
        self._cache = _Cache()

    def stream(self, peer: Peer) -> WaitingConversation:
        if self._binary:
            yield self._octets()
            return
        options = self._options
        reader = options.reader(self._line_limit)
        if options.greeting is True or (options.greeting and (yield from reader.is_silent(options.pause))):
            yield self._answer(b"") + b"\r\n"
        while (question := (yield from reader.read())) is not None:
            yield self._answer(question) + reader.terminator

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        if self._binary:
            return self._octets()
        question, terminator = split_terminator(data)
        return self._answer(question) + terminator

    def truncate(self, answer: bytes, most: int) -> bytes | None:
        """A shorter help. A time has no shorter form: part of it would be a wrong time."""
        return _SHORT_HELP if answer.startswith(_HELP) else None

    def _octets(self) -> bytes:
        # The count passes 2^32 in 2036. RFC 868 defines nothing for later times; the remainder is still usable.
        return ((int(self._clock()) + _RFC868_EPOCH) % 2**32).to_bytes(4)

    def _answer(self, question: bytes) -> bytes:
        """The answer to one question, without line end."""
        when = self._clock()
        answers = self._cache.answers(when)
        if (known := answers.get(question)) is not None:
            return known
        asked = question.strip()
        text = self._format
        try:
            if _TIMESTAMP.fullmatch(asked):
                when = float(asked)
            elif b"%" in asked:
                text = check_format(asked.decode())
            elif asked:
                raise ValueError("not understood")
            answer = format_time(text, datetime.fromtimestamp(when, self._zone)).encode()
        except (ValueError, OverflowError, OSError):
            return _HELP
        if len(question) <= LONGEST_FORMAT and "%f" not in text:  # %f, microseconds, changes within a second
            answers[question] = answer
        return answer
