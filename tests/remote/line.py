# SPDX-License-Identifier: Apache-2.0
"""Connections to a server: Line counts the bytes in each direction and breaks, stalls or waits at a chosen one; Distance adds latency."""
import collections
import contextlib
import select
import socket
import threading
import time

UP, DOWN = "up", "down"


class Line:
    """Forwards its port to another. After `at` bytes (of all connections together) in the direction `way`, it does `then`, once: "cut" ends
    that connection; "still" leaves it open and forwards nothing more in either direction; "hold" forwards nothing on it until go(), and
    "lose" ends it then. each: for every connection, by its own count, instead of once."""

    def __init__(self, target, at=None, way=UP, then="cut", each=False):
        self.target, self.at, self.way, self.then, self.each = target, at, way, then, each
        self.passed = {UP: 0, DOWN: 0}
        self.pieces = {UP: [0], DOWN: [0]}  # total after each piece: where messages begin and end
        self.connections = []  # {UP: bytes, DOWN: bytes}, in order of arrival
        self.tripped, self.going, self.closing = threading.Event(), threading.Event(), threading.Event()
        self.guard = threading.Lock()
        self.sockets, self.threads = [], []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(16)
        self.port = self.listener.getsockname()[1]
        self.begin(self.accept)

    def begin(self, what, *arguments):
        self.threads.append(threading.Thread(target=what, args=arguments, daemon=True))
        self.threads[-1].start()

    def accept(self):
        while not self.closing.is_set():
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for s in (client, server):
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets += [client, server]
            still, count = threading.Event(), {UP: 0, DOWN: 0}
            self.connections.append(count)
            self.begin(self.copy, client, server, UP, still, count)
            self.begin(self.copy, server, client, DOWN, still, count)

    def take(self, way, length, count):
        """Returns how many of the `length` bytes come before `at`; None if `at` is not among them."""
        with self.guard:
            before = count[way] if self.each else self.passed[way]
            again = self.each or not self.tripped.is_set()
            if way == self.way and self.at is not None and again and before <= self.at < before + length:
                self.tripped.set()
                length = self.at - before
                self.passed[way] += length
                return length
            self.passed[way] += length
            self.pieces[way].append(self.passed[way])
            return None

    def copy(self, source, sink, way, still, count):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if still.is_set():
                    self.closing.wait()
                    break
                first = self.take(way, len(data), count)
                if first is not None:
                    sink.sendall(data[:first])
                    data = data[first:]
                    if self.then == "cut":
                        break
                    if self.then == "still":
                        still.set()
                        self.closing.wait()
                        break
                    self.going.wait()
                    if self.then == "lose":
                        break
                    self.passed[way] += len(data)
                sink.sendall(data)
                count[way] += len(data) + (first or 0)
        for s in (source, sink):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def go(self):
        self.going.set()

    def stop(self):
        self.closing.set()
        self.going.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(5)
        for s in self.sockets:
            s.close()


class Distance:
    """Forwards its port to another, delayed by `seconds` in each direction, with unlimited bandwidth."""

    def __init__(self, target, seconds):
        self.target, self.seconds = target, seconds
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self.sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                queue, ready = collections.deque(), threading.Condition()
                threading.Thread(target=self.take, args=(one, queue, ready), daemon=True).start()
                threading.Thread(target=self.give, args=(other, queue, ready), daemon=True).start()

    def take(self, source, queue, ready):
        data = True
        while data:
            try:
                data = source.recv(1 << 20)
            except OSError:
                data = b""
            with ready:
                queue.append((time.monotonic() + self.seconds, data))
                ready.notify()

    @staticmethod
    def give(sink, queue, ready):
        data = True
        while data:
            with ready:
                ready.wait_for(lambda: queue)
                when, data = queue.popleft()
            select.select([], [], [], max(0.0, when - time.monotonic()))  # this is the delay itself
            try:
                sink.sendall(data)
            except OSError:
                return
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        for s in [self.listener] + self.sockets:
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)
            s.close()
