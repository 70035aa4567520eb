"""An interpreter of classic BPF, for the instructions that netd uses (filter.rst of Linux)."""

from collections.abc import Sequence
from typing import NamedTuple

from netd.addresses import map_to_ipv6
from netd.admission.address_filter import Instruction

_IP_HEADER = 2**32 - 0x100000  # SKF_NET_OFF


class Run(NamedTuple):
    """The result of a program."""

    kept: int
    """How many octets of the packet are kept; 0: it is discarded."""
    steps: int
    """How many instructions were executed."""


def run(program: Sequence[Instruction], packet: bytes) -> Run:
    """Run a program on a packet that begins with its IP header. AssertionError: the kernel would not take it."""
    assert 0 < len(program) <= 4096
    a = place = steps = 0
    memory: dict[int, int] = {}
    while True:
        assert 0 <= place < len(program)
        code, jt, jf, k = program[place]
        assert max(jt, jf) <= 255
        assert k < 2**32
        place, steps = place + 1, steps + 1
        match code:
            case 0x20 | 0x30:  # BPF_LD | BPF_ABS | BPF_W or BPF_B
                start, size = k - _IP_HEADER, 4 if code == 0x20 else 1
                assert start >= 0
                if start + size > len(packet):
                    return Run(0, steps)
                a = int.from_bytes(packet[start : start + size])
            case 0x02:  # BPF_ST
                assert k < 16
                memory[k] = a
            case 0x60:  # BPF_LD | BPF_MEM
                a = memory[k]
            case 0x54:  # BPF_ALU | BPF_AND | BPF_K
                a &= k
            case 0x05:  # BPF_JMP | BPF_JA
                place += k
            case 0x15:  # BPF_JMP | BPF_JEQ | BPF_K
                place += jt if a == k else jf
            case 0x35:  # BPF_JMP | BPF_JGE | BPF_K
                place += jt if a >= k else jf
            case 0x06:  # BPF_RET | BPF_K
                return Run(k, steps)
            case _:
                raise AssertionError(f"instruction {place - 1} has the unknown code {code:#x}")


def ip_header(source: bytes, *, ipv6: bool = False) -> bytes:
    """An IP header with this source address and nothing else of meaning; ``ipv6``: one of IPv6 also for an IPv4 one."""
    if len(source) == 4 and not ipv6:
        return b"\x45" + b"\xa5" * 11 + source + b"\x5a" * 4
    return b"\x60" + b"\xa5" * 7 + map_to_ipv6(source) + b"\x5a" * 16
