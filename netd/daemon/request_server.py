"""The messages of the supervisor, as a worker or a launcher receives them: a request gets a response, an order none."""

import os
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from netd.daemon.channel import Channel, ChannelError, DescriptorsLostError, Message, ProtocolError
from netd.daemon.messages.coding import encode
from netd.daemon.messages.from_worker import Failed, Response

Command = TypeVar("Command")


class RequestServer(Generic[Command]):
    """Has messages carried out, and sends the responses.

    ``decode`` returns the number of the request, None for an order, and the command; it raises `ProtocolError`.
    ``carry_out`` is called with these and the descriptors, which it closes; it returns the response, or None if that is
    sent later (`respond`). ``rejected`` is called with the reason of a message that is invalid, a bug in the
    supervisor; ``lost`` when the channel was closed.
    """

    def __init__(
        self,
        channel: Channel,
        decode: Callable[[Message, Sequence[int]], tuple[int | None, Command]],
        carry_out: Callable[[int | None, Command, list[int]], Response | None],
        rejected: Callable[[str], object],
        lost: Callable[[], object],
    ) -> None:
        self._channel = channel
        self._decode = decode
        self._carry_out = carry_out
        self._rejected = rejected
        self._lost = lost

    def receive(self) -> None:
        """Carry out all messages that are there."""
        try:
            while True:
                try:
                    received = self._channel.receive()
                except DescriptorsLostError as error:
                    self._refuse(error.message, str(error))
                    continue
                if received is None:
                    return
                self._receive(*received)
        except ChannelError:
            self._lost()

    def _receive(self, message: Message, descriptors: list[int]) -> None:
        try:
            request, command = self._decode(message, descriptors)
        except ProtocolError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            self._rejected(str(error))
            return self._refuse(message, f"a bug in netd: {error}")
        response = self._carry_out(request, command, descriptors)
        if response is not None:
            self.respond(request, response)
        return None

    def _refuse(self, message: Message, reason: str) -> None:
        request = message.get("request")
        self.respond(request if isinstance(request, int) else None, Failed(reason))

    def respond(self, request: int | None, response: Response) -> None:
        """Send the response to a request. An order has no number and gets no response."""
        if request is None:
            return
        try:
            self._channel.send_encoded(encode(response), request=request)
        except ChannelError:
            self._lost()
