#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each rule of lint.py: accepts code that follows it and rejects code that breaks it."""
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from lint import FUNCTION_LINES, LINES_MOST, SPDX, Lint  # noqa: E402  the path is set just above


class SelfTest(unittest.TestCase):
    """Each rule reports a violation and accepts similar code that is allowed."""
    HEAD = f"/* {SPDX} */\n/* What it is for. */\n"

    def lint(self, **files):
        with tempfile.TemporaryDirectory() as root:
            for room in ("core/host", "core/pick", "core/cli", "plugins/acme"):
                os.makedirs(os.path.join(root, room))
            with open(os.path.join(root, "plugins/acme/acme-one.json"), "w", encoding="utf-8") as file:
                json.dump({"name": "acme-one", "kind": "local"}, file)
            for name, text in files["files"].items():
                os.makedirs(os.path.dirname(os.path.join(root, name)), exist_ok=True)
                with open(os.path.join(root, name), "w", encoding="utf-8") as file:
                    file.write(text)
            return Lint(root).run()

    def check(self, path, body, expected):
        found = self.lint(files={path: self.HEAD + body})
        if expected is None:
            self.assertEqual(found, [])
        else:
            self.assertEqual(len(found), 1, found)
            self.assertIn(expected, found[0])

    def test_banned(self):
        self.check("core/host/a.c", "int f(char *s) { return atoi(s); }\n", "atoi")
        self.check("core/host/a.c", "int f(void) { return atoi (\"1\"); }\n", ":3:")
        self.check("core/host/a.c", "/* never atoi(s) */ const char *s = \"system(1)\"; int my_atoi(int); int x = h->system(3);\n", None)
        self.check("core/host/a.c", "char *f(void) { return getenv(\"A\"); }\n", "secure_getenv")
        self.check("tests/host/a.c", "char *f(void) { return getenv(\"A\"); }\n", None)
        self.check("core/host/a.c", "char *f(void) { return getenv(\"NO_COLOR\"); }\n", None)
        self.check("tests/host/a.c", "void f(void) { usleep(3); }\n", "usleep")
        self.check("tests/host/a.c", "void f(Suite *s) { (void)srunner_create(s); }\n", "run_suite")
        self.check("core/host/a.c", "void f(void) { usleep(3); }\n", None)

    def test_lengths(self):
        self.check("tests/host/a.c", "int x;\n" * (LINES_MOST - 2), None)
        self.check("tests/host/a.c", "int x;\n" * (LINES_MOST - 1), "split it")
        self.check("plugins/local-cpu/unicode_table.h", "int x;\n" * LINES_MOST, None)
        head = f"# {SPDX}\n# What for.\n"
        self.assertEqual(self.lint(files={"tests/a.py": head + "x = 3\n" * (LINES_MOST - 2)}), [])
        self.assertEqual(len(self.lint(files={"tests/a.py": head + "x = 3\n" * (LINES_MOST - 1)})), 1)

    def test_documents(self):
        wide = "word " * 31
        self.assertIn("README.md:2: is wider than 150 columns", self.lint(files={"docs/../README.md": "# kolm\n" + wide + "\n"})[0])
        self.assertEqual(len(self.lint(files={"docs/rooms/a.md": wide + "\n| " + wide + " |\n"})), 1)
        self.assertEqual(self.lint(files={"docs/a.md": wide[:150] + "\n"}), [])

    def test_functions(self):
        for head, tail, lines, seen in (("int f(int a) {", "}", FUNCTION_LINES, True), ("int f(int a) {", "}", FUNCTION_LINES - 1, False),
                                        ("int f(int a,\n      int b) {", "}", FUNCTION_LINES, True),
                                        ("static const struct a all[] = {", "};", FUNCTION_LINES, False),
                                        ("const kolm_x chosen = {", "};", FUNCTION_LINES, False), ("struct a {", "};", FUNCTION_LINES, False),
                                        ("START_TEST(a) {", "}\nEND_TEST", FUNCTION_LINES, True)):
            self.check("tests/host/a.c", head + "\n" + "    x;\n" * lines + tail + "\n", f"a function of {lines} lines" if seen else None)
        short = "static int g(void) {\n    if (x) {\n        y;\n    }\n}\n\n"
        self.check("tests/host/a.c", short * FUNCTION_LINES, None)

    def test_includes(self):
        self.check("core/pick/a.c", '#include "host/host.h"\n', "may not see host")
        self.check("core/pick/a.c", '#include "cli/cli.h"\n', "may not see cli")
        self.check("core/attic/a.c", '#include "attic/a.h"\n', "no floor")
        self.check("core/host/a.c", '#include "host/host.h"\n#include "kolm/kit/buf.h"\n#include <sys/stat.h>\n', None)
        self.check("core/cli/a.c", '#include "pick/pick.h"\n', None)
        self.check("core/pick/a.c", "#include <host/host.h>\n", "may not see host")
        self.check("plugins/acme/a.c", '#include "../other/inner.h"\n', "out of its room")
        self.check("plugins/cloud/acme/a.c", '#include "../other/inner.h"\n', "plugins/cloud/acme may not climb")
        self.check("plugins/acme/deep/a.c", '#include "../inner.h"\n', None)
        self.check("core/host/a.c", '#  include "../pick/pick.h"\n', "without ..")
        self.check("plugins/acme/a.c", '#include "host/host.h"\n', "may not see core")
        self.check("plugins/acme/a.c", '#include "../../core/host/host.h"\n', "may not see core")
        self.check("plugins/acme/a.c", '#include <kolm/backend.h>\n#include "kolm/kit/json.h"\n#include "inner.h"\n', None)
        self.check("sdk/kit/src/a.c", '#include "cli/cli.h"\n', "may not see core")
        self.check("sdk/remote/src/a.c", '#include "../../ssh/src/internal.h"\n', "public headers of ssh only")

    def test_source_lists(self):
        for text, seen in (("x = files('a.c', 'b.c')\n", 1), ("t('a.c', place + 'b.c',\n", 1), ("t('a',\n  'a.c',\n  'b.c')\n", 0),
                           ("x = cc.find_library('x', has_headers: ['a.h', 'b.h'])\n", 0)):
            self.assertEqual(len(self.lint(files={"core/host/meson.build": text})), seen, text)

    def test_externs(self):
        self.check("core/host/a.c", "extern int pick_secret(void);\n", "extern in a source")
        self.check("core/host/a.c", "extern char **environ;\nextern const int __ehdr_start;\n", None)
        self.check("core/host/a.h", "extern const int host_fields;\n", None)
        self.check("plugins/acme/a.c", "extern const int other;\n", "extern in a source")
        self.check("core/host/a.c", "int pick_secret(int a,\n    const char *b);\n", "prototype in a source")
        self.check("core/host/a.c", "const char *pick_secret(void) KIT_MUST_USE;\n", "prototype in a source")
        self.check("core/host/a.c", "static int own(void);\nint f(void) {\n    return own();\n}\nint x = 3;\n", None)
        self.check("core/host/a.h", "int host_f(void);\n", None)

    def test_floors_of_the_sdk(self):
        ssh, kit = ({f"sdk/{room}/include/kolm/{room}/a.h": self.HEAD} for room in ("ssh", "kit"))
        for room, header, good in (("http", "kit", True), ("http", "ssh", False), ("kit", "ssh", False), ("remote", "ssh", True),
                                   ("ssh", "kit", True), ("attic", "kit", False)):
            body = self.HEAD + f'#include "kolm/{header}/a.h"\n'
            self.assertEqual(len(self.lint(files={f"sdk/{room}/src/b.c": body, **ssh, **kit})), 0 if good else 1, (room, header))

    def test_one_room_a_library(self):
        self.check("plugins/acme/a.c", "void f(void) { curl_easy_init(); }\n", "only sdk/http/")
        self.check("core/host/a.c", "#include <curl/curl.h>\n", "only sdk/http/")
        self.check("tests/host/a.c", "int x = curl_global_init (3);\n", "only sdk/http/")
        self.check("sdk/http/src/a.c", "#include <curl/curl.h>\nvoid f(void) { curl_easy_init(); }\n", None)
        self.check("plugins/acme/a.c", "/* no curl_easy_init() */ int http_curl_x(int); const char *s = \"curl_easy_init()\";\n", None)

    def test_one_file_a_decision(self):
        lock = "int f(int fd) { return flock(fd, 2); }\n"
        self.check("core/host/a.c", lock, "sdk/kit/src/lock.c alone")
        self.check("sdk/kit/src/lock.c", lock, None)
        self.check("tests/host/a.c", lock, None)
        self.check("core/host/a.c", "/* flock() and st_uid */ int x = my_flock(1);\n", None)
        self.check("plugins/acme/a.c", "int x = info.st_uid == 0;\n", "kolm/kit/trust.h")
        self.check("plugins/acme/a.c", "int x = pthread_create(&thread, NULL, run, NULL);\n", "kolm/kit/thread.h")
        for decision in ("strchr(err->remedy, 'x') != NULL", "strcmp(s->error.text, t) == 0", "strchr(why.text, ':')"):
            self.check("core/host/a.c", f"int x = {decision};\n", "the code of the error")
        self.check("core/host/a.c", "size_t n = strlen(err->text); int x = strcmp(label.text, t);\n", None)
        self.check("plugins/acme/a.c", "int f(int p) { return waitpid(p, 0, 0); }\n", "kolm/kit/child.h")
        self.check("core/host/a.c", "int f(int p) { return waitpid(p, 0, 0); }\n", None)
        call = "int f(void) { return host_train(a, b, c, d, e, f, g); }\n"
        self.check("core/cli/a.c", call, "core/fleet/call.c alone")
        self.check("core/fleet/call.c", call, None)
        self.check("core/host/call.c", call, None)
        self.check("core/host/a.c", 'const char *s = "grants.json";\n', "core/store/home.c alone")
        self.check("plugins/acme/a.c", 'const char *s = "credentials", *t = "the grants.json file";\n', None)
        self.check("core/host/a.c", 'int x = kit_fail(err, 8, "", "out of memory");\n', "kit_no_memory")
        self.check("core/host/a.c", 'int x = kit_fail(err, 8, "", "out of memory while reading data");\n', None)
        for private in ("b[0] == 192 && b[1] == 168", "b[0] == 0xA9 && b[1] == 0xfe", "(b[0] & 0xfe) == 0xfc"):
            self.check("plugins/acme/a.c", f"int x = {private};\n", "kolm/kit/address.h")
            self.check("sdk/kit/src/address.c", f"int x = {private};\n", None)
        self.check("plugins/acme/a.c", "int x = status == 192 || (b[1] & 0xC0) == 0x80;\n", None)

    def test_searches(self):
        search = "int f(const char *s) { return strstr(s, \"python3\") != NULL; }\n"
        self.check("core/host/a.c", search, "a text is searched here")
        self.check("core/host/words.c", search, None)
        self.check("tests/host/a.c", search, None)
        self.check("plugins/acme/a.c", "int x = my_strstr(s, t) + p->strstr(s, t); /* strstr(s, t) */\n", None)
        found = self.lint(files={"tests/abi/lint.py": f"# {SPDX}\n# The rules.\n", "core/host/words.c": self.HEAD + search})
        self.assertTrue(all("searches no text any more" in line and "host/words.c" not in line for line in found), found)
        self.assertTrue(any("core/host/answer.c" in line for line in found), found)

    def test_fields(self):
        head, public = "typedef struct kit_a {\n    int a;\n", "sdk/kit/include/kolm/kit/a.h"
        self.check(public, head + "    const char *b, *c; /* both */\n} kit_a;\n", "one field a line")
        self.check(public, head + "    int b[3], c;\n} kit_a;\n", "one field a line")
        self.check(public, head + "    int (*f)(int a,\n             int b);\n    int b; /* a, b; */\n} kit_a;\nint kit_f(int a,\n    int b);\n", None)
        self.check("core/host/a.h", head + "    int b, c;\n} kit_a;\n", None)
        self.check("core/host/a.h", head + "    const char\n        *b; /* long */\n} kit_a;\n", "put the comment of the field above it")
        self.check("core/host/a.h", head + "    bool\n        b; /* long */\n} kit_a;\n", "put the comment of the field above it")
        self.check("core/host/a.h", head + "    char b\n        [SIZE]; /* long */\n} kit_a;\n", "put the comment of the field above it")

    def test_headers(self):
        prototype, function = "int host_f(int a);\n", "int host_f(int a) {\n    return a;\n}\n"
        for header, body, source, seen in (("core/host/a.h", prototype, "core/host/a.c", 0), ("core/host/a.h", prototype, "core/host/b.c", 1),
                                           ("core/host/a.h", "/* b.c */\n" + prototype, "core/host/b.c", 0),
                                           ("core/host/a.h", "/* b_*.c */\n" + prototype, "core/host/b_2.c", 0),
                                           ("core/host/a.h", "typedef int host_f;\n", "core/host/b.c", 0),
                                           ("sdk/ssh/include/kolm/kit/ssh_a.h", prototype, "sdk/ssh/src/a.c", 0),
                                           ("sdk/ssh/include/kolm/kit/ssh_a.h", prototype, "sdk/ssh/src/b.c", 1)):
            found = self.lint(files={header: self.HEAD + body, source: self.HEAD + function})
            self.assertEqual(len(found), seen, (header, body, source, found))

    def test_prints(self):
        self.check("core/host/a.c", "void f(void) { printf(1); }\n", "only core/cli prints")
        self.check("core/host/a.c", "void f(void) { fputs(s, stderr); }\n", "only core/cli prints")
        self.check("core/host/a.c", "int f(void) { return vsnprintf(a, 1, b, c) + x->printf(2); }\n", None)
        self.check("core/cli/a.c", "void f(void) { fputs(s, stderr); }\n", None)
        self.check("core/host/child/a.c", "void f(void) { fputs(s, stderr); }\n", None)

    def test_names(self):
        self.check("core/host/a.c", 'const char *s = "acme-one";\n', "acme-one")
        self.check("core/host/a.c", 'const char *s = "use acme-one, please";\n', "acme-one")
        self.check("core/host/a.c", '/* acme-one */ const char *s = "acme-ones";\n', None)
        self.check("core/host/a.c", 'const char *s = "my-acme-one";\n', None)
        self.check("sdk/kit/src/a.c", 'const char *s = "../acme-one/program";\n', "sdk may not name")
        found = self.lint(files={"sdk/remote/far/a.py": f'# {SPDX}\n"""What for."""\nx = "backends.acme-one.dir"\n'})
        self.assertEqual(len(found), 1, found)
        self.check("tests/host/a.c", 'const char *s = "acme-one";\n', None)

    def test_protocol(self):
        for body in ('kit_buf_str(out, ",\\"peak\\":0");', 'kit_json_get_string(json, "slot", &slot);', 'kit_json_get(request->fence, "read");',
                     'cJSON_AddObjectToObject(request, "fence");', 'x = strcmp(slot, "detect") == 0;', 'x = strcmp(slot, "reclaim") == 0;'):
            self.check("core/host/child/slots.c", f"void f(void) {{ {body} }}\n", "protocol.h")
            self.check("core/host/answer.c", f"void f(void) {{ {body} }}\n", "protocol.h")
            self.check("core/host/manifest.c", f"void f(void) {{ {body} }}\n", None)
        self.check("core/host/ask.c", 'void f(void) { kit_json_get(config, "backends"); }\n', None)

    def test_phrases(self):
        for path, text, seen in [("docs/a.md", "a slip of the pen\n", True), ("core/host/a.c", self.HEAD + 'const char *s = "a slip of the pen";\n', True),
                                 ("core/host/a.c", self.HEAD + "/* a slip of the pen */\n", False), ("tests/a.md", "a slip of the pen\n", False)]:
            with self.subTest(path=path, seen=seen):
                self.assertEqual(len(self.lint(files={path: text})), int(seen))

    def test_opening(self):
        for path, text in {"core/a.c": "int x;\n", "tests/a.py": "print()\n", "core/b.h": f"/* {SPDX} */\n#pragma once\n",
                           "tests/b.py": f"# {SPDX}\nprint()\n"}.items():
            with self.subTest(path):
                self.assertEqual(len(self.lint(files={path: text})), 1)
        self.assertEqual(self.lint(files={"tests/c.py": f'#!/usr/bin/env python3\n# {SPDX}\n"""Says it."""\n'}), [])

    def test_python(self):
        head = f"# {SPDX}\n# What for.\n"
        self.assertEqual(len(self.lint(files={"tests/a.py": head + "time.sleep(1)\n"})), 1)
        self.assertEqual(self.lint(files={"tests/a.py": head + "time.sleep(0.01)  # between two looks at a condition\n"}), [])
        self.assertEqual(len(self.lint(files={"tests/a.py": head + "run(x, shell=True)\n"})), 1)


if __name__ == "__main__":
    unittest.main()
