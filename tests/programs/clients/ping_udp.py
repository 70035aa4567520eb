"""ping, and pong has to come back. ping_udp.py HOST PORT"""

import socket
import sys

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(3):
    s.sendto(b"ping", (sys.argv[1], int(sys.argv[2])))
    data, server = s.recvfrom(1024)
    if data == b"pong":
        print("ok")
