#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every way in which kolm compute setup fails. Needs no network."""
import http.server
import json
import os
import signal
import socket
import ssl
import subprocess
import threading

import harness
from setup_case import Case, NAME, PYTHON, setUpModule  # noqa: F401


class Trouble(Case):
    """Wrong or damaged wheels, locks, homes and networks; and interrupted setups."""

    # ---- wrong wheels

    def test_wrong_hash(self):
        wheel = self.wheel()
        self.lock(wheel, hashes={"tiny": "0" * 64})
        self.fails(7, "tiny", "does not match the lock", "nothing was installed")
        self.lock(wheel)
        self.setup()

    def test_truncated_wheel(self):
        wheel = self.wheel()
        self.lock(wheel)
        with open(wheel, "r+b") as file:
            file.truncate(os.path.getsize(wheel) // 2)
        self.fails(7, "tiny", "does not match the lock")

    def test_pinned_but_no_wheel(self):
        wheel = self.wheel()
        with open(wheel, "wb") as file:
            file.write(b"this is no zip file")
        self.lock(wheel)
        self.fails(6, "pip could not install", "setup.log")

    def test_missing_wheel(self):
        wheel = self.wheel()
        self.lock(wheel, self.wheel("other"))
        os.unlink(os.path.join(self.wheels, "other-1.0-py3-none-any.whl"))
        self.fails(6, self.wheels + " has no wheel of other==1.0")
        self.wheel("other")
        self.setup()

    def test_a_source_is_no_wheel(self):
        self.lock(self.wheel())
        os.rename(os.path.join(self.wheels, "tiny-1.0-py3-none-any.whl"), os.path.join(self.wheels, "tiny-1.0.tar.gz"))
        self.fails(6, "has no wheel of tiny==1.0")

    def test_a_lock_without_hashes(self):
        self.wheel()
        self.write(os.path.join(self.plugins, NAME + ".lock.txt"), "tiny==1.0\n")
        self.fails(6, "pip could not install", "hashes")

    def test_no_directory_of_wheels(self):
        self.lock(self.wheel())
        self.fails(6, "cannot find the directory", words=("--from", os.path.join(self.dir, "nowhere")), offline=False)
        self.fails(6, "is not a directory", words=("--from", self.write("file", "")), offline=False)

    # ---- wrong locks

    def test_bad_locks(self):
        wheel = self.wheel()
        self.assert_error(self.setup(code=2), "no lock file comes with it", "the package kolm-trainer")
        self.lock(wheel, mode=0o666)
        self.fails(6, "can be changed by every user")
        self.lock(head="# nothing\n", mode=0o644)
        os.chmod(os.path.join(self.plugins, NAME + ".lock.txt"), 0o644)
        self.fails(6, "lists no package")
        self.lock(wheel, head="# kolm: download-bytes many\n")
        self.fails(6, "download-bytes many")
        self.lock(wheel, head="# kolm: index-url http://example.org\n")
        self.fails(6, "index-url http://example.org")
        self.lock(wheel, head="# kolm: python newest\n")
        self.fails(2, "needs python newest")
        self.lock(wheel, head="# kolm: system amiga\n")
        self.fails(2, "is for amiga")
        self.write(os.path.join(self.plugins, NAME + ".lock.txt"), b"tiny==1.0 \xff\n")
        self.fails(6, "not UTF-8")

    def test_disk_too_small(self):
        self.lock(self.wheel(), head="# kolm: disk-bytes 9007199254740991\n")
        self.fails(1, "of disk", "KOLM_HOME")

    # ---- homes and backends

    def test_unknown_backend(self):
        self.assert_error(self.kolm("compute", "setup", "test-wrod", code=2), "no backend is called 'test-wrod'", "test-word")
        self.assert_error(self.kolm("compute", "setup", code=2), "missing NAME")

    def test_home_that_cannot_be_written(self):
        self.lock(self.wheel())
        self.write_home("runtimes", "")
        done = self.setup(code=None)
        self.assertNotEqual(done.returncode, 0)
        self.assert_error(done, "runtimes")
        if os.geteuid() != 0:
            os.unlink(os.path.join(self.home, "runtimes"))
            os.chmod(self.home, 0o500)
            self.addCleanup(os.chmod, self.home, 0o700)
            self.fails(6, "runtimes")

    # ---- interrupted ones

    def test_half_made_is_made_again(self):
        self.lock(self.wheel())
        for path in (self.runtime, os.path.join(self.partial, "venv"), os.path.join(os.path.dirname(self.runtime), "." + NAME + ".old")):
            os.makedirs(os.path.join(path, "lib"))
            self.write(os.path.join(path, "lib", "half"), "half")
        os.chmod(self.home, 0o700)
        self.assertIn("none; `kolm compute setup", self.kolm("compute", "info", NAME).out)
        self.setup()
        self.assertIn("tiny", self.about()["packages"])
        self.assertFalse(os.path.exists(os.path.join(self.runtime, "lib", "half")))
        self.assertEqual([n for n in os.listdir(os.path.dirname(self.runtime)) if n not in ("." + NAME + ".lock", "." + NAME + ".files")], [NAME])

    def test_a_python_that_is_gone(self):
        self.lock(self.wheel())
        self.setup()
        python = os.path.join(self.runtime, "bin", "python")
        os.unlink(python)
        os.symlink("/nonexistent/python3.1", python)
        self.setup()
        self.assertTrue(os.access(python, os.X_OK))

    def test_killed_and_done_again(self):
        path, true = self.lock_stuck()
        process = self.begin("--from", self.wheels)
        self.wait_for_reader(path, process)
        below = self.children_of(process.pid)
        self.assertTrue(below)
        process.kill()
        process.communicate()
        self.wait_for(lambda: not any(self.alive(pid) for pid in below), "pip to end with kolm")
        self.assertFalse(os.path.lexists(self.runtime))
        os.rename(true, path)
        self.setup()
        self.assertEqual({"tiny", "slow"} - set(self.about()["packages"]), set())
        self.assertFalse(os.path.lexists(self.partial))

    def test_interrupted(self):
        path, true = self.lock_stuck()
        process = self.begin("--from", self.wheels)
        self.wait_for_reader(path, process)
        below = self.children_of(process.pid)
        code, _, err = self.interrupt(process)
        self.assertEqual(code, 130)
        self.assertIn("what was downloaded is kept", err)
        self.assertFalse(any(self.alive(pid) for pid in below))
        self.assertFalse(os.path.lexists(self.runtime))
        os.rename(true, path)
        self.setup()

    def test_two_at_once(self):
        path, _ = self.lock_stuck()
        process = self.begin("--from", self.wheels)
        self.wait_for_reader(path, process)
        self.assert_error(self.setup(code=5), "another `kolm compute setup %s` is running" % NAME)
        self.assert_error(self.kolm("compute", "setup", NAME, "--remove", code=5), "is running")
        self.assertEqual(self.interrupt(process)[0], 130)

    # ---- the network, as far as it can be tested on this machine

    def serve(self):
        """Serves self.wheels as an index; returns (address, names of the files requested, event that releases the held file)."""
        asked, held, wheels = [], threading.Event(), self.wheels
        self.holding = None

        class Index(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                name = os.path.basename(handler.path.rstrip("/"))
                if handler.path.startswith("/simple/"):
                    body = "".join('<a href="/files/%s">%s</a>' % (f, f) for f in os.listdir(wheels) if f.startswith(name + "-")).encode()
                    kind = "text/html"
                else:
                    asked.append(name)
                    if name == self.holding:
                        held.wait(60)
                    with open(os.path.join(wheels, name), "rb") as file:
                        body = file.read()
                    kind = "application/octet-stream"
                try:
                    handler.send_response(200)
                    for field in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "max-age=1000")):
                        handler.send_header(*field)
                    handler.end_headers()
                    handler.wfile.write(body)
                except OSError:
                    pass

            def log_message(self, *words):
                pass

        # pip does not cache what was downloaded without encryption.
        key, certificate = os.path.join(self.dir, "key.pem"), os.path.join(self.dir, "certificate.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.env["PIP_CERT"] = certificate
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Index)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(server.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.addCleanup(held.set)
        return "https://127.0.0.1:%d/simple" % server.server_port, asked, held

    def test_downloads_are_kept(self):
        first, second = self.wheel("aaa"), self.wheel("bbb")
        self.lock(first, second)
        address, asked, _ = self.serve()
        self.holding = os.path.basename(second)
        process = self.begin("--index-url", address)
        self.wait_for(lambda: self.holding in asked, "the second download", 60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.holding = None
        del asked[:]
        out = self.setup("--index-url", address, offline=False).out
        self.assertIn("from an earlier attempt", out)
        self.assertEqual(asked, [os.path.basename(second)])
        self.assertEqual({"aaa", "bbb"} - set(self.about()["packages"]), set())

    def test_a_changed_file_on_the_index(self):
        wheel = self.wheel()
        self.lock(wheel)
        self.wheel(body="EVIL = 1\n")
        address, _, _ = self.serve()
        self.fails(7, "does not match the lock", words=("--index-url", address), offline=False)

    def test_no_network(self):
        self.lock(self.wheel())
        self.fails(5, "could not be downloaded", "http://127.0.0.1:9", words=("--index-url", "http://127.0.0.1:9/simple"), offline=False)

    def test_the_index_that_is_away_is_named(self):
        """The error names the index that is unreachable, not the first one of the lock, which answers; and pip, which would retry for
        minutes, is not started."""
        wheel = self.wheel()
        address, asked, _ = self.serve()
        self.lock(wheel, head="# kolm: summary tiny things\n# kolm: python >=3.6 <4.0\n# kolm: index-url %s\n# kolm: index-url https://127.0.0.1:9/extra\n" % address)
        done = self.fails(5, "could not be downloaded", "https://127.0.0.1:9/extra is unavailable: Connection refused", "--from DIR", offline=False)
        self.assertNotIn(address, done.err)
        self.assertEqual(asked, [])
        self.assertFalse(os.path.exists(os.path.join(self.home, "runtimes", ".%s.partial" % NAME, "venv")))
        self.fails(5, "http://127.0.0.1:9/simple is unavailable", words=("--index-url", "http://me:secret@127.0.0.1:9/simple"), offline=False)
        self.assertNotIn("secret", self.setup("--index-url", "http://me:secret@127.0.0.1:9/simple", code=5, offline=False).err)

    def test_what_an_index_may_answer(self):
        """The probe itself, with a short timeout: what counts as unreachable, and what is left to pip."""
        with open(os.path.join(harness.SOURCE, "core", "runtime", "reach.py"), encoding="utf-8") as file:
            driver = file.read()
        self.assertIn("REACH_SECONDS = 15", driver)
        driver = driver.replace("REACH_SECONDS = 15", "REACH_SECONDS = 1")

        class Odd(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                code = handler.path.split("/")[1]
                if code == "hangup":
                    return
                handler.send_response(int(code))
                handler.end_headers()

            def log_message(self, *words):
                pass

        odd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Odd)
        thread = threading.Thread(target=odd.serve_forever)
        thread.start()
        self.addCleanup(odd.server_close)
        self.addCleanup(thread.join)
        self.addCleanup(odd.shutdown)
        silent = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(silent.close)
        encrypted = self.serve()[0]
        here = "http://127.0.0.1:%d" % odd.server_port
        silence = "http://127.0.0.1:%d" % silent.getsockname()[1]

        def reach(*urls, **env):
            read, write = os.pipe()  # when it ends, the child would kill its process group
            done = subprocess.run([PYTHON, "-I", "-B", "-c", driver, *urls], stdin=read, capture_output=True, text=True, timeout=60, check=True, env=env, start_new_session=True)
            os.close(read)
            os.close(write)
            return json.loads(done.stdout.rpartition("kolm-answer ")[2])

        for url in (here + "/200/simple", here + "/404", here + "/403/", "http://me:pw@127.0.0.1:%d/401" % odd.server_port, encrypted, "file:///nowhere"):
            self.assertEqual(reach(url), {}, url)
        for url, why in ((here + "/503", "503"), (here + "/hangup", "closed"), (silence, "no answer in 1 seconds"), ("http://127.0.0.1:9", "refused"), ("http://nowhere.invalid", "")):
            answer = reach(here + "/200", url)
            self.assertEqual(answer["number"], 1, url)
            self.assertIn(why, answer["why"])
        self.assertIn("refused", reach(here + "/200", http_proxy="http://127.0.0.1:9")["why"])
        for name in ("all_proxy", "PIP_PROXY"):
            self.assertEqual(reach("http://127.0.0.1:9", **{name: "socks5://127.0.0.1:9"}), {})


if __name__ == "__main__":
    harness.main()
