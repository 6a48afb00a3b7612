# SPDX-License-Identifier: Apache-2.0
"""An SFTP subsystem that misbehaves in the way its argument names; what it does not spoil it answers as a server would."""
import os
import struct
import sys


def send(kind, body):
    os.write(1, struct.pack(">IB", len(body) + 1, kind) + body)


def string(data):
    return struct.pack(">I", len(data)) + data


def read_exact(count):
    data = b""
    while len(data) < count:
        more = os.read(0, count - len(data))
        if not more:
            sys.exit(0)
        data += more
    return data


def status(number, code, text=b"as the test wants it"):
    send(101, number + struct.pack(">I", code) + string(text) + string(b""))


CONTENT = bytes(range(256)) * 4000  # 1,024,000 bytes


def answer_read(mode, number, offset, length):
    data = CONTENT[offset:offset + length]
    if not data:
        return status(number, 1)
    if mode == "short":
        data = data[:1000]
    if mode == "toomuch":
        data = data + b"x" * 10
    if mode == "nodata":
        data = b""
    if mode == "badid":
        number = struct.pack(">I", 77777)
    if mode == "readerror" and offset > 400000:
        return status(number, 4)
    if mode == "cut":
        os.write(1, struct.pack(">IB", len(data) + 9, 103) + number + string(data)[:len(data) // 2])
        sys.exit(0)
    if mode == "hangread":
        read_exact(1 << 30)
    if mode == "huge":
        os.write(1, struct.pack(">IB", 0x7FFFFFFF, 103))
        read_exact(1 << 30)
    send(103, number + (struct.pack(">I", len(data) + 1000) + data if mode == "liar" else string(data)))


def main(mode, server):
    if mode == "noise":
        os.write(1, b"Welcome to the box!\r\nYou have mail.\n" * 20)
        os.execv(server, [server])
    if mode == "chatter":
        os.write(1, b"no SFTP here, only words\n" * 10000)
    if mode == "silent":
        read_exact(1 << 30)
    if mode == "ends":
        os.write(2, b"sftp is not for you\n")
        sys.exit(1)
    listed = False
    while True:
        length = struct.unpack(">I", read_exact(4))[0]
        kind, body = read_exact(1)[0], read_exact(length - 1)
        number = body[:4]
        if kind == 1:
            send(2, struct.pack(">I", 3) + (b"\0\0\0\x20oops" if mode == "badhello" else b""))
        elif kind == 3:
            send(102, number + string(b"h" * (300 if mode == "longhandle" else 4)))
        elif kind == 4:
            status(number, 0)
        elif kind == 5:
            handle = struct.unpack(">I", body[4:8])[0]
            offset, count = struct.unpack(">QI", body[8 + handle:20 + handle])
            answer_read(mode, number, offset, count)
        elif kind == 6:
            status(number, 4 if mode == "writeerror" else 0)
        elif kind == 8:
            send(105, number + struct.pack(">IQ", 1, 1 << 62 if mode == "hugesize" else len(CONTENT)))
        elif kind in (7, 17):
            send(105 if mode != "wrongkind" else 103, number + struct.pack(">IQ", 1, 5))
        elif kind == 11:
            send(102, number + string(b"dir"))
        elif kind == 12 and not listed:
            listed = True
            name = {"slash": b"a/../../etc/passwd", "dotdot": b"../up", "nul": b"a\0b", "control": b"a\x1b[2J"}.get(mode, b"plain")
            send(104, number + struct.pack(">I", 2) + string(b".") + string(b"") + struct.pack(">I", 0) + string(name) + string(b"") + struct.pack(">I", 0))
        elif kind == 12:
            status(number, 1)
        elif kind == 16:
            send(104, number + struct.pack(">I", 1) + string(b"relative") + string(b"") + struct.pack(">I", 0))
        else:
            status(number, 8)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
