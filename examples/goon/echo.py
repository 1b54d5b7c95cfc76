"""An echo server, UDP and TCP, that never blocks and never holds more than its share."""

import collections
import selectors
import socket

PORT = 7
IP_FREEBIND = 15  # <linux/in.h>: bind before DHCP has set the address
TURN = 64  # datagrams or connections before the others get their turn
MOST_CONNECTIONS = 512
MOST_PENDING = 262144


class Echo:
    def __init__(self, address, port=PORT):
        self.selector = selectors.DefaultSelector()
        self.pending = collections.OrderedDict()  # connection to what it still has to get; the oldest first
        self.datagrams = bound(socket.SOCK_DGRAM, address, port)
        self.listener = bound(socket.SOCK_STREAM, address, port)
        self.listener.listen(256)
        for sock in (self.datagrams, self.listener):
            self.selector.register(sock, selectors.EVENT_READ)

    def serve(self, timeout, answering=True):
        """Wait so long at most and serve once what is ready; returns the addresses of those who came."""
        came = []
        for key, events in self.selector.select(timeout):
            if key.fileobj is self.datagrams:
                came += self.answer_datagrams(answering)
            elif key.fileobj is self.listener:
                came += self.accept()
            elif key.fileobj in self.pending:  # not closed to make room for another one
                self.answer_stream(key.fileobj, events, answering)
        return came

    def answer_datagrams(self, answering):
        came = []
        for _ in range(TURN):
            try:
                data, peer = self.datagrams.recvfrom(65535)
                came.append(peer[0])
                if answering:
                    self.datagrams.sendto(data, peer)
            except BlockingIOError:
                break
            except OSError:
                continue  # an answer that cannot be sent is lost, as datagrams may be
        return came

    def accept(self):
        came = []
        for _ in range(TURN):
            try:
                connection, peer = self.listener.accept()
            except OSError:
                break
            came.append(peer[0])
            connection.setblocking(False)
            self.pending[connection] = bytearray()
            self.selector.register(connection, selectors.EVENT_READ)
            if len(self.pending) > MOST_CONNECTIONS:
                self.close(next(iter(self.pending)))
        return came

    def answer_stream(self, connection, events, answering):
        pending = self.pending[connection]
        try:
            if events & selectors.EVENT_READ:
                data = connection.recv(65536)
                if not data and not pending:
                    return self.close(connection)
                pending += data if answering else b""
            if pending:
                del pending[: connection.send(pending)]
        except BlockingIOError:
            pass
        except OSError:
            return self.close(connection)
        wanted = selectors.EVENT_WRITE if pending else 0
        if len(pending) < MOST_PENDING:
            wanted |= selectors.EVENT_READ
        self.selector.modify(connection, wanted)

    def close(self, connection):
        self.selector.unregister(connection)
        del self.pending[connection]
        connection.close()


def bound(kind, address, port):
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((address, port))
    sock.setblocking(False)
    return sock
