"""Prints what is typed in upper case, as the server returns it, until *. upper_tcp.py HOST PORT"""

import socket
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as s:
    s.connect((HOST, PORT))
    while True:
        text = input()
        s.sendall(text.encode())
        print(s.recv(1024).decode())
        if text == "*":
            break
