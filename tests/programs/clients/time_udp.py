"""Asks for the time in a format every two seconds. time_udp.py HOST PORT SECONDS TIMES"""

import socket
import sys
import time

server, seconds, times = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3]), int(sys.argv[4])

client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for _ in range(times):
    client.sendto(b"%Y/%m/%d %H:%M:%S", server)
    print(client.recv(1024).decode())
    time.sleep(seconds)
