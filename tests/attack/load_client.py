"""Connects, asks, closes, and sends datagrams, again and again, until standard input ends; prints what became of them.

A program of its own, with the standard library alone, since it also runs beside a systemd in other namespaces. The
argument is a JSON object: ``tcp`` and ``udp`` are lists of [host, port], ``threads`` the number of threads for each.
"""

import collections
import json
import socket
import sys
import threading
import time

PATIENCE = 10.0  # seconds until a connection counts as timed out
LOST = 10.0  # seconds until a datagram without an answer counts as lost

outcomes: "collections.Counter[str]" = collections.Counter()
slowest = [0.0]
enough = threading.Event()


def outcome_of_a_connection(host: str, port: int) -> str:
    try:
        with socket.create_connection((host, port), PATIENCE) as connection:
            try:
                connection.sendall(b"hello")
                answer = b""
                while len(answer) < 5:
                    piece = connection.recv(5)
                    if not piece:
                        return "tcp_reset"
                    answer += piece
            except TimeoutError:
                return "tcp_timed_out"
            except OSError:
                return "tcp_reset"
            return "tcp_done" if answer == b"hello" else "tcp_wrong"
    except TimeoutError:
        return "tcp_timed_out"
    except ConnectionRefusedError:
        return "tcp_refused"
    except OSError as error:
        return f"tcp_{type(error).__name__}"


def connect(host: str, port: int) -> None:
    while not enough.is_set():
        start = time.monotonic()
        outcome = outcome_of_a_connection(host, port)
        outcomes[outcome] += 1
        slowest[0] = max(slowest[0], time.monotonic() - start)
        if outcome != "tcp_done":
            enough.wait(0.01)


def send(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    number = 0
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.settimeout(LOST)
        client.connect((host, port))
        while not enough.is_set():
            number += 1
            question = b"%d" % number
            try:
                client.send(question)
                while client.recv(100) != question:  # the answer to one that was given up
                    pass
                outcomes["udp_done"] += 1
            except TimeoutError:
                outcomes["udp_lost"] += 1
            except ConnectionRefusedError:
                outcomes["udp_refused"] += 1


def main() -> None:
    wanted = json.loads(sys.argv[1])
    threads = [
        threading.Thread(target=work, args=address)
        for work, addresses in ((connect, wanted.get("tcp", [])), (send, wanted.get("udp", [])))
        for address in addresses
        for _ in range(wanted.get("threads", 2))
    ]
    for thread in threads:
        thread.start()
    print("started", flush=True)
    sys.stdin.read()
    enough.set()
    for thread in threads:
        thread.join()
    print(json.dumps({**outcomes, "slowest": round(slowest[0], 3)}), flush=True)


main()
