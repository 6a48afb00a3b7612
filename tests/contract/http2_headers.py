# SPDX-License-Identifier: Apache-2.0
"""HPACK (RFC 7541) for the servers of the contract tests: reads everything that a client may send, and writes only literals."""
import functools

STATIC = """:authority|:method GET|:method POST|:path /|:path /index.html|:scheme http|:scheme https|:status 200|:status 204|:status 206|:status 304|:status 400|:status 404
:status 500|accept-charset|accept-encoding gzip, deflate|accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control
content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|cookie|date|etag|expect|expires|from|host|if-match
if-modified-since|if-none-match|if-range|if-unmodified-since|last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh
retry-after|server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"""
STATIC = [tuple((entry.partition(" ")[0], entry.partition(" ")[2])) for entry in STATIC.replace("\n", "|").split("|")]

# The Huffman code is canonical, so the lengths define it. Bits: symbols.
LENGTHS = """5:48-50 97 99 101 105 111 115-116;6:32 37 45-47 51-57 61 65 95 98 100 102-104 108-110 112 114 117;7:58 66-87 89 106-107 113 118-122;8:38 42 44 59 88 90
10:33-34 40-41 63;11:39 43 124;12:35 62;13:0 36 64 91 93 126;14:94 125;15:60 96 123;19:92 195 208;20:128 130-131 162 184 194 224 226
21:153 161 167 172 176-177 179 209 216-217 227 229-230;22:129 132-134 136 146 154 156 160 163-164 169-170 173 178 181 185-187 189-190 196 198 228 232-233
23:1 135 137-141 143 147 149-152 155 157-158 165-166 168 174-175 180 182-183 188 191 197 231 239;24:9 142 144-145 148 159 171 206 215 225 236-237;25:199 207 234-235
26:192-193 200-202 205 210 213 218-219 238 240 242-243 255;27:203-204 211-212 214 221-223 241 244-248 250-254;28:2-8 11-12 14-21 23-31 127 220 249;30:10 13 22 256"""


def codes():
    """Returns {(length, code): symbol}."""
    table, code, last = {}, 0, 0
    for entry in LENGTHS.replace("\n", ";").split(";"):
        length, _, symbols = entry.partition(":")
        code, last = code << (int(length) - last), int(length)
        for span in symbols.split():
            first, _, end = span.partition("-")
            for symbol in range(int(first), int(end or first) + 1):
                table[(last, code)] = symbol
                code += 1
    return table


CODES = codes()


@functools.lru_cache(1024)  # a client sends the same hundred strings in every request
def unpack(packed):
    """Decodes a Huffman-coded string."""
    out, code, length = bytearray(), 0, 0
    for byte in packed:
        for bit in range(7, -1, -1):
            code, length = code << 1 | (byte >> bit & 1), length + 1
            symbol = CODES.get((length, code))
            if symbol is not None:
                out.append(symbol)
                code = length = 0
    if length > 7 or code != (1 << length) - 1:
        raise ValueError("bad padding")
    return bytes(out)


class Reader:
    """Reads the headers of one connection's requests, and keeps its dynamic table."""
    def __init__(self):
        self.table, self.size, self.most = [], 0, 4096

    def number(self, block, at, bits):
        value, most = block[at] & ((1 << bits) - 1), (1 << bits) - 1
        at += 1
        shift = 0
        while value >= most:
            value += (block[at] & 127) << shift
            shift += 7
            at += 1
            if not block[at - 1] & 128:
                break
        return value, at

    def text(self, block, at):
        packed = block[at] & 128
        length, at = self.number(block, at, 7)
        raw = block[at:at + length]
        if len(raw) < length:
            raise ValueError("a string breaks off")
        return (unpack(raw) if packed else bytes(raw)).decode("latin-1"), at + length

    def entry(self, index):
        if 1 <= index <= len(STATIC):
            return STATIC[index - 1]
        return self.table[index - len(STATIC) - 1]

    def shrink(self):
        while self.size > self.most:
            self.size -= self.room_of(*self.table.pop())

    @staticmethod
    def room_of(name, value):
        return len(name) + len(value) + 32

    def read(self, block):
        headers, at = [], 0
        while at < len(block):
            first = block[at]
            if first & 128:
                index, at = self.number(block, at, 7)
                headers.append(self.entry(index))
                continue
            if first & 224 == 32:
                self.most, at = self.number(block, at, 5)
                self.shrink()
                continue
            index, at = self.number(block, at, 6 if first & 64 else 4)
            if index:
                name = self.entry(index)[0]
            else:
                name, at = self.text(block, at)
            value, at = self.text(block, at)
            headers.append((name, value))
            if first & 64:
                self.table.insert(0, (name, value))
                self.size += self.room_of(name, value)
                self.shrink()
        return headers


def packed_number(value, bits):
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + [value])


def write(headers):
    """Returns a block of literals without indexing."""
    out = b""
    for name, value in headers:
        name, value = name.encode("latin-1"), value.encode("latin-1")
        out += b"\x00" + packed_number(len(name), 7) + name + packed_number(len(value), 7) + value
    return out
