#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Artifacts compared with an independent writer of the format and with other unzip programs, and hostile zips.

usage: test_tools.py ARTIFACT_TOOL
"""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zipfile
import zlib

TOOL = sys.argv.pop(1) if len(sys.argv) > 1 else ""
ENVELOPE, SIGNER, MANIFEST = b"META/manifest.dsse.json", b"META/signer.pub.pem", b"manifest.json"


class Entry:
    """One entry of a zip; every field can be given a false value."""

    def __init__(self, name, data, **lies):
        self.name, self.data = name, data
        self.local_name = name
        self.flags = self.method = self.time = self.offset_lie = 0
        self.date, self.attributes, self.version = 0x21, 0o100644 << 16, 10
        self.crc, self.size, self.stored = zlib.crc32(data), len(data), len(data)
        self.local_size = None
        self.local_flags = None
        self.central_extra = b""
        self.comment = b""
        self.local_extra = None
        self.gap = b""
        self.after = b""
        self.__dict__.update(lies)


def build(entries, stub=b"", tail=b"", comment=b"", count=None, central_gap=b"", end_offset=0):
    """Builds the canonical zip that core/artifact/zip.h describes, independently of its implementation."""
    out, central = bytearray(stub), b""
    for e in entries:
        out += e.gap
        header = len(out)
        align = 4096 if len(e.data) >= 1 << 20 else 64
        least = header + 30 + len(e.local_name) + 6
        pad = -least % align
        extra = struct.pack("<HHH", 0xD935, 2 + pad, align) + bytes(pad) if e.local_extra is None else e.local_extra
        size = e.size if e.local_size is None else e.local_size
        flags = e.flags if e.local_flags is None else e.local_flags
        out += struct.pack("<IHHHHHIIIHH", 0x04034B50, e.version, flags, e.method, e.time, e.date, e.crc, size, size,
                           len(e.local_name), len(extra)) + e.local_name + extra + e.data + e.after
        central += struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 0x031E, e.version, e.flags, e.method, e.time, e.date, e.crc, e.stored,
                               e.size, len(e.name), len(e.central_extra), len(e.comment), 0, 0, e.attributes,
                               header + e.offset_lie) + e.name + e.central_extra + e.comment
    out += central_gap
    count = len(entries) if count is None else count
    out += central + struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, count, count, len(central), len(out) + end_offset, len(comment)) + comment + tail
    return bytes(out)


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="kolm-tools-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.big = os.urandom(1 << 20) + b"x"
        for name, data in (("a", b"hello"), ("empty", b""), ("big", self.big)):
            with open(self.path(name), "wb") as file:
                file.write(data)
        self.artifact = self.path("x.kolm")
        self.run_tool("write", self.dir, self.artifact, "model/a=" + self.path("a"), "model/empty=" + self.path("empty"), "weights=" + self.path("big"))
        with open(self.artifact, "rb") as file:
            self.bytes = file.read()
        with zipfile.ZipFile(self.artifact) as z:
            self.entries = [Entry(i.filename.encode(), z.read(i)) for i in z.infolist()]

    def path(self, name):
        return os.path.join(self.dir, name)

    def run_tool(self, *args, fails=False):
        result = subprocess.run([TOOL, *args], capture_output=True, text=True)
        self.assertEqual(result.returncode, 1 if fails else 0, result.stderr)
        return result.stderr if fails else result.stdout

    def entry(self, name):
        return next(e for e in self.entries if e.name == name)

    def write(self, data):
        with open(self.path("y.kolm"), "wb") as file:
            file.write(data)
        return self.path("y.kolm")

    def refused(self, words, *args, code="DATA_LOSS", **lies):
        said = self.run_tool("open", self.write(build(self.entries, *args, **lies)), fails=True)
        self.assertIn(words, said)
        self.assertTrue(said.startswith(code + ": "), said)


class Writer(Case):
    def test_bytes_of_an_independent_writer(self):
        self.assertEqual(build(self.entries), self.bytes)

    def test_names_and_alignment(self):
        with zipfile.ZipFile(self.artifact) as z:
            names = z.namelist()
            self.assertEqual(names, sorted(names))
            for info in z.infolist():
                self.assertEqual(info.compress_type, zipfile.ZIP_STORED)
                self.assertEqual(info.date_time, (1980, 1, 1, 0, 0, 0))
        self.assertEqual(self.bytes.find(self.big) % 4096, 0)
        self.assertEqual(self.bytes.find(b"hello") % 64, 0)

    def test_manifest(self):
        manifest = json.loads(self.entry(MANIFEST).data)
        self.assertEqual([e["path"] for e in manifest["entries"]], ["model/a", "model/empty", "weights"])
        self.assertEqual(manifest["entries"][0], {"path": "model/a", "size": 5, "sha256": hashlib.sha256(b"hello").hexdigest()})
        again = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        self.assertEqual(again, self.entry(MANIFEST).data)

    def test_unzip(self):
        self.tool("unzip", "-t", "-qq", self.artifact)

    def test_bsdtar(self):
        self.tool("bsdtar", "-tf", self.artifact)

    def test_seven_zip(self):
        self.tool("7z", "t", self.artifact)

    def test_python(self):
        with zipfile.ZipFile(self.artifact) as z:
            self.assertIsNone(z.testzip())

    def tool(self, name, *args):
        if not shutil.which(name):
            self.skipTest(name + " is not installed")
        subprocess.run([name, *args], check=True, stdout=subprocess.DEVNULL)

    def test_verify(self):
        self.assertIn("trusted: ", self.run_tool("verify", self.dir, self.artifact))


class Hostile(Case):
    def test_duplicate_name(self):
        self.entries.insert(3, Entry(b"model/a", b"hello"))
        self.refused('two entries are named "model/a"')

    def test_order(self):
        self.entries[0], self.entries[1] = self.entries[1], self.entries[0]
        self.refused("not in bytewise order")

    def test_local_name_differs(self):
        self.entry(b"model/a").local_name = b"model/b"
        self.refused("another name in its local header")

    def test_names(self):
        for name, words in ((b"../x", "leaves its directory"), (b"/etc/x", "is absolute"), (b"a\\x", "backslash"), (b"a\0x", "NUL"), (b"m/../x", "leaves"),
                            (b"m//x", "empty part"), (b"m/", "names a directory"), (b"", "is empty"), (b"\xc3\xa4", "not allowed"), (b"a" * 256, "longer than 255")):
            self.entries.insert(0, Entry(name, b"evil"))
            self.refused(words)
            del self.entries[0]

    def test_stub(self):
        self.refused("bytes before its first entry", stub=b"#!/bin/sh\n")

    def test_stub_with_relative_offsets(self):
        self.assertIn("is not where", self.run_tool("open", self.write(b"stub" + self.bytes), fails=True))

    def test_comment(self):
        self.refused("has a comment", comment=b"hello there, long enough for an end record")

    def test_comment_that_ends_like_a_zip(self):
        end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 1, 1, 46, 0, 0)
        self.refused("central directory", comment=end)

    def test_trailing_bytes(self):
        self.refused("bytes after its end", tail=b"\0")

    def test_gap(self):
        self.entry(b"model/a").gap = bytes(64)
        self.refused("there is a gap")

    def test_gap_before_central(self):
        self.refused("gap before its central directory", central_gap=b"hidden")

    def test_hidden_entry(self):
        self.entries[-1].after = build([Entry(b"hidden", b"data")])[:100]
        self.refused("gap before its central directory")

    def test_overlap(self):
        self.entry(b"weights").offset_lie = -64
        self.refused("overlaps")

    def test_symlink(self):
        self.entry(b"model/a").attributes = 0o120777 << 16
        self.refused("symbolic link")

    def test_executable(self):
        self.entry(b"model/a").attributes = 0o100755 << 16
        self.refused("file attributes")

    def test_data_descriptor(self):
        self.entry(b"model/a").flags = 8
        self.refused("data descriptor")

    def test_data_descriptor_in_local_header_only(self):
        self.entry(b"model/a").local_flags = 8
        self.refused("data descriptor")

    def test_flags(self):
        for flags in (1, 0x800, 0x2000):
            self.entry(b"model/a").flags = flags
            self.refused("has flags")

    def test_deflate(self):
        self.entry(b"model/a").method = 8
        self.refused("compressed (method 8)")

    def test_times(self):
        for field in ({"time": 1}, {"date": 0x22}):
            entry = self.entry(b"model/a")
            keep = dict(entry.__dict__)
            entry.__dict__.update(field)
            self.refused("has a time")
            entry.__dict__.update(keep)

    def test_extra_in_central(self):
        self.entry(b"model/a").central_extra = struct.pack("<HHI", 0x5455, 4, 0)
        self.refused("extra field")

    def test_zip64_without_need(self):
        entry = self.entry(b"model/a")
        entry.size = entry.stored = 0xFFFFFFFF
        entry.central_extra = struct.pack("<HHQQ", 1, 16, 5, 5)
        self.refused("zip64 unnecessarily")

    def test_zip64_two_sizes(self):
        entry = self.entry(b"model/a")
        entry.size = entry.stored = 0xFFFFFFFF
        entry.central_extra = struct.pack("<HHQQ", 1, 16, 1 << 33, 5)
        self.refused("two sizes")

    def test_zip64_huge(self):
        entry = self.entry(b"model/a")
        entry.size = entry.stored = 0xFFFFFFFF
        for size in (1 << 33, (1 << 63) - 1, (1 << 64) - 1):
            entry.central_extra = struct.pack("<HHQQ", 1, 16, size, size)
            self.refused("larger than the file")

    def test_sizes(self):
        self.entry(b"model/a").stored = 4
        self.refused("two sizes")
        self.entry(b"model/a").size = 4
        self.refused("")

    def test_local_size_differs(self):
        self.entry(b"model/a").local_size = 4
        self.refused("local header")

    def test_local_extra(self):
        self.entry(b"model/a").local_extra = b""
        self.refused("")

    def test_entry_comment(self):
        self.entry(b"model/a").comment = b"x"
        self.refused("comment")

    def test_counts(self):
        self.refused("more than its entries", count=len(self.entries) - 1)
        self.refused("central directory is damaged", count=len(self.entries) + 1)
        self.refused("has no entries", count=0)
        self.refused("more than 4096", count=4097)

    def test_central_elsewhere(self):
        self.refused("not where its end record says", end_offset=-1)

    def test_crc(self):
        self.entry(b"model/a").crc ^= 1
        self.refused("does not match its checksum (CRC-32)", code="UNAUTHENTICATED")

    def test_data(self):
        entry = self.entry(b"model/a")
        entry.data = b"jello"
        self.refused("digest in the manifest", code="UNAUTHENTICATED")
        entry.crc = zlib.crc32(b"jello")
        self.refused("does not match its digest in the manifest", code="UNAUTHENTICATED")

    def test_entry_that_is_not_in_the_manifest(self):
        self.entries.insert(4, Entry(b"model/aa", b"evil"))
        self.refused("do not list the same entries")
        del self.entries[4]
        self.entries.append(Entry(b"zzz", b"evil"))
        self.refused("is not in the manifest")

    def test_entry_that_is_missing(self):
        del self.entries[-1]
        self.refused("an entry that the file does not contain")
        self.entries = [e for e in self.entries if e.name != MANIFEST]
        self.refused('no entry "manifest.json"')

    def test_more_in_meta(self):
        self.entries.insert(2, Entry(b"META/x", b"evil"))
        self.refused("does not belong there")

    def test_a_name_does_not_make_it_tampered(self):
        self.entries.insert(0, Entry(b"META/digest", b"evil"))
        self.refused("does not belong there")

    def test_manifest_changed(self):
        entry = self.entry(MANIFEST)
        entry.data = entry.data.replace(b'"rows":8', b'"rows":9')
        entry.crc = zlib.crc32(entry.data)
        path = self.write(build(self.entries))
        self.run_tool("open", path)
        self.assertIn("tampered: the manifest was changed after it was signed", self.run_tool("verify", self.dir, path, fails=True))

    def test_own_key_put_in(self):
        """A file signed by an attacker, with the attacker's key inside, is valid but by an unknown key; it is not trusted."""
        other = self.path("other")
        os.mkdir(other)
        self.run_tool("write", other, self.path("z.kolm"), "model/a=" + self.path("a"))
        self.assertIn("valid but unknown key", self.run_tool("verify", self.dir, self.path("z.kolm"), fails=True))

    def test_receipts_of_another_artifact(self):
        self.run_tool("write", self.dir, self.path("z.kolm"), "model/a=" + self.path("a"))
        shutil.copy(self.path("z.kolm.intoto.jsonl"), self.path("x.kolm.intoto.jsonl"))
        self.assertIn("tampered: line 1 of its receipts is about another file", self.run_tool("verify", self.dir, self.artifact, fails=True))


if __name__ == "__main__":
    unittest.main()
