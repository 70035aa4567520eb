"""Prints what is typed in upper case, as the server returns it. upper_udp.py HOST PORT"""

import socket
import sys

server = (sys.argv[1], int(sys.argv[2]))

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for line in sys.stdin:
    client.sendto(line.strip().encode(), server)
    data, address = client.recvfrom(1024)
    print(data.decode())
client.close()
