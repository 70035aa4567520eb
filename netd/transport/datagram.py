"""Datagram servers: one message, one answer, and never a thread.

Over UDP datagrams come and go in batches (`netd.transport.batch`); over UNIX sockets, and where the C library lacks the
calls, one by one. An answer that cannot be sent at once is dropped and counted, as the network itself would do.
"""

import errno
import socket
import socketserver
import struct
from typing import Any

from netd.admission.limits import Limits
from netd.conversation import DatagramService, Peer
from netd.errors import PeerError
from netd.telemetry.events import ServiceEvents
from netd.transport import batch
from netd.transport.loop import LISTENING, Loop
from netd.transport.peers import inet_peer, unix_peer

_TURN = 64  # datagrams taken one by one, before the others get their turn
# linux/in.h; the socket module does not have it. It gives the address a datagram came to: struct in_pktinfo.
_IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("=i4s4s")  # interface, local address, address in the header
_IN6_PKTINFO = struct.Struct("=16si")  # address in the header, interface
_TRANSIENT = {
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ENETDOWN,
    errno.ENOBUFS,
    errno.ENOMEM,
}


class DatagramServer(socketserver.ThreadingUDPServer):
    """Answers the datagrams of one socket, over UDP or UNIX."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        listener: socket.socket,
        service: DatagramService,
        limits: Limits,
        events: ServiceEvents,
        loop: Loop,
        *,
        batched: bool = batch.AVAILABLE,
    ) -> None:
        # The socket is open already, so not UDPServer's constructor, which makes one.
        socketserver.BaseServer.__init__(self, listener.getsockname(), socketserver.BaseRequestHandler)
        self.socket = listener
        self.service = service
        self.limits = limits
        self.events = events
        self.loop = loop
        self._longest = limits.datagram
        self._unix = listener.family == socket.AF_UNIX
        self._reflects = getattr(service, "reflects", False)
        self._batch = batch.Batch(listener.family, limits.datagram) if batched and not self._unix else None
        if listener.family == socket.AF_INET:
            listener.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        elif listener.family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        listener.setblocking(False)
        self._descriptor = listener.fileno()
        self._listening = False

    def start(self) -> None:
        """Take datagrams."""
        self._listening = True
        self.loop.watch(self._descriptor, LISTENING, self._batch_ready if self._batch else self._ready)

    def retire(self) -> None:
        """Take no more datagrams, and leave the socket, with what is in its queue, to another server."""
        if self._listening:
            self._listening = False
            self.loop.unwatch(self._descriptor)

    def server_close(self) -> None:
        """Take no more datagrams."""
        if self.socket.fileno() >= 0:
            self.retire()
            self.socket.close()

    def release(self) -> None:
        """Release what it has besides the socket."""

    def close(self) -> None:
        """Release everything."""
        self.server_close()

    # In batches.

    def _batch_ready(self, events: int) -> None:
        arrays, limit = self._batch, self._longest
        assert arrays is not None, "only watched with a batch"
        try:
            lengths = arrays.receive(self._descriptor)
        except BlockingIOError:
            return
        except OSError as error:
            return self._receive_failed(error)
        if self._reflects and max(lengths) <= limit:
            self.events.datagrams_received(len(lengths), sum(lengths))
            arrays.reflect(len(lengths))
            return self._send_batch(arrays, 0, lengths)
        run: list[int] = []  # the lengths of answers in neighbouring slots, which go out together
        for slot, length in enumerate(lengths):
            answer = None
            if length <= limit:
                peer = inet_peer("udp", arrays.remote(slot), (arrays.local(slot), self.server_address[1]))
                answer = self._answer(arrays.datagram(slot, length), peer)
            else:
                self.events.datagrams_dropped(1, "too_long")
            if answer is not None and arrays.fits(len(answer)):
                arrays.answer(slot, answer)
                run.append(len(answer))
                continue
            if answer is not None:
                self.events.datagrams_dropped(1, "unsendable")
            self._send_batch(arrays, slot - len(run), run)
            run = []
        self._send_batch(arrays, len(lengths) - len(run), run)

    def _send_batch(self, arrays: batch.Batch, first: int, lengths: list[int]) -> None:
        """Send the answers of these lengths that stand from slot ``first`` on."""
        done = 0
        while done < len(lengths):
            try:
                sent = arrays.send(self._descriptor, first + done, first + len(lengths))
            except OSError as error:
                # It is the first one that failed; without room for it there is none for the others.
                failed = len(lengths) - done if isinstance(error, BlockingIOError) else 1
                self._send_failed(error, failed)
                done += failed
            else:
                self.events.datagrams_answered(sent, sum(lengths[done : done + sent]))
                done += sent

    # One by one.

    def _ready(self, events: int) -> None:
        for _ in range(_TURN):
            try:
                request, client_address = self.get_request()
            except BlockingIOError:
                return
            except OSError as error:
                return self._receive_failed(error)
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)

    def get_request(self) -> tuple[Any, Any]:
        # Without room for control messages the kernel closes descriptors that a UNIX peer sends along.
        room = 0 if self._unix else socket.CMSG_SPACE(_IN6_PKTINFO.size)
        data, ancillary, _, client_address = self.socket.recvmsg(self._longest + 1, room)
        return (data, ancillary), client_address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the service gets this datagram."""
        if len(request[0]) > self._longest:
            self.events.datagrams_dropped(1, "too_long")
            return False
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer one datagram."""
        data, ancillary = request
        ancillary, local = _leave_from(ancillary)
        if self._unix:
            peer = unix_peer("unixgram", client_address, self.server_address)
        else:
            peer = inet_peer("udp", client_address, (local or self.server_address[0], self.server_address[1]))
        answer = self._answer(data, peer)
        if answer is None:
            return
        if not client_address:
            return self.events.datagrams_dropped(1, "no_address")
        try:
            self.socket.sendmsg([answer], ancillary, 0, client_address)
        except OSError as error:
            return self._send_failed(error, 1)
        self.events.datagrams_answered(1, len(answer))

    # Both.

    def _answer(self, data: bytes, peer: Peer) -> bytes | None:
        self.events.datagrams_received(1, len(data))
        try:
            answer = self.service.datagram(data, peer)
            if answer is None or isinstance(answer, bytes):
                return answer
            raise TypeError(f"{type(self.service).__name__}.datagram returned neither bytes nor None: {type(answer)}")
        except PeerError as error:
            return error.answer
        except BaseException as error:  # whatever a service raises, SystemExit too, costs this answer alone
            self.events.conversation_failed(peer, error)
            return None

    def _receive_failed(self, error: OSError) -> None:
        """An error on the socket that some datagram before had caused, or want of memory; the next call may be well."""
        if error.errno not in _TRANSIENT:
            raise error
        self.events.datagrams_dropped(1, "receive_failed")

    def _send_failed(self, error: OSError, number: int) -> None:
        self.events.datagrams_dropped(number, "no_room" if isinstance(error, BlockingIOError) else "unsendable")


def _leave_from(ancillary: list[tuple[int, int, bytes]]) -> tuple[list[tuple[int, int, bytes]], str]:
    """The control message that lets an answer leave from the address that was asked, and that address.

    To answer through the interface the question came by would go past the routing table, so it is not handed back.
    """
    for level, kind, data in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            _, address, header = _IN_PKTINFO.unpack(data)
            return [(level, kind, _IN_PKTINFO.pack(0, address, header))], socket.inet_ntop(socket.AF_INET, address)
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            address, _ = _IN6_PKTINFO.unpack(data)
            return [(level, kind, _IN6_PKTINFO.pack(address, 0))], socket.inet_ntop(socket.AF_INET6, address)
    return [], ""
