"""Removes telnet commands (RFC 854) from the input, and refuses options."""

from typing import Literal


class TelnetFilter:
    """Removes telnet commands (RFC 854) from a stream, also one that is split over segments.

    Every option that the peer requests (DO) or offers (WILL) is refused, as RFC 854 demands for an unknown option: a
    telnet client shows no output after an interrupt until its DO TIMING-MARK (RFC 860) is answered. A refusal (WONT,
    DONT) is never answered, so two filters cannot answer each other forever.
    """

    __slots__ = ("_command", "_refusals", "_state")

    _IAC, _DONT, _DO, _WONT, _WILL, _SB, _SE = 255, 254, 253, 252, 251, 250, 240
    _NEGOTIATIONS = (_WILL, _WONT, _DO, _DONT)  # one octet follows, the option

    def __init__(self) -> None:
        self._state: Literal["text", "command", "option", "sub", "sub_command"] = "text"
        self._command = 0
        self._refusals = b""

    def strip(self, data: bytes) -> bytes:
        """Return ``data`` without the commands."""
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
        """The refusals of the options received since the last call; empty if there were none."""
        refusals, self._refusals = self._refusals, b""
        return refusals
