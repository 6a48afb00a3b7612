# SPDX-License-Identifier: Apache-2.0
"""The basis of all servers of the contract tests: HTTP/1.1 with full control of the wire, TLS with its own authority, and a list of
requests."""
import os
import socket
import ssl
import subprocess
import threading


class Request:
    """One request as received; names of headers in lower case."""
    def __init__(self, method, target, headers, body, connection):
        self.method, self.target, self.headers, self.body, self.connection = method, target, headers, body, connection

    def __repr__(self):
        return "%s %s" % (self.method, self.target)


def answer(status, body=b"", headers=(), reason="Words"):
    """Returns the bytes of a complete answer."""
    if isinstance(body, str):
        body = body.encode()
    lines = ["HTTP/1.1 %d %s" % (status, reason), *("%s: %s" % pair for pair in headers)]
    if not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in headers):
        lines.append("Content-Length: %d" % len(body))
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def read_request(stream, connection):
    """Returns the next request of a connection, None at its end."""
    line = stream.readline(65536)
    if not line.strip():
        return None
    method, target, version = line.decode("latin-1").split(" ", 2)
    if not version.startswith("HTTP/1."):
        raise ValueError("not HTTP")
    headers = {}
    while True:
        line = stream.readline(65536)
        if line in (b"\r\n", b"\n", b""):
            break
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while True:
            size = int(stream.readline(1024).split(b";")[0], 16)
            piece = stream.read(size + 2)[:size]
            if size == 0:
                break
            body += piece
    else:
        body = stream.read(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body, connection)


class Server:
    """Answers with the bytes that `handle(request, connection)` returns; if it returns None, it has written to the connection itself, which
    is then closed. `seen` holds every request in order, `connections` is their number; `over` is set when the server closes, for a handler
    that does not answer until then."""
    def __init__(self, handle, context=None, raw=None):
        self.handle, self.context, self.raw = handle, context, raw
        self.seen, self.connections, self.errors = [], 0, []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.threads, self.open = [], []
        self.closed, self.over = False, threading.Event()
        self.acceptor = threading.Thread(target=self.accept, daemon=True)
        self.acceptor.start()

    def url(self, path="/", scheme=None):
        return "%s://127.0.0.1:%d%s" % (scheme or ("https" if self.context else "http"), self.port, path)

    def accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                if self.closed:
                    plain.close()
                    return
                self.connections += 1
                self.open.append(plain)
                thread = threading.Thread(target=self.serve, args=(plain,), daemon=True)
                self.threads.append(thread)
            thread.start()

    def serve(self, plain):
        connection = plain
        try:
            if self.raw:
                self.raw(plain)
                return
            if self.context:
                connection = self.context.wrap_socket(plain, server_side=True)
                with self.lock:
                    self.open.append(connection)
            with connection.makefile("rb") as stream:
                while True:
                    request = read_request(stream, connection)
                    if request is None:
                        return
                    with self.lock:
                        self.seen.append(request)
                    reply = self.handle(request, connection)
                    if reply is None:
                        return
                    connection.sendall(reply)
        except (OSError, ValueError) as error:  # the other side closed the connection, or does not use TLS
            self.errors.append(error)
        finally:
            for end in (connection, plain):
                try:
                    end.close()
                except OSError:
                    pass

    def close(self):
        self.over.set()
        with self.lock:
            self.closed = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.acceptor.join()
        with self.lock:
            left = list(self.open)
        for end in left:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        for thread in self.threads:
            thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def reset(connection):
    """Ends a connection with RST, so that the other side gets an error instead of an end."""
    plain = connection
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    plain.close()


class Authority:
    """An authority with certificates for 127.0.0.1 and localhost, and wrong ones, which openssl makes in `folder`."""
    def __init__(self, folder):
        self.folder = folder
        self.ca = os.path.join(folder, "ca.pem")
        self.make("ca", None, ["-addext", "basicConstraints=critical,CA:TRUE"])

    def openssl(self, *words, at=None):
        subprocess.run([*(["faketime", at] if at else []), "openssl", *words], cwd=self.folder, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def make(self, name, issuer, more, at=None):
        words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", name + ".key", "-out", name + ".pem", "-subj",
                 "/CN=kolm test " + name, "-days", "2", *more]
        if issuer:
            words += ["-CA", issuer + ".pem", "-CAkey", issuer + ".key"]
        self.openssl(*words, at=at)

    def context(self, name="server", names="IP:127.0.0.1,DNS:localhost", issuer="ca", at=None):
        """Returns a server's TLS context with such a certificate, made on first use, on the day `at`."""
        if not os.path.exists(os.path.join(self.folder, name + ".pem")):
            self.make(name, issuer, ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=" + names], at)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(self.folder, name + ".pem"), os.path.join(self.folder, name + ".key"))
        return context
