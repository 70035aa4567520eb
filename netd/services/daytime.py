"""daytime (RFC 867)."""

from datetime import datetime

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.services.time_format import Format, format_time
from netd.values import Model, TimeZone, parse_zone


class Daytime:
    """Sends the date and the time in one line and closes."""

    rfc = 867
    discards_input = True

    class Options(Model):
        """Options of ``daytime``."""

        timezone: TimeZone = "UTC"
        """IANA name of the time zone; UTC, since the peers of a network share no other."""
        format: Format = "%A, %B %d, %Y %H:%M:%S-%Z"
        """strftime(3) format, at most 256 characters; the first of the two forms that RFC 867 calls customary."""

    def __init__(self, options: Options, context: Context) -> None:
        self._clock = context.clock
        self._zone = parse_zone(options.timezone)
        self._format = options.format

    def _line(self) -> bytes:
        return format_time(self._format, datetime.fromtimestamp(self._clock(), self._zone)).encode() + b"\r\n"

    def stream(self, peer: Peer) -> Conversation:
        yield self._line()

    def datagram(self, data: bytes, peer: Peer) -> bytes | None:
        return self._line()
