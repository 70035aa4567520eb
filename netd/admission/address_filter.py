"""Address rules and bans as a socket filter, which the kernel asks about each packet (SO_ATTACH_FILTER, socket(7)).

For sockets that netd leaves to a program, so that no other part of netd sees the peers. The filter is a program of
classic BPF (Documentation/networking/filter.rst of Linux) for IPv4, IPv6 and dual-stack sockets alike: it loads the
source address from the IP header, one word of 32 bits after the other, and searches by bisection. It accepts exactly
the sources that `AdmissionControl` neither has banned nor refuses by `access.allow` and `access.deny`; nothing else of
admission can hold there.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from netd.addresses import unmap
from netd.admission.access_table import Access
from netd.admission.addresses import NAT64, Prefixes, source_network, source_of

MOST_INSTRUCTIONS = 4096
"""The largest number of instructions that the kernel takes (BPF_MAXINSNS, linux/bpf_common.h)."""

# linux/bpf_common.h, linux/filter.h
_LOAD_WORD, _LOAD_OCTET = 0x20, 0x30  # BPF_LD | BPF_ABS, with BPF_W or BPF_B: from the packet
_STORE, _LOAD_STORED = 0x02, 0x60  # BPF_ST; BPF_LD | BPF_MEM: in memory of the filter, of 16 words
_AND, _JUMP, _EQUAL, _AT_LEAST, _RETURN = 0x54, 0x05, 0x15, 0x35, 0x06  # BPF_K: the operand is in the instruction
_IP_HEADER = 2**32 - 0x100000  # SKF_NET_OFF: where the IP header is, also for the filter of a UDP or TCP socket
_SOURCE4, _SOURCE6 = 12, 8  # where the source address is in a header of IPv4 (RFC 791) and of IPv6 (RFC 8200)
_HALF, _HIGHEST = 2**31, 2**32 - 1
_NEAR = 254  # a conditional jump reaches 255; one instruction may still come in between
_CHAIN = 8  # so many addresses are compared one by one, each by one instruction in place of two

_ACCEPT, _REJECT = 0, 1  # the labels of the two ends of each program


class Instruction(NamedTuple):
    """One instruction, with the fields of struct sock_filter (linux/filter.h)."""

    code: int
    jt: int
    jf: int
    k: int


class AddressFilter(NamedTuple):
    """A socket filter for `netd.transport.socket_filter.attach`. Filters of equal verdicts are equal."""

    program: tuple[Instruction, ...]
    left_out: int
    """How many bans had no room. They do not hold."""


def compile_filter(
    access: Access, banned: Collection[bytes], exempt: Prefixes[str], most: int = MOST_INSTRUCTIONS
) -> AddressFilter:
    """As `compiling`, at once. The largest filters take more than a second."""
    work = compiling(access, banned, exempt, most)
    while True:
        try:
            next(work)
        except StopIteration as end:
            made: AddressFilter = end.value
            return made


def compiling(
    access: Access, banned: Collection[bytes], exempt: Prefixes[str], most: int = MOST_INSTRUCTIONS
) -> Generator[None, None, AddressFilter]:
    """Compile the rules of a service and the bans in force into a filter of at most so many instructions.

    ``banned`` are sources in the order in which their bans end, as `Bans.active` returns them. Where there is no room
    for all, those that end first are left out. ``exempt`` is `bans.exempt`. Raises ValueError if the rules alone need
    more instructions. Yields after each piece of the work.
    """
    sources = list(banned)
    program = yield from _program(access, (), exempt)
    size = len(program)
    if size > most:
        rules = sum(len(access.rules[key]) for key in ("allow", "deny"))
        raise ValueError(f"{rules} rules need {size} instructions of a socket filter, the kernel takes {most}")
    kept = len(sources)
    while kept:
        larger = yield from _program(access, sources[-kept:], exempt)
        if len(larger) <= most:
            return AddressFilter(larger, len(sources) - kept)
        kept = min(kept - 1, kept * (most - size) // (len(larger) - size))
    return AddressFilter(program, len(sources))


class _Range(NamedTuple):
    """Addresses, or values of one word of them, and the label to go to. In place of the label: the ranges within."""

    first: int
    last: int
    target: "int | list[_Range]"


def _program(
    access: Access, banned: Iterable[bytes], exempt: Prefixes[str]
) -> Generator[None, None, tuple[Instruction, ...]]:
    sources = frozenset(banned)

    def label(address: bytes) -> int:
        if source_of(address) in sources and exempt.find(address) is None:
            return _REJECT
        return _ACCEPT if access.allows(address) else _REJECT

    # The verdict changes only where one of these begins or ends. A banned /64 may contain NAT64, which it does not ban.
    networks = [*NAT64, *map(source_network, sources)]
    starts4, starts6 = (
        {
            *access.starts(octets),
            *exempt.starts(octets),
            *(start for one in networks if one.bits == 8 * octets for start in (one.first, one.last + 1)),
        }
        for octets in (4, 16)
    )
    assembler = _Assembler()
    # An IPv4 address is stored where the last word of a mapped one is, so that one lookup serves both. Words are stored
    # since the kernel takes eight times the memory for a load from the packet.
    ipv4 = yield from assembler.lookup((yield from _ranges(4, starts4, label)), 0)
    starts6 |= {0xFFFF << 32, 0x10000 << 32}
    ranges = yield from _ranges(16, starts6, lambda address: label(address) if unmap(address) == address else ipv4)
    ipv6 = yield from assembler.lookup(ranges, 96)
    ipv6 = assembler.load_source(ipv6, _SOURCE6, range(4))
    ipv4 = assembler.load_source(ipv4, _SOURCE4, [3])
    # Other ends than those in the lookup: else the kernel takes the words for unset from there on, and refuses to load
    # them (EINVAL).
    assembler.add_ends()
    other = assembler.branch(_EQUAL, 0x60, ipv6, _REJECT)
    assembler.branch(_EQUAL, 0x40, ipv4, other)
    assembler.add(_AND, k=0xF0)
    assembler.add(_LOAD_OCTET, k=_IP_HEADER)  # the version, which tells the two headers on a dual-stack socket apart
    return tuple(reversed(assembler.code))


def _ranges(octets: int, starts: Iterable[int], label: Callable[[bytes], int]) -> Generator[None, None, list[_Range]]:
    """Divide all addresses of this length into ranges that each have one label; it changes at most at ``starts``."""
    end = 1 << 8 * octets
    firsts: list[tuple[int, int]] = []
    for first in sorted(starts):
        yield
        if first < end:
            target = label(first.to_bytes(octets))
            if not firsts or firsts[-1][1] != target:
                firsts.append((first, target))
    return [_Range(first, after - 1, target) for (first, target), (after, _) in pairwise([*firsts, (end, _REJECT)])]


def _words(ranges: list[_Range], shift: int) -> Generator[None, None, list[_Range]]:
    """Ranges of the values of a word, which is so many bits from the end of the address, from ranges of addresses."""
    rest = (1 << shift) - 1
    pieces = []
    for first, last, target in ranges:
        yield
        cuts = {cut for cut in ((first | rest) + 1, last & ~rest) if first < cut <= last}
        pieces += [_Range(one, after - 1, target) for one, after in pairwise([first, *sorted(cuts), last + 1])]
    found: list[_Range] = []
    for word, group in groupby(pieces, lambda piece: piece.first >> shift & _HIGHEST):
        yield
        parts = list(group)
        last = parts[-1].last >> shift & _HIGHEST
        if len(parts) > 1:
            found.append(_Range(word, last, parts))
        elif found and found[-1].target == parts[0].target:
            found[-1] = found[-1]._replace(last=last)
        else:
            found.append(_Range(word, last, parts[0].target))
    return found


class _Assembler:
    """Writes a program from its end to its start, since BPF jumps only forward.

    A label is the number of an instruction, counted from the end of the program.
    """

    def __init__(self) -> None:
        self.code: list[Instruction] = []
        self.add_ends()

    def add_ends(self) -> None:
        """Add a copy of both ends. What is added from here on goes to these."""
        self._ends = [self.add(_RETURN, k=_HIGHEST), self.add(_RETURN, k=0)]

    def add(self, code: int, jt: int = 0, jf: int = 0, k: int = 0) -> int:
        """Add an instruction in front of the others. Return its label."""
        self.code.append(Instruction(code, jt, jf, k))
        return len(self.code) - 1

    def jump(self, label: int) -> int:
        """Add a jump to any distance."""
        return self.add(_JUMP, k=len(self.code) - 1 - label)

    def branch(self, code: int, value: int, true: int, false: int) -> int:
        """Add a comparison of the loaded word with a value, which goes to one label or the other."""
        true, false = self._near(true), self._near(false)
        here = len(self.code) - 1
        return self.add(code, here - true, here - false, value)

    def _near(self, label: int) -> int:
        """A label that a conditional jump reaches: the same, a jump to it, or another copy of an end."""
        here = self._ends[label] if label in (_ACCEPT, _REJECT) else label
        if len(self.code) - 1 - here <= _NEAR:
            return here
        if label not in (_ACCEPT, _REJECT):
            return self.jump(label)
        self._ends[label] = self.add(*self.code[here])
        return self._ends[label]

    def load_source(self, label: int, at: int, words: Sequence[int]) -> int:
        """Add the loads of the source address, at this place in the IP header, into these of the four stored words."""
        if label in (_ACCEPT, _REJECT):
            return label
        self.jump(label)
        for word in reversed(words):
            self.add(_STORE, k=word)
            label = self.add(_LOAD_WORD, k=_IP_HEADER + at + 4 * (word - words[0]))
        return label

    def lookup(self, ranges: list[_Range], shift: int) -> Generator[None, None, int]:
        """Add the lookup of an address by its words: the one that is so many bits from the end, then those after it.

        Ranges with one label need no instruction.
        """

        def search(words: list[_Range]) -> Generator[None, None, int]:
            yield
            if len(words) == 1:
                target = words[0].target
                return target if isinstance(target, int) else (yield from self.lookup(target, shift - 32))
            singles = [one for one in words if one.first == one.last]
            others = [one for one in words if one.first != one.last]
            if len(singles) <= _CHAIN and len({one.target for one in others}) == 1:
                label = yield from search(others[:1])
                for one in reversed(singles):
                    label = self.branch(_EQUAL, one.first, (yield from search([one])), label)
                return label
            middle = len(words) // 2
            # The kernel takes half the memory for a jump that has the next instruction as one of its targets.
            high = yield from search(words[middle:])
            low = yield from search(words[:middle])
            return self.branch(_AT_LEAST, words[middle].first, high, low)

        if len(ranges) == 1:
            return (yield from search(ranges))
        words = yield from _words(ranges, shift)
        upper = [_Range(max(one.first - _HALF, 0), one.last - _HALF, one.target) for one in words if one.last >= _HALF]
        if len(upper) > _CHAIN:
            # The kernel takes more memory for a value from 2**31 on. Many such are compared without that bit.
            yield from search(upper)
            label = self.add(_AND, k=_HALF - 1)
            lower = [one._replace(last=min(one.last, _HALF - 1)) for one in words if one.first < _HALF]
            self.branch(_AT_LEAST, _HALF, label, (yield from search(lower)))
        else:
            yield from search(words)
        return self.add(_LOAD_STORED, k=3 - shift // 32)
