"""sensor: whatever connects is banned."""

from netd.contract import Context, Conversation
from netd.peer import Peer
from netd.values import Model, Timeout


class SensorOptions(Model):
    """Options of ``sensor``."""

    ban: Timeout = 3600.0
    """For how long all services refuse a source that has connected; off: it is logged only. An hour outlasts a scan of
    this host, and is short enough for an address that another customer may get."""


class Sensor:
    """Closes each connection, after the banner if there is one, and bans its source: for ports that no peer needs.

    A connection counts once its TCP handshake is done, over TLS too; half-open ones and datagrams ban no source, since
    it may be forged. Never banned is what `bans.exempt`, its own `limits.exempt` or `proxy_protocol.from` of any
    service lists, and a peer that its `access` refuses. So a try from this host, which `bans.exempt` lists by default,
    has no ban: the log says so (`visitor_spared`), and `netd explain`.
    """

    discards_input = True
    Options = SensorOptions

    def __init__(self, options: SensorOptions, context: Context) -> None:
        pass

    def stream(self, peer: Peer) -> Conversation:
        yield from ()
