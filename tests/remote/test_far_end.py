#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The far end of a remote job: its frames, its blobs and what it detects on a machine."""
import json
import os
import random
import resource
import signal
import stat
import struct
import subprocess
import sys
import threading
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import far_end  # noqa: E402
from far_case import Case, ID, PYTHON, script  # noqa: E402
from far_end import FarEnd, sha  # noqa: E402


class Frames(Case):
    def test_hello_comes_first_and_its_protocol_counts(self):
        far = self.far(hello=False)
        self.refused(far.try_ask("status", job=ID), 9, "hello")
        self.refused(far.try_ask("hello", protocol=2), 9, "protocol 1")
        self.assertEqual(far.ask("hello", protocol=1, backend="remote-ssh")["dir"], self.path())
        self.assertEqual(stat.S_IMODE(os.stat(self.path()).st_mode), 0o700)

    def test_what_is_no_request_is_refused_and_the_next_one_is_done(self):
        far = self.far()
        for bad in ({"verb": "nothing"}, {"verb": None}, {"verb": ["hello"]}, {"verb": "status"}, {"verb": "status", "job": 7},
                    {"verb": "status", "job": "../../x"}, {"verb": "status", "job": "a" * 15}, {"verb": "have", "blobs": {}},
                    {"verb": "have", "blobs": [3]}, {"verb": "have", "blobs": [{"sha256": "x", "size": 1}]},
                    {"verb": "have", "blobs": [{"sha256": "0" * 64, "size": -1}]},
                    {"verb": "have", "blobs": [{"sha256": "0" * 64, "size": True}]},
                    {"verb": "create", "job": ID, "files": [None]}, {"verb": "follow", "job": ID, "since": "0"},
                    {"verb": "start", "job": ID, "command": []}, {"verb": "start", "job": ID, "command": ["relative"]},
                    {"verb": "start", "job": ID, "command": ["/bin/true", 3]},
                    {"verb": "start", "job": ID, "command": ["/bin/true"], "environment": {"A=B": "c"}},
                    {"verb": "start", "job": ID, "command": ["/bin/true"], "secrets": ["x"]},
                    {"verb": "hello", "protocol": 1, "backend": "acme", "dir": "relative"}, {"verb": "prune"}, {"verb": "probe", "python": 3},
                    {"verb": "runtime"}, {"verb": "runtime", "runtime": "../../x"}, {"verb": "create", "job": ID, "files": [], "room": -1}):
            far.number += 1
            text = json.dumps(dict(bad, id=far.number)).encode()
            far.write(struct.pack(">I", len(text)) + text)
            answer = far.receive()
            self.assertFalse(answer["ok"], bad)
            self.assertTrue(answer["text"])
        self.assertEqual(far.ask("status", job=ID)["state"], "absent")

    def test_bytes_that_are_no_frame_end_it(self):
        for bad in (b"\xff\xff\xff\xff", struct.pack(">I", 3) + b"{]x", struct.pack(">I", 2) + b"[]", struct.pack(">I", 2) + b"\xff\xfe",
                    struct.pack(">I", 14) + b'{"bytes":-100}', struct.pack(">I", 19) + b'{"bytes":999999999}', b"SSH-2.0-hello\r\n" * 3):
            far = self.far()
            far.write(bad)
            answer = far.receive()
            self.assertEqual((answer["ok"], answer["code"]), (False, 3), bad)
            self.assertEqual(far.process.wait(), 0)
        far = self.far()
        far.write(struct.pack(">I", 100) + b'{"verb"')
        far.close()

    def test_requests_may_come_with_the_program(self):
        ahead = b"".join(far_end.frame({"verb": verb, "id": number, "protocol": 1, "backend": "acme", "job": ID}) for number, verb in ((1, "hello"), (2, "status")))
        for filler in (b"", far_end.frame({"verb": "none", "id": 3, "bytes": 100000}, bytes(100000))):
            far = self.far(hello=False, ahead=ahead + filler)
            self.assertEqual([far.receive()["id"] for _ in range(2)], [1, 2])
            if filler:
                self.refused(far.receive(), 3, "unknown verb")
            far.number = 3
            self.assertEqual(far.ask("status", job=ID)["state"], "absent")

    def test_what_is_to_follow_something_that_failed_is_not_done(self):
        far = self.far()
        far.put(b"x", digest=sha(b"other"))
        far.send("sync")
        far.send("create", job=ID, files=[], then=True)
        far.send("start", job=ID, command=["/bin/true"], then=True)
        self.refused(far.receive(), 15)
        self.refused(far.receive(), 10, "'create' was to run only after a request that failed")
        self.refused(far.receive(), 10, "'start'")
        self.assertEqual(far.ask("status", job=ID)["state"], "absent")
        self.assertTrue(far.ask("create", job=ID, files=[], then=True)["ok"])

    def test_noise_of_a_login_shell_and_a_strange_home(self):
        home = os.path.join(self.home, "it's \"a\" home\n$(touch x) \u00e9\u4e2d")
        os.makedirs(home)
        noisy = [PYTHON, "-c", "import os,sys;os.write(1,b'Welcome!\\n\\x1b[31m\\0'*50);os.execv(sys.executable,[sys.executable,'-I','-c',%r])"
                 % far_end.BOOTSTRAP]
        with FarEnd(home, command=noisy, env={"LC_ALL": "C"}) as far:
            self.assertEqual(far.base, os.path.join(home, ".cache", "kolm"))
            far.make(ID, {"train.jsonl": b"{}\n", "model/a b\u00e9.bin": b"x"}, script("print(len(open('train.jsonl').read()))"))
            state, events = far.follow(ID)
            self.assertEqual((state["exit"], events), (0, b"3\n"))
            self.assertEqual([f["name"] for f in far.ask("results", job=ID, names=["model"])["files"]], ["model/a b\u00e9.bin"])
            self.assertEqual(far.get(ID, "model/a b\u00e9.bin"), b"x")
        self.assertEqual(os.listdir(self.home), [os.path.basename(home)])

    def test_a_directory_of_the_user(self):
        with FarEnd(self.home, hello=False) as far:
            self.assertEqual(far.ask("hello", protocol=1, backend="acme", dir="~/else where")["dir"], os.path.join(self.home, "else where", "kolm-remote"))
        with FarEnd(self.home, hello=False, env={"XDG_CACHE_HOME": os.path.join(self.home, "xdg")}) as far:
            self.assertEqual(far.ask("hello", protocol=1, backend="remote-ssh")["dir"], os.path.join(self.home, "xdg", "kolm"))
        os.chmod(os.path.join(self.home, "xdg", "kolm"), 0o777)
        with FarEnd(self.home, hello=False, env={"XDG_CACHE_HOME": os.path.join(self.home, "xdg")}) as far:
            self.refused(far.try_ask("hello", protocol=1, backend="acme"), 7, "writable by others")
        with open(os.path.join(self.home, "file"), "w"):
            pass
        with FarEnd(self.home, hello=False) as far:
            self.assertFalse(far.try_ask("hello", protocol=1, backend="acme", dir="~/file")["ok"])


class Blobs(Case):
    def test_only_what_is_missing_is_requested(self):
        far = self.far()
        small, large, empty = b"small", os.urandom(3000000), b""
        far.upload({"a": small, "b": large, "c": empty})
        blobs = [{"sha256": sha(x), "size": len(x)} for x in (small, large, empty)]
        self.assertEqual(far.ask("have", blobs=blobs)["missing"], [])
        with open(self.path("blobs", sha(large)[:2], sha(large)), "rb") as file:
            self.assertEqual(file.read(), large)
        # A small blob that was damaged (by a crash of the machine) is detected by the next process.
        place = self.path("blobs", sha(small)[:2], sha(small))
        os.chmod(place, 0o600)
        with open(place, "wb") as file:
            file.write(b"smalX")
        with FarEnd(self.home) as again:
            self.assertEqual([m["sha256"] for m in again.ask("have", blobs=blobs)["missing"]], [sha(small)])

    def test_wrong_bytes_get_no_name(self):
        far = self.far()
        digest = sha(b"right")
        far.put(b"wrong", digest=digest)
        self.refused(far.try_ask("sync"), 15, digest)
        self.assertFalse(os.path.exists(self.path("blobs", digest[:2], digest)))
        far.put(b"right")
        far.ask("sync")
        self.assertTrue(os.path.exists(self.path("blobs", digest[:2], digest)))

    def test_bytes_at_the_wrong_place_are_refused_once(self):
        far = self.far()
        data = os.urandom(1000)
        far.put(data, offset=500)
        far.put(data, offset=600)
        self.refused(far.try_ask("sync"), 10, "from offset 500")
        far.ask("sync")
        far.put(data + b"too long", size=1000, digest=sha(data))
        self.refused(far.try_ask("sync"), 10)
        far.put(data)
        far.ask("sync")

    def test_packed_bytes(self):
        far = self.far()
        data = b"the same words again and again " * 8000
        good, fields = zlib.compress(data, 1), {"sha256": sha(data), "size": len(data), "offset": 0}
        for raw, size in ((good, len(data) + 1), (good, len(data) - 1), (good[:-1], len(data)), (good + b"0", len(data)), (b"rubbish", 7), (good, 0),
                          (zlib.compress(bytes(1 << 29)), 1 << 29), (good, -1), (good, "9"), (b"", 10)):
            far.send("put", raw, packed=size, **fields)
            answer = far.try_ask("sync")
            self.assertFalse(answer["ok"], size)
            self.assertIn(answer["code"], (3, 15))
        far.send("put", good, packed=len(data), **fields)
        far.ask("sync")
        with open(self.path("blobs", sha(data)[:2], sha(data)), "rb") as file:
            self.assertEqual(file.read(), data)
        with open("/proc/%d/status" % far.hello["pid"]) as file:
            peak = [int(line.split()[1]) for line in file if line.startswith("VmHWM")]
        self.assertLess(peak[0], 100 << 10)

    def test_from_the_first_byte_on_without_asking(self):
        data = os.urandom(1000)
        with FarEnd(self.home) as far:
            far.send("put", data[:400], sha256=sha(data), size=1000, offset=0)
            far.ask("jobs")
        far = self.far()
        far.put(data, chunk=300)
        far.ask("sync")
        place = self.path("blobs", sha(data)[:2], sha(data))
        before = os.stat(place).st_ino
        with FarEnd(self.home) as again:  # the blob exists: the data is accepted, but not written
            again.put(data, chunk=300)
            again.ask("sync")
        self.assertEqual(os.stat(place).st_ino, before)
        with open(place, "rb") as file:
            self.assertEqual(file.read(), data)

    def lenders(self, far, count):
        """Starts far ends that lend their streams to one, and creates data that is large enough for that."""
        data = os.urandom(17 << 20)
        answer = far.ask("have", blobs=[{"sha256": sha(data), "size": len(data)}], wide=True)
        found = []
        for number in range(1, count + 1):
            found.append(self.far())
            found[-1].send("lend", socket=answer["socket"], stream=number, word="0123456789abcdef%016x" % number)
            while found[-1].line() != b"0123456789abcdef%016x\n" % number:
                pass
        return data, found

    def put_on(self, far, data, at, length, stream):
        far.send("put", sha256=sha(data), size=len(data), offset=at, stream=stream, bytes=length)

    @unittest.skipUnless(sys.platform.startswith("linux"), "Linux's sockets without a place on the disk")
    def test_bytes_on_streams_that_others_lend(self):
        far = self.far()
        data, lenders = self.lenders(far, 2)
        piece, turn = 1 << 20, 0
        threads = []
        for stream, lender in ((1, lenders[1 - 1]), (2, lenders[2 - 1])):
            mine = b"".join(data[at:at + piece] for at in range(0, len(data), piece) if (at // piece) % 3 == stream)
            threads.append(threading.Thread(target=lender.write, args=(mine,)))
            threads[-1].start()
        for at in range(0, len(data), piece):
            turn = (at // piece) % 3
            if turn:
                self.put_on(far, data, at, piece, turn)
            else:
                far.put(data[:at + piece], digest=sha(data), offset=at, size=len(data), chunk=piece)
        far.ask("sync")
        for thread in threads:
            thread.join()
        with open(self.path("blobs", sha(data)[:2], sha(data)), "rb") as file:
            self.assertEqual(sha(file.read()), sha(data))
        self.assertEqual([lender.process.wait(20) for lender in lenders], [0, 0])  # the streams were returned
        self.assertNotIn("socket", far.ask("have", blobs=[{"sha256": sha(data), "size": len(data)}], wide=True))

    @unittest.skipUnless(sys.platform.startswith("linux"), "Linux's sockets without a place on the disk")
    def test_a_stream_that_ends_or_was_never_lent_ends_it(self):
        impatient = [PYTHON, "-I", "-B", "-c", far_end.other_bootstrap("LENT_SECONDS = 30", "LENT_SECONDS = 1")]
        for lent, stream in ((1, 1), (0, 1), (1, 2), (1, -1), (1, "1")):
            far = self.far(command=impatient)
            data, lenders = self.lenders(far, lent)
            self.put_on(far, data, 0, 1 << 20, stream)
            for lender in lenders:
                lender.write(data[:1000])
                lender.process.stdin.close()
            if isinstance(stream, int) and stream >= 0:
                self.assertEqual(far.process.stdout.read(), b"")
            else:
                self.refused(far.receive(), 3)
            self.assertEqual(far.process.wait(20), 0)
            self.assertEqual([lender.process.wait(20) for lender in lenders], [0] * lent)
            for lender in lenders:
                lender.process.stdout.close()
            with FarEnd(self.home) as again:
                self.assertEqual([m["at"] for m in again.ask("have", blobs=[{"sha256": sha(data), "size": len(data)}])["missing"]], [0])

    @unittest.skipUnless(sys.platform.startswith("linux"), "Linux's sockets without a place on the disk")
    def test_an_unused_lender_is_not_used_later(self):
        far = self.far()
        _, (late,) = self.lenders(far, 1)
        far.ask("sync")
        self.assertFalse(late.receive()["ok"])
        late.close()
        data, (lender,) = self.lenders(far, 1)
        thread = threading.Thread(target=lender.write, args=(data[1 << 20:2 << 20],))
        thread.start()
        far.put(data[:1 << 20], digest=sha(data), size=len(data))
        self.put_on(far, data, 1 << 20, 1 << 20, 1)
        far.put(data, digest=sha(data), offset=2 << 20, size=len(data), chunk=1 << 20)
        far.ask("sync")
        thread.join()

    def test_without_sockets_there_are_no_streams(self):
        far = self.far(command=[PYTHON, "-I", "-B", "-c", far_end.other_bootstrap("self.listener.listen(16)", "os.rmdir('/')")])
        self.assertIsNone(far.ask("have", blobs=[{"sha256": "0" * 64, "size": 17 << 20}], wide=True)["socket"])

    def test_what_was_removed_can_be_sent_again(self):
        far = self.far()
        data = b"bytes"
        far.upload({"a": data})
        os.unlink(self.path("blobs", sha(data)[:2], sha(data)))
        far.upload({"a": data})
        far.ask("create", job=ID, files=[{"name": "a", "sha256": sha(data), "size": len(data)}])

    def test_a_put_has_no_answer_whatever_goes_wrong(self):
        data = b"bytes"
        self.far().upload({"a": data})
        far = self.far(command=[PYTHON, "-I", "-B", "-c", far_end.other_bootstrap("digest_file(path) == digest", "os.rmdir(path) == digest")])
        far.put(data)
        self.refused(far.try_ask("sync"), 2, "Not a directory")

    @unittest.skipUnless(sys.platform.startswith("linux"), "Linux's sockets without a place on the disk")
    def test_what_cannot_be_lent(self):
        far = self.far()
        self.refused(far.try_ask("lend", socket="../x", stream=1, word=ID), 3)
        self.refused(far.try_ask("lend", socket="kolm-" + ID, stream=1, word="no"), 3)
        self.assertFalse(far.try_ask("lend", socket="kolm-" + ID, stream=1, word=ID)["ok"])
        self.assertEqual(far.ask("status", job=ID)["state"], "absent")

    def test_a_cut_costs_what_was_in_flight(self):
        data = os.urandom(5000000)
        digest = sha(data)
        rng = random.Random(5)
        at = 0
        for _ in range(6):
            far = self.far()
            missing = far.ask("have", blobs=[{"sha256": digest, "size": len(data)}])["missing"]
            self.assertGreaterEqual(missing[0]["at"], at)
            at = missing[0]["at"]
            stop = min(len(data) - 1, at + rng.randrange(1, 900000))
            far.send("put", data[at:stop], sha256=digest, size=len(data), offset=at)
            if rng.random() < 0.5:
                far.try_ask("sync")
                at = stop
            far.kill()
        far = self.far()
        start = far.ask("have", blobs=[{"sha256": digest, "size": len(data)}])["missing"][0]["at"]
        self.assertGreater(start, 0)
        far.put(data, offset=start)
        far.ask("sync")
        self.assertEqual(far.ask("have", blobs=[{"sha256": digest, "size": len(data)}])["missing"], [])
        self.assertEqual(os.listdir(self.path("parts")), [])

    def test_two_at_once_send_the_same(self):
        data = os.urandom(400000)
        one, two = self.far(), self.far()
        one.send("put", data[:1000], sha256=sha(data), size=len(data), offset=0)
        one.ask("sync")
        self.assertEqual(two.ask("have", blobs=[{"sha256": sha(data), "size": len(data)}])["missing"], [{"sha256": sha(data), "at": 0}])
        two.put(data)
        two.ask("sync")
        one.put(data, offset=1000)
        one.ask("sync")
        self.assertEqual(one.ask("have", blobs=[{"sha256": sha(data), "size": len(data)}])["missing"], [])
        self.assertEqual(os.listdir(self.path("parts")), [])

    def test_ten_thousand_small_files(self):
        far = self.far()
        files = {"d%d/%d" % (i % 50, i): b"%d" % i for i in range(10000)}
        far.ask("create", job=ID, files=far.upload(files))
        self.assertEqual(sum(len(leaves) for _, _, leaves in os.walk(self.path("jobs", ID, "work"))), 10000)

    def test_a_file_that_may_not_grow(self):
        """As with a quota, the first write beyond the limit fails."""
        far = self.far(preexec=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
                                        resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))))
        data = os.urandom(3000000)
        far.put(data)
        self.refused(far.try_ask("sync"), 8, "cannot write")
        self.refused(far.try_ask("create", job=ID, files=[{"name": "a", "sha256": sha(data), "size": len(data)}]), 5)
        with FarEnd(self.home) as again:  # with more space it continues from where it was
            missing = again.ask("have", blobs=[{"sha256": sha(data), "size": len(data)}])["missing"]
            self.assertEqual(missing, [{"sha256": sha(data), "at": 1000000}])
            again.put(data, offset=1000000)
            again.ask("sync")

    def test_a_full_disk_is_reported_before_anything_is_sent(self):
        far = self.far()
        answer = far.try_ask("have", blobs=[{"sha256": "0" * 64, "size": 1 << 50}])
        self.refused(answer, 8, "MB are needed")
        self.assertIn("free some space there", answer["remedy"])

    @unittest.skipUnless(os.geteuid() == 0, "mounts need root")
    def test_a_disk_that_fills_up(self):
        disk = os.path.join(self.home, "disk")
        os.mkdir(disk)
        if subprocess.call(["mount", "-t", "tmpfs", "-o", "size=40m", "none", disk], stderr=subprocess.DEVNULL) != 0:
            self.skipTest("no mounts here")
        try:
            with FarEnd(self.home, env={"XDG_CACHE_HOME": disk}) as far:
                self.refused(far.try_ask("have", blobs=[{"sha256": "0" * 64, "size": 30 << 20}]), 8)
                data = os.urandom(4000000)
                for i in range(20):
                    far.put(data + b"%d" % i)
                self.refused(far.try_ask("sync"), 8, "No space left")
                self.assertIn("backends.remote-ssh.dir", far.try_ask("create", job=ID, files=[])["remedy"])
                self.assertGreater(far.ask("prune", older_seconds=0)["freed"], 30000000)
                far.ask("create", job=ID, files=[])
        finally:
            subprocess.check_call(["umount", disk])

    def test_unsafe_names(self):
        far = self.far()
        entry = far.upload({"a": b"x"})[0]
        for name in ("", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/.", "a\\b", "a\nb", "a\x00b", "\x7f", "a\udc80", "x" * 256, 3, None):
            answer = far.try_ask("create", job=ID, files=[dict(entry, name=name)])
            self.refused(answer, 3)
            self.refused(far.try_ask("tree", tree=ID, files=[dict(entry, name=name)]), 3)
        self.refused(far.try_ask("create", job=ID, files=[entry, entry]), 3, "twice")
        self.assertEqual(far.ask("status", job=ID)["state"], "absent")
        self.assertEqual(os.listdir(self.path("jobs")), [])


class Probe(Case):
    def test_facts(self):
        far = self.far()
        facts = far.ask("probe")
        self.assertEqual(facts["system"], os.uname().sysname)
        self.assertGreater(facts["cores"], 0)
        self.assertGreater(facts["memory_total"], facts["memory_free"])
        self.assertGreater(facts["disk_free"], 0)
        self.assertTrue(facts["processor"])
        self.assertEqual(facts["python"]["version"], "%d.%d.%d" % sys.version_info[:3])
        self.assertTrue(far.ask("probe", python="/nowhere/python")["python"]["missing"])

    def test_cards_and_packages_by_doubles(self):
        bin_dir, env_dir = os.path.join(self.home, "bin"), os.path.join(self.home, "venv")
        os.makedirs(bin_dir)
        packages = os.path.join(env_dir, "lib", "python3.11", "site-packages")
        for name in ("torch-2.6.0+cu124.dist-info", "transformers-4.57.1.dist-info", "peft-0.18.0.dist-info", "other-1.dist-info"):
            os.makedirs(os.path.join(packages, name))
        os.makedirs(os.path.join(env_dir, "bin"))
        os.symlink(PYTHON, os.path.join(env_dir, "bin", "python"))
        with open(os.path.join(bin_dir, "nvidia-smi"), "w") as file:
            file.write("#!/bin/sh\necho 'GPU-1, NVIDIA H100 80GB HBM3, 81559, 81000, 570.86.15, 9.0'\necho 'GPU-2, NVIDIA A10, [N/A], 22731, 570.86.15, 8.6'\n")
        with open(os.path.join(bin_dir, "kolm"), "w") as file:
            file.write("#!/bin/sh\necho 'kolm 9.8.7'\n")
        for name in os.listdir(bin_dir):
            os.chmod(os.path.join(bin_dir, name), 0o755)
        far = self.far(env={"PATH": bin_dir + ":" + os.environ.get("PATH", "/usr/bin:/bin")})
        facts = far.ask("probe", python=os.path.join(env_dir, "bin", "python"))
        self.assertEqual([(g["id"], g["total"], g["free"]) for g in facts["gpus"][:2]],
                         [("GPU-1", 81559 << 20, 81000 << 20), ("GPU-2", None, 22731 << 20)])
        self.assertEqual(facts["kolm"]["version"], "9.8.7")
        self.assertLessEqual(set(facts["python"]["packages"]), {"torch", "transformers", "peft"})


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
