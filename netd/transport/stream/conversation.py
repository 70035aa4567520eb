"""Conversations: the service is a generator, which is resumed with the input and yields the output."""

import reprlib
import select
from time import monotonic
from types import GeneratorType
from typing import Any
from weakref import WeakMethod

from netd.contract import Receive, Wait, WaitingConversation
from netd.errors import PeerError
from netd.peer import Peer
from netd.reasons import Outcome
from netd.transport.send_queue import SendQueue
from netd.transport.stream.connection import IN, OUT, Connection, Owner, Ready, outcome_of
from netd.transport.stream.stream_socket import CHUNK, StreamSocket

# The share of a conversation in one turn of the loop, so that a busy or hostile peer does not delay others:
_SEGMENT = 4096  # octets of input,
_PIECES = 256  # pieces of output,
_TURN = 0.0005  # and seconds, after which it is asked for no more output.
_MOST_POSTED = 65536  # octets of posts that wait (`SendQueue`)


class ConversationConnection(Connection):
    """A connection that a generator of the service serves."""

    __slots__ = ("_asked", "_conversation", "_is_told", "_pause_ends")

    def __init__(self, owner: Owner, request: StreamSocket, peer: Peer, service: Any) -> None:
        owner.loop.end_turn()
        self._conversation = self._begin(service, peer)
        if not isinstance(self._conversation, GeneratorType):
            raise TypeError(f"{type(service).__name__}.stream returned no generator: it has no yield in it")
        super().__init__(owner, request, peer)
        # What it has yielded last: None or a `Receive` for input, a `Wait`, or output, if the turn ended before that.
        self._asked: bytes | Receive | Wait | None = None
        self._pause_ends = 0.0  # when a `Receive` has waited long enough
        self._is_told = False

    def _begin(self, service: Any, peer: Peer) -> WaitingConversation:
        conversation: WaitingConversation = service.stream(peer)
        return conversation

    def start(self) -> None:
        super().start()
        self._advance(None)  # the first turn, before any input

    def _receive(self, mask: int) -> None:
        # As `_recv`, the call of which would be 3 % of a small request.
        try:
            data = self.socket.recv(_SEGMENT)
        except BlockingIOError:
            return
        except OSError as error:
            return self.close(outcome_of(error))
        owner = self._owner
        self.active = owner.loop.now
        received = len(data)
        self.bytes_in = all_in = self.bytes_in + received
        if all_in + self.bytes_out > owner.most_bytes:
            return self.close("bytes")
        if received:
            self.requests += 1
        else:
            self._eof = True
        if mask != IN or received == _SEGMENT:
            self._rearm = True  # there may be more input
        self._advance(data)

    def _continue(self) -> None:
        if self._asked is None or type(self._asked) is Receive:
            self._await_input()
        else:
            self.active = self._owner.loop.now
            self._advance(None)

    def _advance(self, data: bytes | None) -> None:
        """Resume the conversation with ``data`` (None: for more output), and send its output."""
        conversation = self._conversation
        if (loop := self._owner.loop).turn_end:
            loop.end_turn()
        output = b""
        more: list[bytes] | None = None
        piece: Any
        try:
            try:
                piece = conversation.send(data)
                if type(piece) is bytes:
                    output = piece
                    if len(output) < CHUNK and (piece := next(conversation)) is not None and type(piece) is bytes:
                        more = [output, piece]
                        piece = self._collect(more)
                # After the end of file there is no input, so a conversation that waits for input has ended.
                if piece is None:
                    if self._eof:
                        self._ending = "done"
                elif type(piece) is Receive:
                    piece.check()
                    if self._eof:
                        self._ending = "done"
                elif type(piece) is not bytes and type(piece) is not Wait:
                    raise TypeError(f"a conversation yields bytes, None, Receive or Wait, not {reprlib.repr(piece)}")
                self._asked = piece
            except StopIteration:
                self._ending = "done"
            except PeerError as error:
                more = [*(more or [output]), error.answer]
                self._ending = "peer_error"
            if more:
                output = b"".join(more)
        except BaseException as error:  # an exception of a service, SystemExit too, ends this conversation alone
            # What it yielded before is sent.
            output = b"".join([one for one in more or [output] if type(one) is bytes])
            if not output:
                return self.fail(error)
            self._owner.events.conversation_failed(self.peer, error)
            self._ending = "failed"
        if output and not self._send(output):
            return
        if self._ending:
            self._finish(self._ending)
        elif piece is None:
            if self._rearm or self._mask != self._owner.input:
                self._await_input()
        elif type(piece) is Receive:
            self._await_input()
        elif type(piece) is Wait:
            self._wait_for(piece)
        else:
            self._wait(OUT, self._flush)

    def _await_input(self) -> None:
        super()._await_input()
        if type(asked := self._asked) is not Receive:
            return
        if asked.unanswered:
            self._owner.unanswered(self, asked.waiting, first=not self._is_told)
            self._is_told = True
        if asked.seconds is not None:
            self._pause_ends = monotonic() + asked.seconds
            wheel = self._owner.loop.wheel
            wheel.drop(self)
            wheel.add(self, self._next_timeout() or self._pause_ends)

    @property
    def _is_pausing(self) -> bool:
        """Whether the conversation waits for input for a limited time."""
        asked = self._asked
        return type(asked) is Receive and asked.seconds is not None and self._is_receiving and not self._ending

    def _end_pause(self) -> None:
        """Resume the conversation without input, unless there is some by now."""
        if not self._is_pausing or self._pause_ends > monotonic() or self.descriptor < 0:
            return
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        if not poll.poll(0):
            sent = self.bytes_out
            self._advance(None)
            if self.bytes_out != sent:
                self.active = self._owner.loop.now

    @property
    def unanswered(self) -> str:
        return self._asked.unanswered if type(self._asked) is Receive else ""

    def _wait_for(self, wait: Wait) -> None:
        """Resume the conversation when ``wait`` ends. Until then, wait for neither input nor room to send."""
        super()._wait(0, self._on_hup)
        wait.then(lambda: self._owner.loop.call(self._resume))

    def _resume(self) -> None:
        if self._is_waiting and self.descriptor >= 0:
            self._continue()

    def _on_hup(self, mask: int) -> None:
        """The peer has closed the connection, so that no peer waits for the answer.

        The event may belong to an earlier connection of this descriptor that a child process still has open.
        """
        poll = select.poll()
        poll.register(self.descriptor, 0)
        if poll.poll(0):
            self.close("reset")

    @property
    def _is_waiting(self) -> bool:
        """Whether the conversation waits for something other than its peer."""
        return type(self._asked) is Wait and self._mask == 0

    def _next_timeout(self) -> float | None:
        when = super()._next_timeout()
        if not self._is_pausing:
            return when
        return self._pause_ends if when is None else min(when, self._pause_ends)

    def expire(self, now: float) -> float | None:
        if self._is_waiting:
            self.active = now
        elif self._is_pausing and now >= self._pause_ends:
            # Not now: what the conversation does next may need a time-out of its own.
            self._owner.loop.call(self._end_pause)
        return super().expire(now)

    def _collect(self, pieces: list[bytes]) -> bytes | Receive | Wait | None:
        """Append more output of this turn to ``pieces``: what was yielded last, the last piece or no output.

        One answer to one question, the common case, never gets here.
        """
        size = sum(map(len, pieces))
        until = monotonic() + _TURN
        piece: bytes | Receive | Wait | None = pieces[-1]
        while size < CHUNK and len(pieces) < _PIECES and monotonic() <= until:
            piece = next(self._conversation)
            if type(piece) is not bytes:
                break
            pieces.append(piece)
            size += len(piece)
        return piece

    def close(self, outcome: Outcome) -> None:
        if (loop := self._owner.loop).turn_end:
            loop.end_turn()
        try:
            self._conversation.close()
        except BaseException as error:
            self._owner.events.conversation_failed(self.peer, error)
        super().close(outcome)


class PushConnection(ConversationConnection):
    """A conversation with posts: the service posts to the peer, and posts are sent between the pieces of its output.

    The posts that wait are bounded. The loop sends them, never the caller of the post, which may be the conversation of
    another connection.
    """

    __slots__ = ("__weakref__", "_posts")

    def __init__(self, owner: Owner, request: StreamSocket, peer: Peer, service: Any) -> None:
        # No reference cycle: a service may keep the post of a closed connection, which then keeps the queue alone.
        deliver, call = WeakMethod(self._deliver), owner.loop.call

        def wake() -> None:
            if (method := deliver()) is not None:
                call(method)

        self._posts = SendQueue[bytes](_MOST_POSTED, wake)
        try:
            super().__init__(owner, request, peer, service)
        except BaseException:
            self._posts.close()  # `stream` may have posted before it failed
            raise

    def _begin(self, service: Any, peer: Peer) -> WaitingConversation:
        posts = self._posts

        def post(data: bytes) -> bool:
            return posts.put(data, data)

        conversation: WaitingConversation = service.stream(peer, post)
        return conversation

    def _deliver(self) -> None:
        """Send the posts that wait. While output is pending or the conversation has more, they are sent after it."""
        if self._posts and self._is_receiving and not self._ending:
            self._send_posts()

    def _send_posts(self) -> bool:
        self.active = self._owner.loop.now
        return self._send(b"".join(self._posts.take()))

    def _continue(self) -> None:
        if self._posts and not self._send_posts():
            return
        super()._continue()

    def close(self, outcome: Outcome) -> None:
        self._posts.close()
        super().close(outcome)


class SendOnlyConnection(ConversationConnection):
    """A conversation that never receives: input is discarded, so that a peer that sends is not blocked."""

    __slots__ = ()

    def _wait(self, mask: int, ready: Ready) -> None:
        super()._wait(mask if self._eof else mask | IN, ready)

    def _flush(self, mask: int) -> None:
        if mask & IN:
            data = self._recv(CHUNK)
            if data is None and self.descriptor < 0:
                return
            if data == b"":
                self._eof = True
                self._wait(OUT, self._flush)
        if mask & ~IN:
            super()._flush(mask)
