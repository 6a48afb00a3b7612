#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The documents, installed and in the source tree: paths and commands that they name exist, the limits and
variables of the author's guide are those of the code, and its skeletons are a backend that passes `kolm backend check`.

usage: test_docs.py BUILD_DIR SOURCE_DIR
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = (os.path.abspath(path) for path in sys.argv[1:3])
sys.path.insert(0, os.path.join(SOURCE, "docs"))
import generate  # noqa: E402

TOP = ("docs", "examples", "plugins", "tests", "sdk", "core", "findings", "packaging", "debian")
PATH = re.compile(r"(?<![\w/.~$}-])((?:%s)/[\w./*-]+|\./dev\b)" % "|".join(TOP))
LINK = re.compile(r"\]\(([^)#\s]+)[)#]")
EVERYWHERE = {"--json", "--help", "-h", "-v", "-vv", "--verbose", "--version"}


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def blocks(text):
    """Yields each paragraph, alone and with its neighbours: the subject of a path may be before or after an indented block."""
    parts = text.split("\n\n")
    for i, part in enumerate(parts):
        yield part, "\n".join(parts[max(0, i - 1):i + 2])


def there(place, path):
    path = path.rstrip(".").replace("NAME", "*")
    return bool(glob.glob(os.path.join(place, path)))


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = tempfile.mkdtemp(prefix="kolm-docs-")
        cls.addClassCleanup(shutil.rmtree, cls.dir, True)
        done = subprocess.run(["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet"], env=dict(os.environ, DESTDIR=cls.dir),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise AssertionError(done.stdout[-3000:])
        cls.kolm = next(os.path.join(folder, "kolm") for folder, _, files in os.walk(cls.dir) if folder.endswith("/bin") and "kolm" in files)
        cls.prefix = os.path.dirname(os.path.dirname(cls.kolm))
        cls.docs = next(folder for folder, _, files in os.walk(cls.dir) if "backend-author.md" in files)
        cls.pages = {name: read(cls.docs, name) for name in sorted(os.listdir(cls.docs)) if name.endswith((".md", ".sh"))}
        cls.verbs, cls.groups = generate.collect(cls.kolm)

    def test_every_path_exists_or_is_marked_as_elsewhere(self):
        for name, text in self.pages.items():
            for part, around in blocks(text):
                for path in PATH.findall(part):
                    with self.subTest(page=name, path=path):
                        self.assertTrue(there(self.docs, path) or "kolm's sources" in " ".join(around.split()), part[:300])

    def test_every_link_leads_somewhere(self):
        for name, text in self.pages.items():
            for link in LINK.findall(text):
                if "://" not in link:
                    with self.subTest(page=name, link=link):
                        self.assertTrue(os.path.exists(os.path.join(self.docs, link)))

    def test_headers_and_help_name_only_what_is_installed(self):
        for folder, _, files in os.walk(os.path.join(self.prefix, "include")):
            for name in files:
                for path in PATH.findall(read(folder, name)):
                    with self.subTest(header=name, path=path):
                        self.assertTrue(there(self.docs, path))
        for words in list(self.verbs) + [g for g in self.groups if g]:
            text = generate.help_of(self.kolm, words)
            self.assertEqual(PATH.findall(text), [], words)
            for page in re.findall(r"\b([a-z-]+\.md)\b", text):
                self.assertIn(page, self.pages, words)

    def test_other_pages_that_are_named_in_words(self):
        for name, text in self.pages.items():
            for page in re.findall(r"(?<![\w/.-])([a-z][a-z-]+\.md)\b", text):
                with self.subTest(page=name, named=page):
                    self.assertTrue(page in self.pages)

    def check_command(self, line):
        line = re.split(r"\s{2,}|\s[|>&;#]\s?|\s\\$", line.strip(), maxsplit=1)[0]
        words = line.split()[1:]
        verb = ()
        while words and re.fullmatch(r"[a-z][a-z|-]*", words[0]) and verb not in self.verbs:
            known = [n for n, _ in self.groups.get(verb, [])]
            for one in words[0].split("|"):
                self.assertIn(one, known, line)
            if "|" in words[0]:
                return
            verb += (words.pop(0),)
        names = set(self.verbs[verb].names()) if verb in self.verbs else set()
        for word in words:
            option = re.match(r"\[?(--?[a-z][a-z-]*)", word)
            if option:
                self.assertIn(option.group(1), names | EVERYWHERE, line)

    def test_every_command_is_one(self):
        seen = 0
        for name, text in self.pages.items():
            commands = re.findall(r"(?m)^    (?:\$ )?(kolm [a-z-].*)$", text)
            commands += [" ".join(c.split()) for c in re.findall(r"`(kolm [a-z-][^`]*)`", text)]
            for command in commands:
                with self.subTest(page=name, command=command):
                    self.check_command(command)
                    seen += 1
        self.assertGreater(seen, 100)

    def test_pkg_config_says_where_the_guide_is(self):
        if not shutil.which("pkg-config"):
            self.skipTest("there is no pkg-config")
        place = next(folder for folder, _, files in os.walk(self.dir) if "kolm-backend-1.pc" in files)
        found = subprocess.run(["pkg-config", "--variable=docdir", "kolm-backend-1"], env=dict(os.environ, PKG_CONFIG_PATH=place),
                               stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
        self.assertEqual(self.dir + found, self.docs)

    def test_the_skeletons_are_a_backend(self):
        compiler = (os.environ.get("CC") or "cc").split()
        part = self.pages["backend-author.md"].split("## Skeletons", 1)[1].split("\n## ", 1)[0]
        code = "\n".join(re.findall(r"```c\n(.*?)```", part, re.S))
        place = os.path.join(self.dir, "skeleton")
        os.mkdir(place, 0o755)
        with open(os.path.join(place, "skeleton.c"), "w", encoding="utf-8") as file:
            file.write(code)
        command = re.search(r"^    cc (.*)$", part, re.M).group(1).split()
        at = command.index("$(pkg-config")
        command[at:at + 3] = ["-I" + os.path.join(self.prefix, "include"), "-Wall", "-Wextra", "-Werror"]
        done = subprocess.run(compiler + command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        manifest = json.loads(read(SOURCE, "sdk", "template", "example.json"))
        with open(os.path.join(place, "skeleton.json"), "w", encoding="utf-8") as file:
            json.dump(dict(manifest, name="skeleton"), file)
        os.chmod(os.path.join(place, "skeleton.so"), 0o755)
        env = {"PATH": os.environ["PATH"], "HOME": place, "KOLM_HOME": os.path.join(place, "home")}
        done = subprocess.run([self.kolm, "backend", "check", os.path.join(place, "skeleton.so"), "--json"], env=env, stdout=subprocess.PIPE, text=True)
        failing = {c["name"]: c["reason"] for c in json.loads(done.stdout)["checks"] if c["outcome"] == "fail"}
        self.assertEqual(set(failing), set(re.findall(r"`((?:abi|train|infer)\.[a-z-]+)`", part.split("What `check` then finds", 1)[1])), failing)


class Sources(unittest.TestCase):
    def test_every_path_is_there(self):
        pages = ["README.md", "CONTRIBUTING.md"] + sorted(os.path.relpath(p, SOURCE) for p in glob.glob(os.path.join(SOURCE, "docs", "**", "*.md"), recursive=True))
        self.assertGreater(len(pages), 15)
        for page in pages:
            text = read(SOURCE, page)
            for path in PATH.findall(text):
                with self.subTest(page=page, path=path):
                    self.assertTrue(there(SOURCE, path))
            for link in LINK.findall(text):
                if "://" not in link:
                    with self.subTest(page=page, link=link):
                        self.assertTrue(os.path.exists(os.path.join(SOURCE, os.path.dirname(page), link)))


def constant(path, name):
    """Evaluates a #define of the sources."""
    value = re.search(r"(?m)^#define %s +([^/\n]+)" % name, read(SOURCE, path)).group(1)
    return eval(re.sub(r"(?<=[0-9a-fA-F])[uUlL]+\b", "", value.replace("(off_t)", "")), {"__builtins__": {}})


GIB, MIB = 1 << 30, 1 << 20
LIMITS = [  # the row of the table in the guide, its text, and the constant that must agree
    ("`detect`, `cost`: time", lambda: "%d seconds, up to %d times that" % (constant("core/host/call.c", "LIGHT_TIMEOUT_MS") / 1000, constant("core/host/internal.h", "HOST_BUSY_TIMES"))),
    ("`detect`, `cost`: processor time", lambda: "%d seconds: %d more than the time limit" % (
        constant("core/host/ask.c", "LIGHT_CPU_MORE") + constant("core/host/call.c", "LIGHT_TIMEOUT_MS") / 1000, constant("core/host/ask.c", "LIGHT_CPU_MORE"))),
    ("`detect`, `cost`: memory", lambda: "%d GiB of data" % (constant("core/host/ask.c", "DEFAULT_MEMORY_LIMIT") / GIB)),
    ("`detect`, `cost`: a file", lambda: "%d MiB" % (constant("core/host/ask.c", "DEFAULT_FILE_LIMIT") / MIB)),
    ("`detect`, `cost`: what it prints", lambda: "%d bytes" % constant("core/host/run.c", "PRINTED_LIGHT")),
    ("other slots: what it prints", lambda: "%d MiB" % (constant("core/host/run.c", "PRINTED_MOST") / MIB)),
    ("grace period, from the request to stop to the kill", lambda: "%d seconds; `detect` and `cost` none" % (constant("core/host/call.c", "GRACE_MS") / 1000)),
    ("log lines", lambda: "%d at once, %d a second" % (constant("core/host/child/services.c", "LOG_BURST"), constant("core/host/child/services.c", "LOG_PER_SECOND"))),
    ("a secret", lambda: "%d bytes" % constant("core/host/internal.h", "HOST_SECRET_MAX")),
    ("plugin", lambda: "%d GiB; up to %d MiB" % (constant("core/host/plugin.c", "PLUGIN_MOST") / GIB, constant("core/host/plugin.c", "SEALED_MOST") / MIB)),
    ("libraries beside it", lambda: "%d files" % constant("core/host/libs.c", "LIBS_MAX")),
    ("manifest", lambda: "%d bytes" % constant("core/host/manifest.h", "HOST_MANIFEST_MAX_BYTES")),
    ("`auth`, `secrets`", lambda: "%d names each" % constant("core/host/manifest.c", "NAMES_MAX")),
    ("`requires`", lambda: "%d entries" % constant("core/host/manifest.c", "REQUIRES_MAX")),
    ("`formats`", lambda: "%d" % constant("core/host/manifest.c", "FORMATS_MAX")),
    ("`recipes`", lambda: "%d" % constant("core/host/recipes.h", "HOST_RECIPES_MAX")),
    ("`settings`", lambda: "%d keys" % constant("core/host/settings.h", "HOST_SETTINGS_MAX")),
    ("`files`", lambda: "{0} places to read, {0} to write".format(constant("core/host/files.h", "HOST_FILES_MAX"))),
    ("plugins in all directories", lambda: "%d" % constant("core/host/internal.h", "HOST_ROWS_MAX")),
]


class Promises(unittest.TestCase):
    guide = read(SOURCE, "docs", "backend-author.md")

    def part(self, title):
        return self.guide.split("### %s\n" % title, 1)[1].split("\n### ", 1)[0]

    def test_rooms_of_the_sdk(self):
        """sdk.md has a section for each room that lists exactly its public headers and names its tests; remote.md lists each file once."""
        sections = dict(re.findall(r"(?ms)^## (sdk/\w+)\n(.*?)(?=^## |\Z)", read(SOURCE, "docs", "rooms", "sdk.md")))
        rooms = {os.path.relpath(path, SOURCE) for path in glob.glob(os.path.join(SOURCE, "sdk", "*", "include"))}
        self.assertEqual(set(sections), {os.path.dirname(room) for room in rooms})
        for room, section in sections.items():
            with self.subTest(room):
                headers = {os.path.basename(path) for path in glob.glob(os.path.join(SOURCE, room, "include", "kolm", "*", "*.h"))}
                self.assertEqual(set(re.findall(r"`(\w+\.h)`", "\n".join(line.split("|")[1] for line in section.split("\n") if line.startswith("| `")))), headers)
                self.assertRegex(section, r"Tests: `tests/\w+`")

    def test_files_without_their_folder(self):
        """`call.c` without a directory: on a room's page, in the first column of a table, it is a file of that room; elsewhere, the end
        of any path."""
        files = []
        for folder, below, names in os.walk(SOURCE):
            below[:] = [name for name in below if not name.startswith((".", "build"))]
            files += [os.path.join(folder, name)[len(SOURCE):] for name in names]
        found = 0
        for page in ["CONTRIBUTING.md"] + [os.path.relpath(p, SOURCE) for p in glob.glob(os.path.join(SOURCE, "docs", "rooms", "*.md"))]:
            room = "/core/%s/" % os.path.basename(page)[:-3]
            room = room if os.path.isdir(SOURCE + room) else "/"
            for line in read(SOURCE, page).split("\n"):
                own = line.split("|")[1] if line.startswith("| `") else ""
                for name in re.findall(r"`([\w*][\w./*-]*\.(?:[ch]|py|sh|css))`", line):
                    pattern = re.compile("/" + re.escape(name).replace(r"\*", "[^/]*").replace("NAME", "[^/]*") + "$")
                    with self.subTest(page=page, name=name):
                        found += 1
                        self.assertTrue(any(f.startswith(room if name in own else "/") and pattern.search(f) for f in files))
        self.assertGreater(found, 200)

    def test_files_of_remote(self):
        named = re.findall(r"(?m)^\| `(\w+\.\w+)` \|", read(SOURCE, "docs", "rooms", "remote.md"))
        here = [os.path.basename(path) for pattern in ("src/*.[ch]", "far/*.py", "far/kolm_remote/*.py")
                for path in glob.glob(os.path.join(SOURCE, "sdk", "remote", pattern))]
        self.assertEqual(sorted(named), sorted(here))

    def test_limits_are_those_of_the_code(self):
        rows = dict(re.findall(r"(?m)^\| (.*?) \| (.*?) \|$", self.part("Limits")))
        self.assertEqual(set(rows) - {"what"}, {row for row, _ in LIMITS})
        for row, promised in LIMITS:
            with self.subTest(row=row):
                self.assertTrue(re.match(re.escape(promised()) + r"(?!\d)", rows[row]), (rows[row], promised()))

    def test_the_header_has_the_same(self):
        text = " ".join(read(SOURCE, "sdk", "include", "kolm", "backend.h").replace("\n *", " ").split())
        light = constant("core/host/call.c", "LIGHT_TIMEOUT_MS") // 1000
        for words in ("detect and cost: %d seconds" % light, "%d seconds of CPU time" % (light + constant("core/host/ask.c", "LIGHT_CPU_MORE")),
                      "%d GiB of data" % (constant("core/host/ask.c", "DEFAULT_MEMORY_LIMIT") // GIB), "%d MiB per file" % (constant("core/host/ask.c", "DEFAULT_FILE_LIMIT") // MIB),
                      "return KOLM_E_CANCELLED within %d seconds" % (constant("core/host/call.c", "GRACE_MS") // 1000)):
            self.assertIn(words, text.replace(" * ", " "))

    def test_the_environment_is_that_of_the_code(self):
        source = read(SOURCE, "core", "host", "ask.c").split("passed[] = {", 1)[1].split("};", 1)[0].split("#if", 1)[0]
        told = set(re.findall(r"`([A-Z][A-Z_*]+)`", self.part("The environment of a call").split("if set by the user", 1)[0]))
        self.assertEqual(told, set(re.findall(r'"([A-Z_]+)"', source)) | {"LC_*"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
