"""Those whom a run talks to. A line for each that hears something first, and for each whose connection has ended."""

import os
import socket
import ssl
import sys
import threading

HOST, UNIX = "127.1.0.1", sys.argv[1]
lock = threading.Lock()


def say(*words):
    with lock:
        print(*words, flush=True)


def sends(name, connection):
    """Sends for ever: the run downloads."""
    say("begun", name)
    try:
        while True:
            connection.sendall(b"x" * 4096)
    except OSError:
        say("ended", name)


def hears(name, connection):
    """Hears for ever: the run uploads."""
    begun = False
    try:
        while connection.recv(4096):
            if not begun:
                say("begun", name)
                begun = True
    except OSError:
        pass
    say("ended", name)


def serve(name, listener, talk, context=None):
    while True:
        connection = listener.accept()[0]
        if context:
            connection = context.wrap_socket(connection, server_side=True)
        threading.Thread(target=talk, args=(name, connection), daemon=True).start()


def datagrams(socket_):
    """The first of the run, and how many of it have come when somebody says `before` and, since then, `after`."""
    count, marked = 0, False
    while True:
        what = socket_.recvfrom(4096)[0].decode()
        if what in ("before", "after"):
            say(what, count)
            if not marked:
                count, marked = 0, True
            continue
        count += 1
        if count == 1 and not marked:
            say("begun", "udp")


def tcp(port):
    return socket.create_server((HOST, port))


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
at = socket.socket(socket.AF_UNIX)
at.bind(UNIX)
os.chmod(UNIX, 0o777)
at.listen()
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind((HOST, 20447))
for arguments in [
    ("tls", tcp(20444), sends, context),
    ("download", tcp(20445), sends),
    ("upload", tcp(20446), hears),
    ("unix", at, hears),
]:
    threading.Thread(target=serve, args=arguments, daemon=True).start()
say("ready")
datagrams(udp)
