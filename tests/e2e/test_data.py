#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Files that contain rows: several at once, tables of every kind, archives, streams, and files that have no rows."""
import bz2
import gzip
import os
import signal
import sys
import tarfile
import unittest
import zipfile
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import harness  # noqa: E402
from harness import Case, jsonl, tickets  # noqa: E402


def setUpModule():
    harness.set_up_tree()


def table(rows, separator=",", header="text,label"):
    lines = [header] + [separator.join((row["input"], row["output"])) for row in rows]
    return "\n".join(lines) + "\n"


class Files(Case):
    def test_several_files_in_any_order(self):
        rows = tickets(300)
        self.write("a.jsonl", jsonl(rows[:100]))
        self.write("b.csv", table(rows[100:200]))
        self.write("c.tsv", table(rows[200:], "\t", "question\tanswer"))
        digests = []
        for order in ("a.jsonl b.csv c.tsv", "c.tsv a.jsonl b.csv"):
            words = [word for name in order.split() for word in ("-d", name)]
            record = self.json("compile", "-t", "router", *words, "--force")
            self.assertEqual(record["data"]["rows"], 300)
            self.assertEqual([(f["path"], f["rows"]) for f in record["data"]["files"]], [("a.jsonl", 100), ("b.csv", 100), ("c.tsv", 100)])
            digests.append(record["artifact"]["sha256"])
        self.assertEqual(digests[0], digests[1])
        self.write("one.jsonl", jsonl(rows[:50]))
        self.write("two.csv", table(rows[50:100]))
        score = self.json("score", "router-1.0.0.kolm", "--eval", "two.csv", "--eval", "one.jsonl")
        self.assertEqual(score["n"], 100)

    def test_several_files_are_distinguished(self):
        rows = tickets(200)
        self.write("a.jsonl", jsonl(rows[:100] + [{"input": "mine", "output": "billing"}]))
        self.write("b.csv", table(rows[100:] + [{"input": "mine", "output": "login"}]))
        words = ["compile", "-t", "router", "-d", "a.jsonl", "-d", "b.csv"]
        said = self.kolm(*words).out
        self.assertIn("a.jsonl: 101 rows", said)
        self.assertIn("b.csv: 101 rows", said)
        self.write("b.csv", table(rows[100:]) + "half a row\n")
        self.assert_error(self.kolm(*words, "--force", code=6), "b.csv, line 102,", "expected 2 fields")

    def test_standard_input_once(self):
        for words in (["compile", "-t", "router", "-d", "-", "--eval", "-"], ["compile", "-t", "router", "-d", "-", "-d", "-"],
                      ["score", "router.kolm", "--eval", "-", "--eval", "-"]):
            self.assert_error(self.kolm(*words, code=2), "standard input (-) is given twice")
        self.assert_nothing_left()

    def test_bad_rows_are_listed_and_counted_by_kind(self):
        content = jsonl(tickets(200)) + b'{"input":"x"}\n[]\n' * 15
        self.write("tickets.jsonl", content)
        said = self.compile("--skip-bad").out
        self.assertIn("30 bad rows left out", said)
        for number in range(201, 211):
            self.assertIn("tickets.jsonl, line %d, column 1: " % number, said)
        self.assertNotIn("line 211", said)
        self.assertIn('15: expected the key "output", found "..."', said)
        self.assertIn("15: expected an object in braces", said)
        kinds = self.json("compile", "-t", "router", "-d", "tickets.jsonl", "--skip-bad", "--force")["data"]["bad_kinds"]
        self.assertEqual([kind["rows"] for kind in kinds], [15, 15])

    def test_directories_and_devices(self):
        self.assert_error(self.compile(data=".", code=6), "Is a directory", "name the files in it")
        self.assert_error(self.compile(data="/dev/null", code=6), "/dev/null is empty")
        self.assert_nothing_left()

    def test_a_fifo_is_waited_for_and_can_be_left(self):
        fifo = os.path.join(self.work, "fifo")
        os.mkfifo(fifo)
        process = self.start("compile", "-t", "router", "-d", "fifo")
        self.assertIn(b"waiting for a writer", process.stderr.readline())
        self.assertEqual(self.interrupt(process)[0], 130)
        os.remove(fifo)
        self.assert_nothing_left()
        os.mkfifo(fifo)
        process = self.start("compile", "-t", "router", "-d", "fifo")
        with open(fifo, "wb") as file:
            file.write(jsonl(tickets(200)))
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn(b"200 rows", out)


class Archives(Case):
    def test_packed_files_are_read_whatever_their_name(self):
        rows = tickets(300)
        plain = jsonl(rows)
        digests = set()
        for name, content in (("plain", plain), ("gz", gzip.compress(plain)), ("members", gzip.compress(plain[:1000]) + gzip.compress(plain[1000:]))):
            self.write(name, content)
            digests.add(self.json("compile", "-t", "router", "-d", name, "--force")["artifact"]["sha256"])
        packed = self.json("compile", "-t", "router", "-d", "-", "--force", stdin=gzip.compress(plain))
        digests.add(packed["artifact"]["sha256"])
        self.assertEqual(len(digests), 1)
        self.write("rows.tsv.gz", gzip.compress(table(rows, "\t", "text\tlabel, or so").encode()))
        self.compile("--output-col", "label, or so", "-o", "tsv.kolm", data="rows.tsv.gz")

    def test_cut_off_and_foreign_archives(self):
        packed = gzip.compress(jsonl(tickets(300)))
        self.write("rows.gz", packed[:-9])
        self.assert_error(self.compile("--skip-bad", data="rows.gz", code=6), "rows.gz: the gzip data are truncated")
        self.write("rows.gz", packed[:2000] + bytes(100) + packed[2100:])
        self.assert_error(self.compile("--skip-bad", data="rows.gz", code=6), "rows.gz: the gzip data are damaged")
        self.write("rows.bz2", bz2.compress(b"text,label"))
        self.assert_error(self.compile(data="rows.bz2", code=6), "rows.bz2 is bzip2 data", "bzip2 -dc")
        with tarfile.open(os.path.join(self.work, "rows.tar.gz"), "w:gz") as archive:
            archive.add(self.write("rows.csv", table(tickets(10))), "rows.csv")
        self.assert_error(self.compile(data="rows.tar.gz", code=6), "rows.tar.gz is a tar archive", "tar -xOf")
        with zipfile.ZipFile(os.path.join(self.work, "rows.xlsx"), "w") as archive:
            archive.writestr("[Content_Types].xml", "<Types/>")
            archive.writestr("xl/workbook.xml", "<workbook/>")
        self.assert_error(self.compile(data="rows.xlsx", code=6), "rows.xlsx is a spreadsheet")
        self.assertEqual(self.jobs(), [])

    def test_a_part_of_kolm_that_is_missing_or_old(self):
        """kolm-lazy.so, which unpacks: what does not need it works without it."""
        self.write("rows.gz", gzip.compress(jsonl(tickets(300))))
        self.addCleanup(os.rename, harness.TREE.lazy + ".kept", harness.TREE.lazy)
        os.rename(harness.TREE.lazy, harness.TREE.lazy + ".kept")
        self.assert_error(self.compile("--force", data="rows.gz", code=6), "kolm-lazy.so: No such file", "install kolm again")
        self.write("rows.jsonl", jsonl(tickets(300)))
        self.compile("--force", data="rows.jsonl")
        with open(harness.TREE.lazy + ".kept", "rb") as file:
            content = file.read()
        version = self.kolm("--version").out.split()[1].encode()
        self.assertEqual(content.count(b"\0" + version + b"\0"), 1)
        with open(harness.TREE.lazy, "wb") as file:
            file.write(content.replace(b"\0" + version + b"\0", b"\0" + b"9" + version[1:] + b"\0"))
        self.assert_error(self.compile("--force", data="rows.gz", code=6), "is not of the kolm " + version.decode(), "start kolm again")
        with open(harness.TREE.lazy, "w") as file:
            file.write("x")
        self.assert_error(self.compile("--force", data="rows.gz", code=6), "cannot load a part of kolm", "install kolm again")

    def test_a_line_without_end_ends_soon(self):
        self.assert_error(self.compile(data="/dev/zero", code=6), "/dev/zero")
        self.assert_nothing_left()

    def test_what_never_ends_can_be_interrupted(self):
        """A decompression bomb of blank lines: 16 MiB expand to 4 GiB."""
        for number in (signal.SIGINT, signal.SIGTERM):
            reading, writing = os.pipe()
            process = self.start("compile", "-t", "router", "-d", "-", stdin=reading)
            os.close(reading)
            pack = zlib.compressobj(9, zlib.DEFLATED, 31)
            bomb = pack.compress(b"text,label\na,b\n")
            for _ in range(8):
                bomb += pack.compress(b"\n" * (16 << 20))
            with open(writing, "wb") as file:
                file.write(bomb)
                file.flush()
                process.send_signal(number)
                process.communicate(timeout=30)
            self.assertEqual(process.returncode, 130)


class Tables(Case):
    def rows_of(self, content, *words, name="rows.csv"):
        self.write(name, content)
        return self.json("compile", "-t", "router", "-d", name, "--force", *words)["data"]

    def test_a_stray_quote_costs_its_own_row(self):
        rows = tickets(300)
        lines = table(rows).splitlines(True)
        lines[100] = '"' + lines[100]
        lines[150] = lines[150].replace(",", '",')
        self.write("rows.csv", "".join(lines))
        self.assert_error(self.compile(data="rows.csv", code=6), "rows.csv, line 101, column 1:", "up to the next quote in line 151")
        self.assert_nothing_left()
        data = self.rows_of("".join(lines), "--skip-bad")
        self.assertEqual((data["rows"], data["bad_rows"]), (299, 1))

    def test_tsv_from_a_pipe_with_literal_quotes(self):
        rows = tickets(300)
        content = table(rows, "\t", "text\tlabel").replace("\nbilling", '\n"billing" billing', 3)
        done = self.compile(data="-", stdin=content.encode())
        self.assertIn("300 rows", done.out)
        self.assertEqual(self.jobs(), [])

    def test_separators_headers_and_columns(self):
        rows = tickets(300)
        self.assertEqual(self.rows_of("sep=;\r\n" + table(rows, ";", "text;label"))["rows"], 300)
        data = self.rows_of(table(rows[:150]) + table([{"input": r["output"], "output": r["input"]} for r in rows[150:]], header="label,text"))
        self.assertEqual((data["rows"], data["files"][0]["repeated_headers"]), (300, 1))
        self.assertEqual(self.rows_of(table(rows, header=""), "--no-header")["rows"], 300)
        self.write("rows.csv", table([{"input": "1", "output": "2"}, {"input": "3", "output": "4"}]).split("\n", 1)[1])
        self.assert_error(self.compile("--force", data="rows.csv", code=6), "looks like a row: '1', '2'", "--no-header")

    def test_columns_that_are_joined(self):
        """Joined columns are one text with a line end between them, for compile and for score."""
        rows = tickets(300)
        both = "title,body,label\n" + "".join("%s,more of %d,%s\n" % (r["input"], i, r["output"]) for i, r in enumerate(rows))
        one = jsonl([{"input": "%s\nmore of %d" % (r["input"], i), "output": r["output"]} for i, r in enumerate(rows)])
        self.write("one.jsonl", one)
        self.write("both.csv", both)
        whole = self.json("compile", "-t", "router", "-d", "one.jsonl")["artifact"]["manifest_sha256"]
        joined = self.json("compile", "-t", "router", "-d", "both.csv", "--input-col", "title,body", "--force")["artifact"]["manifest_sha256"]
        self.assertEqual(joined, whole)
        scores = [self.json("score", "router-1.0.0.kolm", *words) for words in (["--eval", "both.csv", "--input-col", "title,body"], ["--eval", "one.jsonl"])]
        self.assertEqual(scores[0], scores[1])

    def test_json_over_several_lines(self):
        self.write("rows.json", '{\n  "input": "a",\n  "output": "b"\n}\n')
        self.assert_error(self.compile(data="rows.json", code=6), "continues in the next line", "jq -c .")
        self.write("rows.json", '[\n  {"input": "a", "output": "b"}\n]\n')
        self.assert_error(self.compile(data="rows.json", code=6), "found an array", "jq -c '.[]'")


if __name__ == "__main__":
    harness.main()
