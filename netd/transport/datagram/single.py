"""Datagrams one by one, with recvmsg(2) and sendmsg(2): over UNIX, while traced, where recvmmsg(2) is missing, and
where few wait on a socket with one address.

The classes have the methods of `Batch` (`mmsg.py`), where they are described.
"""

import socket
from collections.abc import Iterator
from itertools import repeat
from typing import Any, TypeAlias

from netd.addresses import pack_address
from netd.transport.datagram.mmsg import Batch
from netd.transport.datagram.origins import Control, origin, send_from
from netd.transport.datagram.structures import SLOTS
from netd.transport.datagram.unixgram import UnixSender
from netd.transport.sockaddr import CONTROL, PACKET_INFO, Sender, message_credentials, parse_sender


class SingleDatagrams:
    """Up to `SLOTS` UDP datagrams, and the answers that replace them."""

    shares_room = True
    _ancillary_size = CONTROL

    def __init__(self, opened: Any, largest: int) -> None:
        """``largest`` is the longest datagram to receive, in octets."""
        self._socket = opened
        self._largest = largest
        self._data: list[bytes] = []
        self._controls: list[Control] = []
        self._addresses: list[Any] = []
        self._error: OSError | None = None

    def receive(self) -> list[int]:
        if self._error:
            raise self._taken_error()
        messages: list[Any] = []
        try:
            while len(messages) < SLOTS:
                messages.append(self._socket.recvmsg(self._largest + 1, self._ancillary_size))
        except BlockingIOError:
            if not messages:
                raise
        except OSError as error:
            if not messages:
                raise
            self._error = error.with_traceback(None)  # raised by the next call, as recvmmsg(2) does
        self._data = [message[0] for message in messages]
        self._controls = [message[1] for message in messages]
        self._addresses = [message[3] for message in messages]
        return list(map(len, self._data))

    def _taken_error(self) -> OSError:
        """That of the last call. The frame that raises it has no variable for it: the two would keep each other."""
        error, self._error = self._error, None
        assert error
        return error

    def datagram(self, slot: int, length: int) -> bytes:
        return self._data[slot]

    def keys(self, number: int) -> Iterator[object]:
        for address, control in zip(self._addresses, self._controls, strict=True):
            yield address, *(message for message in control if message[:2] in PACKET_INFO)

    def has_key(self, slot: int) -> bool:
        return True

    def sender(self, slot: int) -> Sender | UnixSender:
        return self.sender_at(self._addresses[slot], self._controls[slot])

    @staticmethod
    def sender_at(address: Any, control: Control) -> Sender | UnixSender:
        """The sender at an address of the socket module, with the control messages beside its datagram."""
        return parse_sender(pack_address(address[0]), address[1], control)

    def origin(self, slot: int, sender: Any) -> Control:
        return origin(sender, self._socket.family)

    def reflect(self, number: int) -> None:
        """Nothing to do: each datagram is in the place of its answer."""

    def set_answer(self, slot: int, data: bytes) -> bool:
        self._data[slot] = data
        return True

    def reuse_packet_info(self) -> None:
        """Nothing to do: each answer has its own control messages."""

    def set_control(self, slot: int, control: Control) -> None:
        self._controls[slot] = control

    def leave_source_to_kernel(self, slot: int) -> bool:
        changed, self._controls[slot] = bool(self._controls[slot]), []
        return changed

    def send(self, first: int, last: int) -> int:
        for slot in range(first, last):
            try:
                self._socket.sendmsg(
                    [self._data[slot]], self._controls[slot], socket.MSG_DONTWAIT, self._addresses[slot]
                )
            except OSError:
                if slot == first:
                    raise
                return slot - first
        return last - first


class TtlDatagrams(SingleDatagrams):
    """As `SingleDatagrams`, for a service that reads the TTL, which may differ between datagrams of one sender."""

    def keys(self, number: int) -> Iterator[object]:
        for address, control in zip(self._addresses, self._controls, strict=True):
            yield address, *control


class OneDatagram(SingleDatagrams):
    """One UDP datagram, and its answer, on a socket with an `only_address`: a batch of one takes longer.

    No packet information has to be received or sent, which would take as long as a batch does.
    """

    def __init__(self, opened: Any, largest: int, local: bytes) -> None:
        """``local`` is the `only_address`."""
        super().__init__(opened, largest)
        self._local = local
        self._data, self._controls, self._addresses = [b""], [[]], [None]

    def receive(self) -> list[int]:
        data, _ = self.receive_one()
        return [len(data)]

    def receive_one(self) -> tuple[bytes, Any]:
        """Receive it: the datagram and its key."""
        data, address = self._socket.recvfrom(self._largest + 1)
        self._data[0], self._addresses[0] = data, address
        return data, address

    def reflect_one(self) -> bool:
        """Send it back. False: it cannot be sent, and `send` says why."""
        try:
            self._socket.sendto(self._data[0], socket.MSG_DONTWAIT, self._addresses[0])
        except OSError:
            return False
        return True

    def keys(self, number: int) -> Iterator[object]:
        return iter(self._addresses)

    def sender(self, slot: int) -> Any:
        address = self._addresses[0]
        return Sender(pack_address(address[0]), address[1], self._local, non_unicast=False)

    def origin(self, slot: int, sender: Any) -> Any:
        return None

    def send(self, first: int, last: int) -> int:
        self._socket.sendto(self._data[0], socket.MSG_DONTWAIT, self._addresses[0])
        return 1


class UnixDatagrams(SingleDatagrams):
    """As `SingleDatagrams`, over a UNIX socket, which is an `AnsweringSocket`.

    A path does not identify a sender: another user may have bound it since. So no verdict is cached.
    """

    shares_room = False
    _ancillary_size = socket.CMSG_SPACE(12)  # sizeof(struct ucred): no room for descriptors that a peer sends

    def keys(self, number: int) -> Iterator[object]:
        return repeat(None, number)

    def has_key(self, slot: int) -> bool:
        return False

    @staticmethod
    def sender_at(address: Any, control: Control) -> UnixSender:
        return UnixSender(address or "", message_credentials(control))

    def origin(self, slot: int, sender: Any) -> Control:
        """The control messages of the question: their credentials are those of the user that may get the answer."""
        return self._controls[slot]

    def leave_source_to_kernel(self, slot: int) -> bool:
        return False


class SingleRelay:
    """One answer from a connected socket to a peer. The methods are those of `RelayBatch`."""

    shares_room = False

    def __init__(self, opened: Any, largest: int, *, direct: bool = False) -> None:
        """``opened`` is the socket that answers, ``largest`` the longest answer to receive, in octets.

        ``direct``: it has an `only_address`, from which answers leave without being told to, and is not traced.
        """
        self._socket = opened
        self._largest = largest
        self._direct = direct
        self._data = b""
        self._to: tuple[Any, Any, Control] = None, None, []

    def receive(self, upstream: Any) -> list[int]:
        self._data = upstream.recv(self._largest + 1)
        return [len(self._data)]

    def datagram(self, slot: int, length: int) -> bytes:
        return self._data

    def address_to(self, sender: Any, address: Any, control: Control) -> None:
        self._to = sender, address, control

    def sender(self, slot: int) -> Any:
        return self._to[0]

    def leave_source_to_kernel(self, slot: int) -> bool:
        return False

    def send_one(self, address: Any) -> bool:
        """Send it to this address. False: it was not sent; `address_to` and `send` do so, or say why not."""
        if not self._direct:
            return False
        try:
            self._socket.sendto(self._data, socket.MSG_DONTWAIT, address)
        except OSError:
            return False
        return True

    def send(self, first: int, last: int) -> int:
        send_from(self._socket, self._data, self._to[2], self._to[1])
        return 1


Datagrams: TypeAlias = Batch | SingleDatagrams
"""A batch of datagrams, and their answers."""
