# SPDX-License-Identifier: Apache-2.0
"""Frames both ways, and the bytes that come with a frame."""
import io
import json
import os
import select
import socket
import struct
import time

try:
    import zlib
except ImportError:  # a Python that was built without: nothing is compressed then
    zlib = None

from errors import DATA_LOSS, INVALID_ARGUMENT, PERMISSION_DENIED, Refused
from fields import count_of

PROTOCOL = 1
HEADER_MAX = 16 << 20
BYTES_MAX = 4 << 20
CHUNK = 256 << 10
AHEAD = 8 << 10  # bytes that may be read of what follows
LENT_MAX = 64
LENT_SECONDS = 30


class Source(object):
    """Bytes that come."""

    def __init__(self, fd, held=b""):
        self.fd, self.file = fd, io.FileIO(fd, "rb", closefd=False)
        self.held = bytearray(held)  # read, and not taken yet

    def take(self, length):
        """So many bytes. What is much is read to where it stays."""
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
        """True when something, or the end, is there within that time."""
        return bool(self.held) or bool(select.select([self.fd], [], [], seconds)[0])


class Lent(object):
    """Streams that other connections of this user lend: their standard inputs, passed on through a socket without a place on the disk.
    What they send is understood by what comes on the first stream."""

    def __init__(self):
        self.listener, self.sources, self.lenders = None, {}, []

    def listen(self):
        """The name of the socket; None where there is no such thing (it is Linux's)."""
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
        """True when it is another user's: names of such sockets are no secret, and nothing guards them."""
        return struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1] != os.geteuid()

    def take(self, stream, length):
        try:
            while stream not in self.sources and self.listener and len(self.lenders) < LENT_MAX:
                self.accept()
            return self.sources[stream].take(length)
        except (OSError, KeyError):  # what was to come there is missed: nothing after it can be understood
            raise EOFError()

    def give_back(self):
        for source in self.sources.values():
            os.close(source.fd)
        for lender in self.lenders + [self.listener] * (self.listener is not None):  # with it go those that were not taken
            lender.close()
        self.listener, self.sources, self.lenders = None, {}, []

    @classmethod
    def lend(cls, name, stream, fd, done):
        """Passes fd on, calls done, and waits until it is given back."""
        with socket.socket(socket.AF_UNIX) as lender:
            lender.settimeout(LENT_SECONDS)
            lender.connect(b"\0" + name)
            if cls.stranger(lender):
                raise Refused(PERMISSION_DENIED, "somebody else listens there")
            lender.sendmsg([struct.pack(">I", stream)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd))])
            done()
            lender.settimeout(None)
            lender.recv(1)


class Link(object):
    def __init__(self, fd_in, fd_out, held=b""):
        self.source, self.fd_out, self.lent = Source(fd_in, held), fd_out, Lent()
        self.take, self.pending = self.source.take, self.source.pending

    def receive(self):
        """(header, bytes). EOFError when the link is gone; Refused when what came is no frame: then nothing after it can be
        understood."""
        length = struct.unpack(">I", self.take(4))[0]
        if length > HEADER_MAX:
            raise Refused(INVALID_ARGUMENT, "a frame of %d bytes" % length)
        try:
            header = json.loads(self.take(length).decode("utf-8"))
        except ValueError:
            raise Refused(INVALID_ARGUMENT, "a frame that is not JSON")
        if not isinstance(header, dict):
            raise Refused(INVALID_ARGUMENT, "a frame that is not an object")
        count = header.get("bytes", 0)
        if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= BYTES_MAX:
            raise Refused(INVALID_ARGUMENT, "a frame with a bad number of bytes")
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
    """Sends the pieces of a file, compressed where that is quicker. The line is measured over all files of a connection."""
    wire_ns = 100.0  # to send a byte, until it was measured

    def __init__(self, link, allowed):
        self.link, self.allowed = link, allowed
        self.pack_ns, self.left, self.plain = 15.0, 0.5, 0  # to compress a byte; the share that is left; pieces until another try

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
        Packer.wire_ns += (measured - Packer.wire_ns) * len(chunk) / (4 << 20)  # less fits into buffers, and seems to be sent at once


def unpacked(request, raw):
    """What was sent, compressed or not: exactly as much as is said."""
    if "packed" not in request:
        return raw
    size = count_of(request, "packed")
    stream = zlib.decompressobj() if zlib and 0 < size <= BYTES_MAX else None
    try:
        data = stream.decompress(raw, size + 1) if stream else b""
    except zlib.error:
        data = b""
    if not stream or len(data) != size or not stream.eof or stream.unused_data:
        raise Refused(DATA_LOSS, "a piece that came compressed cannot be read", "run the same command again")
    return data
