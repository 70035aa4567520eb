"""A relay in front of a UDP service that loses, delays, duplicates, reorders and damages answers, by a seed."""

import heapq
import selectors
import socket
import threading
import time
from random import Random

_NUMBER = slice(8, 24)  # in hexadecimal, in a question of echo as text


class Relay:
    """The relay: a thread with its port. Its attributes count what it did to the answers."""

    def __init__(
        self,
        port: int,
        seed: int,
        *,
        lose: float = 0.0,
        double: float = 0.0,
        damage: float = 0.0,
        delay: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.lost = 0
        self.doubled = 0
        self.damaged = 0
        self.passed: list[int] = []
        """The numbers of the undamaged answers, in the order in which they were passed on."""
        self.delays: dict[int, float] = {}
        """The shortest delay of each answer, in seconds."""
        self._random = Random(seed)
        self._shares = lose, double, damage
        self._delay = delay
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._back.connect(("127.0.0.1", port))
        self._end, self._ended = socket.socketpair()
        self._held: list[tuple[float, int, bytes, int | None]] = []
        self._client = ("", 0)
        self._thread = threading.Thread(target=self._run)

    @property
    def url(self) -> str:
        return f"udp://127.0.0.1:{self._front.getsockname()[1]}"

    @property
    def overtaken(self) -> int:
        """The number of first answers after one with a higher number (RFC 4737)."""
        highest, seen, number_of = -1, set(), 0
        for number in self.passed:
            if number not in seen:
                number_of += number < highest
                highest = max(highest, number)
                seen.add(number)
        return number_of

    @property
    def repeated(self) -> int:
        """The number of repeated undamaged answers."""
        return len(self.passed) - len(set(self.passed))

    def __enter__(self) -> "Relay":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.close()
        self._thread.join(10)
        for one in (self._front, self._back, self._ended):
            one.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (self._front, self._back, self._ended):
                selector.register(one, selectors.EVENT_READ)
            while True:
                wait = max(0.0, self._held[0][0] - time.monotonic()) if self._held else None
                ready = {key.fileobj for key, _ in selector.select(wait)}
                if self._ended in ready:
                    return
                if self._front in ready:
                    data, self._client = self._front.recvfrom(65536)
                    self._back.send(data)
                if self._back in ready:
                    self._impair(self._back.recv(65536))
                while self._held and self._held[0][0] <= time.monotonic():
                    self._pass_on(*heapq.heappop(self._held)[2:])

    def _impair(self, answer: bytes) -> None:
        lose, double, damage = self._shares
        if self._random.random() < lose:
            self.lost += 1
            return
        number = int(answer[_NUMBER], 16)
        copies = [answer]
        if self._random.random() < double:
            self.doubled += 1
            copies.append(answer)
        for copy in copies:
            changed = bytearray(copy)
            if self._random.random() < damage:
                self.damaged += 1
                changed[self._random.randrange(len(changed))] ^= self._random.randrange(1, 256)
            self._hold(bytes(changed), number if bytes(changed) == copy else None)

    def _hold(self, answer: bytes, number: int | None) -> None:
        """Keep an answer until its delay is over. ``number``: its number; None where it is damaged."""
        delay = self._random.uniform(*self._delay)
        if number is not None:
            self.delays[number] = min(delay, self.delays.get(number, delay))
        heapq.heappush(self._held, (time.monotonic() + delay, self._random.getrandbits(32), answer, number))

    def _pass_on(self, answer: bytes, number: int | None) -> None:
        if number is not None:
            self.passed.append(number)
        self._front.sendto(answer, self._client)
