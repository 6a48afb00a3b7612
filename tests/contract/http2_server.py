# SPDX-License-Identifier: Apache-2.0
"""A server of gRPC over cleartext HTTP/2 (RFC 9113) with full control of the wire, as server.py is for HTTP/1.1. Standard library only."""
import socket
import struct
import threading

import http2_headers as hpack

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 1, 1, 4, 8, 32
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Gone(Exception):
    """The other side has closed the connection."""


class Call:
    """One request: path, headers in lower case, body; and the ways to answer it. A handler runs in its own thread."""
    method = "POST"

    def __init__(self, link, number):
        self.link, self.number = link, number
        self.path, self.target, self.headers, self.body, self.more = "", "", {}, b"", []
        self.window, self.begun, self.ended = link.initial, False, False

    def message(self):
        """Returns the first message of the request."""
        return self.body[5:5 + struct.unpack(">I", self.body[1:5])[0]] if len(self.body) >= 5 else b""

    def begin(self, headers=(), kind="application/grpc"):
        if not self.begun:
            self.begun = True
            self.link.write_headers(self, [(":status", "200"), ("content-type", kind), *self.more, *headers], False)

    def send_bytes(self, data):
        self.begin()
        self.link.write_data(self, data)

    def send(self, message):
        self.send_bytes(b"\x00" + struct.pack(">I", len(message)) + message)

    def end(self, status=0, words="", more=()):
        """Ends the call with trailers; if nothing was sent before, the answer consists of them."""
        trailers = [("grpc-status", str(status)), *([("grpc-message", words)] if words else []), *more]
        if not self.begun:
            trailers = [(":status", "200"), ("content-type", "application/grpc"), *trailers]
        self.begun = True
        self.link.write_headers(self, trailers, True)

    def end_without_status(self):
        self.begin()
        self.link.frame(DATA, END_STREAM, self.number, b"")

    def refuse_in_http(self, status, body=b"", headers=()):
        """Answers like a proxy without gRPC."""
        self.begun = True
        self.link.write_headers(self, [(":status", str(status)), *headers], not body)
        if body:
            self.link.write_data(self, body)
            self.link.frame(DATA, END_STREAM, self.number, b"")

    def break_off(self):
        """Resets this call only."""
        self.link.frame(RST_STREAM, 0, self.number, struct.pack(">I", 2))

    def sever(self):
        """Resets the whole connection."""
        self.link.sever()


class Link:
    """A connection."""
    def __init__(self, server, connection):
        self.server, self.connection = server, connection
        self.calls, self.initial, self.window, self.dead = {}, 65535, 65535, False
        self.reader, self.lock, self.room = hpack.Reader(), threading.Lock(), threading.Condition()
        self.most = 16384

    # ---- Sending

    def frame(self, kind, flags, number, payload):
        with self.lock:
            try:
                self.connection.sendall(struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", number) + payload)
            except OSError as error:
                raise Gone() from error

    def write_headers(self, call, headers, last):
        if last:
            call.ended = True
        self.frame(HEADERS, END_HEADERS | (END_STREAM if last else 0), call.number, hpack.write(headers))

    def write_data(self, call, data):
        view = memoryview(data)
        while len(view):
            with self.room:
                while not self.dead and not call.ended and min(call.window, self.window) <= 0:
                    self.room.wait()
                if self.dead or call.ended:
                    raise Gone()
                n = min(len(view), call.window, self.window, self.most)
                call.window -= n
                self.window -= n
            self.frame(DATA, 0, call.number, bytes(view[:n]))
            view = view[n:]

    def sever(self):
        """Resets the connection: the reader, which owns it, is woken and closes it."""
        self.die()
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RD)
        except OSError:
            pass

    def die(self):
        with self.room:
            self.dead = True
            self.room.notify_all()

    # ---- Receiving

    def exactly(self, stream, count):
        data = stream.read(count)
        if len(data) < count:
            raise EOFError()
        return data

    def run(self):
        try:
            with self.connection.makefile("rb") as stream:
                if self.exactly(stream, len(PREFACE)) != PREFACE:
                    raise ValueError("not HTTP/2")
                self.frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 1 << 20))  # SETTINGS_INITIAL_WINDOW_SIZE
                while True:
                    head = self.exactly(stream, 9)
                    payload = self.exactly(stream, int.from_bytes(head[:3], "big"))
                    self.take(head[3], head[4], struct.unpack(">I", head[5:])[0] & 0x7FFFFFFF, payload, stream)
        except (OSError, EOFError, ValueError, IndexError, Gone):
            pass
        finally:
            self.die()
            self.connection.close()

    def take(self, kind, flags, number, payload, stream):
        if kind in (DATA, HEADERS) and flags & PADDED:
            payload = payload[1:len(payload) - payload[0]]
        if kind == HEADERS:
            self.take_headers(flags, number, payload[5:] if flags & HAS_PRIORITY else payload, stream)
        elif kind == DATA:
            self.take_data(flags, number, payload)
        elif kind == SETTINGS and not flags & ACK:
            self.take_settings(payload)
        elif kind == PING and not flags & ACK:
            self.frame(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            with self.room:
                more = struct.unpack(">I", payload)[0]
                if number == 0:
                    self.window += more
                elif number in self.calls:
                    self.calls[number].window += more
                self.room.notify_all()
        elif kind == RST_STREAM and number in self.calls:
            with self.room:
                self.calls.pop(number).ended = True
                self.room.notify_all()

    def take_settings(self, payload):
        with self.room:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at:at + 6])
                if name == 4:
                    for call in self.calls.values():
                        call.window += value - self.initial
                    self.initial = value
                elif name == 5:
                    self.most = min(value, 1 << 16)
            self.room.notify_all()
        self.frame(SETTINGS, ACK, 0, b"")

    def take_headers(self, flags, number, block, stream):
        while not flags & END_HEADERS:
            head = self.exactly(stream, 9)
            if head[3] != CONTINUATION:
                raise ValueError("a block of headers breaks off")
            block, flags = block + self.exactly(stream, int.from_bytes(head[:3], "big")), flags | head[4]
        headers = dict(self.reader.read(block))
        call = Call(self, number)
        call.path = call.target = headers.get(":path", "")
        call.headers = headers
        self.calls[number] = call
        if flags & END_STREAM:
            self.serve(call)

    def take_data(self, flags, number, payload):
        call = self.calls.get(number)
        if payload:
            size = struct.pack(">I", len(payload))
            self.frame(WINDOW_UPDATE, 0, 0, size)
            if call and not flags & END_STREAM:
                self.frame(WINDOW_UPDATE, 0, number, size)
        if call:
            call.body += payload
            if flags & END_STREAM:
                self.serve(call)

    def serve(self, call):
        def work():
            try:
                self.server.handle(call)
            except Gone:
                pass
            finally:
                with self.room:
                    self.calls.pop(call.number, None)
        thread = threading.Thread(target=work, daemon=True)
        self.server.threads.append(thread)
        thread.start()


class Server:
    """Calls `handle(call)` for each call, in a separate thread; `connections` is their number, and `over` is set when it closes."""
    def __init__(self, handle):
        self.handle, self.links, self.threads, self.over = handle, [], [], threading.Event()
        self.lock, self.closed, self.connections = threading.Lock(), False, 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, connection)
            with self.lock:
                if self.closed:
                    connection.close()
                    return
                self.links.append(link)
                self.connections += 1
            thread = threading.Thread(target=link.run, daemon=True)
            self.threads.append(thread)
            thread.start()

    def close(self):
        self.over.set()
        with self.lock:
            self.closed = True
            links = list(self.links)
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.acceptor.join()
        for link in links:
            link.die()
            try:
                link.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            link.connection.close()
        for thread in self.threads:
            thread.join(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
