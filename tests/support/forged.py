"""Datagrams with a forged source, for tests in a network namespace (root)."""

import socket
import struct


def spoof(source: tuple[str, int], destination: tuple[str, int], data: bytes = b"x") -> None:
    """Send a UDP datagram with a forged source."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        udp = struct.pack("!HHHH", source[1], destination[1], 8 + len(data), 0) + data
        addresses = socket.inet_aton(source[0]) + socket.inet_aton(destination[0])
        ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, socket.IPPROTO_UDP, 0) + addresses
        raw.sendto(ip + udp, (destination[0], 0))
