# SPDX-License-Identifier: Apache-2.0
"""Frames in both directions, and the bytes that follow one."""
import io
import json
import os
import select
import socket
import struct
import time

try:
    import zlib
except ImportError:  # this Python was built without it: nothing is compressed
    zlib = None

from errors import DATA_LOSS, INVALID_ARGUMENT, PERMISSION_DENIED, Refused
from fields import count_of

PROTOCOL = 1
HEADER_MAX = 16 << 20
BYTES_MAX = 4 << 20
CHUNK = 256 << 10
AHEAD = 8 << 10  # bytes that may be read beyond those requested
LENT_MAX = 64
LENT_SECONDS = 30


class Source(object):
    """Incoming bytes."""

    def __init__(self, fd, held=b""):
        self.fd, self.file = fd, io.FileIO(fd, "rb", closefd=False)
        self.held = bytearray(held)  # read, but not taken yet

    def take(self, length):
        """Returns length bytes. Larger amounts are read directly into the result."""
        while len(self.held) < length <= AHEAD:
            more = self.file.read(AHEAD)
            if not more:
                raise EOFError()
            self.held += more
        taken = bytearray(length)
        count = min(length, len(self.held))
        taken[:count] = self.held[:count]
        del self.held[:count]
        with memoryview(taken) as view:
            while count < length:
                more = self.file.readinto(view[count:])
                if not more:
                    raise EOFError()
                count += more
        return taken

    def pending(self, seconds):
        """True if bytes, or the end, are available within that time."""
        return bool(self.held) or bool(select.select([self.fd], [], [], seconds)[0])


class Lent(object):
    """Streams lent by other connections of this user: their standard inputs, passed through an abstract socket. Frames on the first
    stream tell what their bytes mean."""

    def __init__(self):
        self.listener, self.sources, self.lenders = None, {}, []

    def listen(self):
        """Returns the name of the socket; None if the system has no abstract sockets (only Linux has)."""
        self.give_back()
        try:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(b"\0kolm-" + os.urandom(16).hex().encode("ascii"))
            self.listener.listen(16)
            self.listener.settimeout(LENT_SECONDS)
            return self.listener.getsockname()[1:].decode("ascii")
        except (OSError, AttributeError):
            self.give_back()
            return None

    def accept(self):
        lender = self.listener.accept()[0]
        if self.stranger(lender):
            lender.close()
            return
        lender.settimeout(LENT_SECONDS)
        self.lenders.append(lender)
        number, passed = lender.recvmsg(4, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)[:2]
        if len(number) == 4 and passed and passed[0][1] == socket.SCM_RIGHTS:
            stream, fd = struct.unpack(">I", number)[0], struct.unpack("i", passed[0][2])[0]
            if stream in self.sources:
                os.close(fd)
            else:
                self.sources[stream] = Source(fd)

    @staticmethod
    def stranger(peer):
        """True if peer belongs to another user: the names of abstract sockets are not secret, and they have no permissions."""
        return struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] != os.geteuid()

    def take(self, stream, length):
        try:
            while stream not in self.sources and self.listener and len(self.lenders) < LENT_MAX:
                self.accept()
            return self.sources[stream].take(length)
        except (OSError, KeyError):  # its bytes are missing, so nothing after them can be interpreted
            raise EOFError()

    def give_back(self):
        for source in self.sources.values():
            os.close(source.fd)
        for lender in self.lenders + [self.listener] * (self.listener is not None):  # closing the listener also closes those not accepted
            lender.close()
        self.listener, self.sources, self.lenders = None, {}, []

    @classmethod
    def lend(cls, name, stream, fd, done):
        """Passes fd on, calls done, and waits until it is given back."""
        with socket.socket(socket.AF_UNIX) as lender:
            lender.settimeout(LENT_SECONDS)
            lender.connect(b"\0" + name)
            if cls.stranger(lender):
                raise Refused(PERMISSION_DENIED, "the socket belongs to another user")
            lender.sendmsg([struct.pack(">I", stream)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))])
            done()
            lender.settimeout(None)
            lender.recv(1)


class Link(object):
    def __init__(self, fd_in, fd_out, held=b""):
        self.source, self.fd_out, self.lent = Source(fd_in, held), fd_out, Lent()
        self.take, self.pending = self.source.take, self.source.pending

    def receive(self):
        """Returns (header, bytes). EOFError if the link is closed; Refused if the input is not a frame: then nothing after it
        can be interpreted."""
        length = struct.unpack(">I", self.take(4))[0]
        if length > HEADER_MAX:
            raise Refused(INVALID_ARGUMENT, "a frame of %d bytes is too long" % length)
        try:
            header = json.loads(self.take(length).decode("utf-8"))
        except ValueError:
            raise Refused(INVALID_ARGUMENT, "a frame is not JSON")
        if not isinstance(header, dict):
            raise Refused(INVALID_ARGUMENT, "a frame is not an object")
        count = header.get("bytes", 0)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= BYTES_MAX:
            raise Refused(INVALID_ARGUMENT, "a frame has an invalid number of bytes")
        stream = count_of(header, "stream", 0)
        return header, b"" if not count else self.lent.take(stream, count) if stream else self.take(count)

    def send(self, header, raw=b""):
        if raw:
            header = dict(header, bytes=len(raw))
        text = json.dumps(header).encode("ascii")
        data = memoryview(struct.pack(">I", len(text)) + text + raw)
        while data:
            data = data[os.write(self.fd_out, data):]


class Packer(object):
    """Sends the pieces of a file, compressed if that is faster. The connection's speed is measured over all its files."""
    wire_ns = 100.0  # to send a byte; an assumption until it is measured

    def __init__(self, link, allowed):
        self.link, self.allowed = link, allowed
        self.pack_ns, self.left, self.plain = 15.0, 0.5, 0  # to compress a byte; compressed / size; pieces until the next attempt

    def packed(self, chunk):
        self.plain -= 1
        if not self.allowed or len(chunk) < 1024 or self.plain > 0 or self.pack_ns >= (1 - self.left) * self.wire_ns:
            return None
        begun = time.monotonic()
        packed = zlib.compress(chunk, 1)
        self.pack_ns += (1e9 * (time.monotonic() - begun) / len(chunk) - self.pack_ns) / 4
        if len(packed) > 0.95 * len(chunk):
            self.plain = 32
            return None
        self.left += (len(packed) / len(chunk) - self.left) / 4
        return packed

    def send(self, header, chunk):
        packed = self.packed(chunk)
        if packed is not None:
            header["packed"], chunk = len(chunk), packed
        begun = time.monotonic()
        self.link.send(header, chunk)
        measured = 1e9 * (time.monotonic() - begun) / len(chunk)
        Packer.wire_ns += (measured - Packer.wire_ns) * len(chunk) / (4 << 20)  # small pieces fit into buffers, so they count less


def unpacked(request, raw):
    """Returns what was sent, decompressed if necessary. It must have exactly the announced size."""
    if "packed" not in request:
        return raw
    size = count_of(request, "packed")
    stream = zlib.decompressobj() if zlib and 0 < size <= BYTES_MAX else None
    try:
        data = stream.decompress(raw, size + 1) if stream else b""
    except zlib.error:
        data = b""
    if not stream or len(data) != size or not stream.eof or stream.unused_data:
        raise Refused(DATA_LOSS, "a compressed piece cannot be decompressed", "run the same command again")
    return data
