"""What curl does not do: it uploads without end, over TCP and a unix socket, sends datagrams, and serves."""

import socket
import sys
import threading
import time

HOST, UNIX = "127.1.0.1", sys.argv[1]


def say(connection, size=64, pause=0.002):
    try:
        while True:
            connection.send(b"x" * size)
            time.sleep(pause)
    except OSError as error:
        print("ended", connection.family.name, error, flush=True)
        connection.close()


def upload(connection):
    """Faster than it is taken: when it ends there is always something unsent."""
    say(connection, 1 << 16, 0)


def serve(listener):
    connection = listener.accept()[0]
    connection.sendall(b"x" * 64)
    connection.recv(64)


at = socket.socket(socket.AF_UNIX)
at.connect(UNIX)
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((HOST, 20447))
talks = [
    (upload, socket.create_connection((HOST, 20446))),
    (say, at),
    (say, udp),
    (serve, socket.create_server((HOST, 20448))),
]
for talk, connection in talks:
    threading.Thread(target=talk, args=(connection,)).start()
