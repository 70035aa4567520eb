"""Telnet commands in what a peer sends (RFC 854): they are removed, and options are refused."""

from typing import Literal


class TelnetFilter:
    """Removes telnet commands (RFC 854) from a stream, wherever the segments were cut.

    Whatever option the peer asks for (DO) or offers (WILL) is refused, as the RFC demands of a party that does not know
    it: a telnet client shows nothing after an interrupt until its DO TIMING-MARK is answered. A refusal is never
    answered, so two of these cannot keep each other busy.
    """

    __slots__ = ("_command", "_refusals", "_state")

    _IAC, _DONT, _DO, _WONT, _WILL, _SB, _SE = 255, 254, 253, 252, 251, 250, 240
    _NEGOTIATIONS = (_WILL, _WONT, _DO, _DONT)  # one octet follows, the option

    def __init__(self) -> None:
        self._state: Literal["text", "command", "option", "sub", "sub_command"] = "text"
        self._command = 0
        self._refusals = b""

    def strip(self, data: bytes) -> bytes:
        """The text in ``data``."""
        if self._state == "text" and self._IAC not in data:
            return data
        text = bytearray()
        for octet in data:
            match self._state:
                case "text" if octet == self._IAC:
                    self._state = "command"
                case "text":
                    text.append(octet)
                case "command" if octet in self._NEGOTIATIONS:
                    self._command = octet
                    self._state = "option"
                case "command":
                    self._state = "sub" if octet == self._SB else "text"
                    if octet == self._IAC:
                        text.append(octet)
                case "option":
                    self._state = "text"
                    if self._command in (self._DO, self._WILL):
                        refusal = self._WONT if self._command == self._DO else self._DONT
                        self._refusals += bytes((self._IAC, refusal, octet))
                case "sub" if octet == self._IAC:
                    self._state = "sub_command"
                case "sub_command":
                    self._state = "text" if octet == self._SE else "sub"
        return bytes(text)

    def refusal(self) -> bytes:
        """What to answer to what came since the last call."""
        refusals, self._refusals = self._refusals, b""
        return refusals
