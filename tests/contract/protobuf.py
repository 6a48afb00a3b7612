# SPDX-License-Identifier: Apache-2.0
"""Protocol Buffers messages as dictionaries, described by a schema in text. A line is a message: "Name: field=1s other=2*Name2". Types: s
text, y bytes, v an integer (also bool and enum), f float, d double, m map of text to text, otherwise the name of a message; * before it:
repeated."""
import struct


class Schema:
    def __init__(self, text):
        self.messages = {}
        for line in text.strip().splitlines():
            name, _, fields = line.partition(":")
            self.messages[name.strip()] = {}
            for field in fields.split():
                key, _, rest = field.partition("=")
                digits = len(rest) - len(rest.lstrip("0123456789"))
                kind = rest[digits:]
                self.messages[name.strip()][int(rest[:digits])] = (key, kind.lstrip("*"), kind.startswith("*"))

    # ---- Reading

    def read(self, name, data):
        value, at = {}, 0
        for number, (key, kind, several) in self.messages[name].items():
            if several or kind == "m":
                value[key] = {} if kind == "m" else []
        while at < len(data):
            tag, at = number_at(data, at)
            raw, at = field_at(data, at, tag & 7)
            if tag >> 3 not in self.messages[name]:
                value.setdefault("unknown", []).append(tag >> 3)
                continue
            key, kind, several = self.messages[name][tag >> 3]
            if kind == "m":
                entry = {number: text for number, text in pairs(raw)}
                value[key][entry.get(1, b"").decode()] = entry.get(2, b"").decode()
                continue
            one = self.convert(kind, raw, tag & 7)
            if several:
                value[key].append(one)
            else:
                value[key] = one
        return value

    def convert(self, kind, raw, wire):
        if kind == "s":
            return raw.decode()
        if kind == "f":
            return struct.unpack("<f", raw)[0]
        if kind == "d":
            return struct.unpack("<d", raw)[0]
        if kind in ("y", "v"):
            return raw
        assert wire == 2
        return self.read(kind, raw)

    # ---- Writing

    def write(self, name, value):
        out, left = b"", dict(value)
        for number, (key, kind, several) in sorted(self.messages[name].items()):
            if key not in left:
                continue
            one = left.pop(key)
            if kind == "m":
                for name_, text in one.items():
                    out += self.field(number, "y", self.field(1, "s", name_) + self.field(2, "s", text))
            else:
                for item in one if several else [one]:
                    out += self.field(number, kind, item)
        assert not left, (name, left)
        return out

    def field(self, number, kind, value):
        if kind == "v":
            return packed(number << 3) + packed(int(value))
        if kind in "fd":
            return packed(number << 3 | (5 if kind == "f" else 1)) + struct.pack("<" + kind, value)
        data = value.encode() if kind == "s" else value if kind == "y" else self.write(kind, value)
        return packed(number << 3 | 2) + packed(len(data)) + data


def number_at(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if not byte & 128:
            return value, at


def field_at(data, at, wire):
    if wire == 0:
        return number_at(data, at)
    if wire == 2:
        length, at = number_at(data, at)
    else:
        length = {1: 8, 5: 4}[wire]
    if at + length > len(data):
        raise ValueError("a field breaks off")
    return bytes(data[at:at + length]), at + length


def pairs(data):
    at = 0
    while at < len(data):
        tag, at = number_at(data, at)
        raw, at = field_at(data, at, tag & 7)
        yield tag >> 3, raw


def packed(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))
