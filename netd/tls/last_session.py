"""The session with a server, which further connections to it resume (RFC 8446, section 2.2)."""

import ssl
import time
from collections.abc import Callable

LONGEST = 3600.0
"""Seconds that a session is resumed: then the certificate of the server is verified again."""
_PAUSE = 1.0
"""Seconds between two sessions that are taken: to copy one takes OpenSSL a sixth of a handshake, and a server may give
none that it resumes."""


class LastSession:
    """The session of the last full handshake with one server.

    A connection that resumes it shows no certificate, and gives no new session, so that its verification ages.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` returns monotonic seconds."""
        self._clock = clock
        self._session: ssl.SSLSession | None = None
        self._began = self._next = -LONGEST

    def get(self) -> ssl.SSLSession | None:
        """The session, if there is one that may be resumed."""
        if self._session and self._clock() - self._began >= LONGEST:
            self._session = None
        return self._session

    def keep(self, tls: ssl.SSLObject, began: float) -> None:
        """Keep the session of a connection that ends, of which the handshake was at ``began``.

        Only then it is known: with TLS 1.3, the ticket comes after the handshake.
        """
        now = self._clock()
        if tls.session_reused or began < self._began or now < self._next:
            return
        self._next = now + _PAUSE
        if (session := tls.session) and session.has_ticket:
            self._session, self._began = session, began

    def drop(self) -> None:
        """Forget it."""
        self._session = None
