#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the project's rules that a compiler does not: who may include what, which functions are banned, how files begin.

usage: lint.py SOURCE_ROOT
"""
import fnmatch
import glob
import json
import os
import re
import sys

BANNED = {
    "strcpy": "kit_copy", "stpcpy": "kit_copy", "strcat": "kit_buf", "sprintf": "kit_format", "vsprintf": "kit_format", "gets": "fgets",
    "atoi": "kit_parse_i64", "atol": "kit_parse_i64", "atoll": "kit_parse_i64", "atof": "kit_parse_micro", "strtok": "strcspn",
    "tmpnam": "mkdtemp", "tempnam": "mkdtemp", "mktemp": "mkdtemp", "system": "kit_spawn", "popen": "kit_spawn", "wordexp": "kit_spawn",
    "execlp": "kit_spawn", "execvp": "kit_spawn", "posix_spawnp": "kit_spawn", "rand": "a generator of your own", "srand": "a generator of your own",
    "alloca": "malloc", "setjmp": "a status", "longjmp": "a status",
}
# Environment variables that decide what is loaded or trusted must be read with secure_getenv. Tests may read any, and
# those that affect only how text looks are harmless.
HARMLESS_ENVIRONMENT = r'(?<![\w.>])getenv\("(NO_COLOR|TERM|COLORTERM|COLUMNS|LINES|LANG|LC_\w+)"\)'
BANNED_OUTSIDE_TESTS = {"getenv": "secure_getenv"}
# A test that sleeps is slow on a fast machine and fails on a slow one.
BANNED_IN_TESTS = {"sleep": "a condition to wait for", "usleep": "a condition to wait for", "nanosleep": "a condition to wait for",
                   "srunner_create": "run_suite of tests/suite.h"}
# The rooms of core by floor, and what each may include besides the SDK and itself: only rooms of lower floors, so there are no cycles.
# cli may include all of them.
FLOORS = (
    {"lazy": ""},
    {"artifact": "", "job": "lazy", "pick": "", "receipt": "", "score": "", "store": ""},
    {"host": "lazy pick"},
    {"session": "host store", "lease": "host store"},
    {"conform": "host job lazy lease score store", "runtime": "host session store", "report": "artifact job lazy receipt score session store"},
    {"fleet": "host lease pick receipt runtime session store"},
    {"model": "artifact fleet host job receipt runtime session store"},
    {"compile": "artifact fleet host job lease model pick receipt report runtime score session store"},
    {"cli": "artifact compile conform fleet host job lazy lease model pick receipt report runtime score session store"},
)
# What may occur in only one file outside the tests: a pattern, the directory it applies to, the file (and any rooms that may use it
# too), and the header that others must use.
ONE_FILE = {
    r"\bhost_(detect|cost|train|infer|test|status|reclaim)(_all)?\s*\(": (
        "core/", "core/fleet/call.c core/host/ core/conform/", "fleet/call.h"),
    r"\bflock\s*\(": ("", "sdk/kit/src/lock.c", "kolm/kit/lock.h"),
    # Its threads leave signals to the one that waits for them.
    r"\b(pthread|thrd)_create\s*\(": ("", "sdk/kit/src/thread.c", "kolm/kit/thread.h"),
    r"\bst_uid\b": ("", "sdk/kit/src/trust.c", "kolm/kit/trust.h"),
    # The host has children of children, and one per concurrent call, so it waits for them itself.
    r"\b(waitpid|waitid|wait[34]|v?fork|posix_spawnp?)\s*\(": ("", "sdk/kit/src/child.c sdk/kit/src/process.c core/host/", "kolm/kit/child.h"),
    # Decisions on an error must use its code and fields, not its text. In one place kolm has only the text of a plugin's error.
    r"\b(str(n|case|ncase)?(str|cmp|chr|rchr|spn|cspn|pbrk)|memcmp|memmem)\s*\([^;]*\b(err|error|why|inner|told|stuck\[\w+\])(->|\.)(text|remedy)\b": (
        "", "core/host/answer.c", "the code of the error, or a field beside it"),
    r'"(credentials|grants\.json|policy\.json|backend-keys)"': ("core/", "core/store/home.c", "store/store.h"),
    r'"out of memory"': ("", "sdk/kit/src/status.c sdk/http/src/failure.c", "kit_no_memory of kolm/kit/status.h"),
    # Private addresses: RFC 1918, RFC 3927 and RFC 4193.
    r"(?i)==\s*(192|0xC0)\b.*==\s*(168|0xA8)\b|==\s*(169|0xA9)\b.*==\s*(254|0xFE)\b|&\s*0xFE\)\s*==\s*0xFC\b": (
        "", "sdk/kit/src/address.c", "kolm/kit/address.h"),
}
# Files that may search text, and what they search: a format, a name, a protocol. The output of another program may be searched only if
# it has no status, code or field with the same information, and then in one file, which maps it to a kind.
SEARCH = r"(?<![\w.>])(strstr|strcasestr|memmem|strnstr)\s*\("
SEARCHES = {
    "core/conform/manners.c": "the value of a secret, in all that a plugin said",
    "core/conform/settings.c": "a key in a list of kolm's own",
    "core/host/answer.c": "the words of a plugin's error, for a hint: it has no errno",
    "core/host/child/leases.c": "the value of a secret, in a record",
    "core/host/child/reply.c": "a field of /proc/self/status",
    "core/host/files.c": "a path",
    "core/host/words.c": "values to be hidden, and the headline of a sanitizer",
    "core/job/base.c": "a name",
    "core/job/base_part.c": "a line of kolm's own",
    "core/job/directory.c": "a path in an error, to be shown as another",
    "core/job/source.c": "data of a table",
    "core/receipt/check.c": "lines of the chain",
    "core/receipt/keys.c": "PEM",
    "core/report/gather_failed.c": "a line of report.txt",
    "core/runtime/make.c": "a line of a lock",
    "core/runtime/pip.c": "the words of pip: it has one exit status",
    "core/runtime/setup.c": "a URL",
    "examples/backends/slurm/end.c": "the field Reason of a job",
    "examples/backends/slurm/events.c": "the words of Slurm's step, and of the kernel about memory",
    "examples/backends/slurm/slurm.c": "slurm.conf",
    "examples/backends/slurm/test.c": "the words of `sbatch --version` and `scontrol ping`",
    "examples/backends/slurm/words.c": "the words of Slurm: its programs have one exit status",
    "plugins/cloud/lambda/api.c": "names of instance types",
    "plugins/cloud/modal/offers.c": "keys of a map of prices",
    "plugins/cloud/modal/wire.c": "the words of a shell, whose status would take another request",
    "plugins/cloud/runpod/api.c": "the words of a refusal, for a sentence: it has no code",
    "plugins/cloud/together/api.c": "the name of a model",
    "plugins/cloud/vast/api.c": "the field runtype",
    "plugins/local-cpu/encoder/weights.c": "names of tensors",
    "plugins/local-mlx/local-mlx.c": "the name of a package",
    "sdk/http/src/failure.c": "curl's own version, a URL",
    "sdk/remote/src/lanes.c": "kolm's marker",
    "sdk/remote/src/link.c": "kolm's marker",
    "sdk/remote/src/runtime.c": "digests of a lock",
    "sdk/rent/src/service.c": "a URL",
    "sdk/ssh/src/auth.c": "names of SSH's methods and types of keys, and the server's version",
    "sdk/ssh/src/factor.c": "names of SSH's methods",
    "sdk/ssh/src/identity.c": "PEM",
    "sdk/ssh/src/rsa.c": "PEM",
    "sdk/trainer/src/runtime.c": "pyvenv.cfg, and the version of torch",
}
# The longest C or Python file; generated tables may be longer.
LINES_MOST = 600
COLUMNS_MOST = 150  # documents, except tables
FUNCTION_LINES = 60  # a C function must have fewer lines
LONGER = {"plugins/local-cpu/unicode_table.h": 10000, "plugins/local-cpu/encoder/token_tables.h": 10000}
# Libraries that only one room may call, so that the knowledge of how to use them correctly is in one place.
ONE_ROOM = {"curl": (r"(?<![\w.>])curl_\w+\s*\(", "sdk/http/", "kolm/http/http.h")}
# The rooms of the SDK, and the other rooms that each may include: only rooms above it in this table.
SDK_FLOORS = {"kit": "", "http": "kit", "ssh": "kit", "trainer": "kit", "template": "kit", "remote": "kit ssh",
              "rent": "kit http ssh remote"}
SPDX = "SPDX-License-Identifier: Apache-2.0"
SKIPPED = {".git", "subprojects", "__pycache__"}


# Phrases that a native speaker finds odd: a pattern, how often it may occur, and what to write instead. The numbers may only decrease.
PHRASES = {
    r"\banew\b": (0, "again"),
    r"\bin vain\b": (0, "has no effect, or always fails"),
    r"\bof (?:no|any) use\b": (0, "unused, or without effect"),
    r"\b(?<!here )(?:is|are|was|were) no (?:[a-z]+ )?(?:file|directory|list|object|word|number|name|path|key|row|text|model|backend|array|event|data|label)\b": (0, "is not a"),
    r"\b(?:[Nn]obody|[Ss]omebody|[Ee]verybody|[Aa]nybody)\b": (0, "no other user, the caller, another process, all users"),
    r"\b(?:is|are|was|were) told\b": (0, "reports, shows, is passed"),
    r"\bjudge[ds]?\b": (1, "check, score, verdict"),
    r"\bspell(?:s|ed)\b": (0, "written as, in canonical form"),
    r"\b(?:cannot|can|to) be had\b": (0, "unavailable, available"),
    r"\b(?:is|are) asked\b": (1, "is called, is queried"),
    r"\b[Ww]hoever\b": (0, "the user who, anyone who"),
    r"\bslip of the pen\b": (0, "typo"),
    r"\bbelie(?:ve[sd]?|ving)\b": (0, "trust"),
    r"\blook at the provider\b(?!.s)": (0, "check with the provider"),
    r"\b(?:on|off) (?:the )?record\b": (0, "recorded; the record is open, or closed"),
    r"\b(?:goes|going) on (?:from|in|with|without)\b": (1, "continues"),
    r"\binto nowhere\b": (0, "dangling"),
    r"\blies? beside\b": (0, "next to"),
    r"\b[Cc]annot look at\b": (0, "cannot access"),
    r"\bas it was asked to\b": (0, "on request"),
    r"\b(?:by|in) (?:its|his|their) own words?\b|\bwhose words\b": (0, "as reported by"),
    r"\bmended?\b": (0, "fix, repair"),
    r"\b(?:what|whatever) (?:became|becomes) of\b": (0, "the outcome of, whatever happens to"),
    r"\bmemory is out\b": (1, "out of memory"),
    r"\bso much later\b|\bfor so long\b": (0, "after the given time"),
    r"\bminded\b|\blet be\b": (0, "ignored, left unchanged"),
    r"\bNULL is fine\b": (0, "no-op if NULL"),
    r"\bthousand million\b": (0, "billion, 10^9"),
}


def strip_c(text, keep_strings=False):
    """Blanks comments (and literals), keeping the line numbers."""
    def blank(match):
        found = match.group(0)
        if found.startswith("/"):
            return re.sub(r"[^\n]", " ", found)
        return found if keep_strings else found[0] + " " * (len(found) - 2) + found[-1]
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


class Lint:
    def __init__(self, root):
        self.root = root
        self.found = []
        self.searching = set()
        self.texts = {}
        self.plugins = self.plugin_names()
        self.sees = self.floors()
        core = os.path.join(root, "core")
        self.rooms = sorted(d for d in os.listdir(core) if os.path.isdir(os.path.join(core, d))) if os.path.isdir(core) else []

    def floors(self):
        """Maps each room to the rooms it may include, which must be on lower floors."""
        sees, below = {}, set()
        for floor in FLOORS:
            for room, names in floor.items():
                sees[room] = set(names.split())
                for name in sorted(sees[room] - below):
                    self.complain("tests/abi/lint.py", 1, f"FLOORS: {room} may not stand on {name}, which is not below it")
            below |= set(floor)
        return sees

    def plugin_names(self):
        names = set()
        for pattern in ("plugins/*/*.json", "plugins/cloud/*/*.json"):
            for path in glob.glob(os.path.join(self.root, pattern)):
                try:
                    with open(path, encoding="utf-8") as file:
                        manifest = json.load(file)
                except ValueError as error:
                    self.complain(os.path.relpath(path, self.root), 1, f"not JSON: {error}")
                    continue
                if isinstance(manifest, dict) and isinstance(manifest.get("name"), str) and "kind" in manifest:
                    names.add(manifest["name"])
        return names

    def complain(self, path, line, text):
        self.found.append(f"{path}:{line}: {text}")

    def files(self):
        for directory, inner, names in os.walk(self.root):
            # A build directory inside the tree is not source, whatever its name.
            inner[:] = sorted(d for d in inner if d not in SKIPPED and not os.path.exists(os.path.join(directory, d, "meson-private"))
                              and not (directory == self.root and d.startswith("build")))
            for name in sorted(names):
                yield os.path.relpath(os.path.join(directory, name), self.root)

    def run(self):
        for path in self.files():
            full = os.path.join(self.root, path)
            kind = os.path.splitext(path)[1]
            if os.path.basename(path) == "meson.build":
                with open(full, encoding="utf-8") as file:
                    self.source_lists(path, file.read())
            if kind not in (".c", ".h", ".py", ".sh") or os.path.islink(full):
                continue
            with open(full, encoding="utf-8") as file:
                text = file.read()
            self.opening(path, kind, text)
            if path.startswith(("core/", "sdk/", "plugins/", "examples/")):
                self.texts[path] = text
            if kind != ".sh" and text.count("\n") > LONGER.get(path, LINES_MOST):
                self.complain(path, 1, f"is longer than {LONGER.get(path, LINES_MOST)} lines: split it by subject")
            if kind in (".c", ".h"):
                self.libraries(path, strip_c(text))
                self.searches(path, strip_c(text))
                self.lengths(path, strip_c(text))
                self.fields(path, strip_c(text))
                self.calls(path, strip_c(re.sub(HARMLESS_ENVIRONMENT, "NULL", text)))
                self.includes(path, strip_c(text, keep_strings=True))
                self.literals(path, strip_c(text, keep_strings=True))
                self.protocol(path, strip_c(text, keep_strings=True))
                self.decisions(path, strip_c(text, keep_strings=True))
                self.externs(path, strip_c(text))
                self.prints(path, strip_c(text))
            elif kind == ".py":
                self.python(path, text)
                if path.startswith("sdk/remote/"):
                    self.literals(path, text)
        self.phrases()
        self.widths()
        self.headers()
        if os.path.exists(os.path.join(self.root, "tests/abi/lint.py")):
            for path in sorted(set(SEARCHES) - self.searching):
                self.complain("tests/abi/lint.py", 1, f"SEARCHES: {path} searches no text any more")
        return self.found

    def widths(self):
        for path in self.files():
            if not re.match(r"(README|CONTRIBUTING|docs/.*)\.md$", path):
                continue
            with open(os.path.join(self.root, path), encoding="utf-8") as file:
                for number, line in enumerate(file, 1):
                    if len(line.rstrip("\n")) > COLUMNS_MOST and not line.startswith("|"):
                        self.complain(path, number, f"is wider than {COLUMNS_MOST} columns: break the line")

    def opening(self, path, kind, text):
        lines = text.split("\n")
        if lines[0].startswith("#!"):
            lines = lines[1:]
        if not lines or SPDX not in lines[0]:
            self.complain(path, 1, f"the file must open with its licence ({SPDX})")
            return
        purpose = lines[1] if len(lines) > 1 else ""
        if kind in (".c", ".h"):
            good = re.match(r"/\* ?\S.*", purpose) is not None
        elif kind == ".py":
            good = re.match(r'(r?"""|#)\s*\S', purpose) is not None
        else:
            good = re.match(r"#\s*\S", purpose) is not None
        if not good:
            self.complain(path, 2, "the second line must say in a comment what the file is for")

    def libraries(self, path, text):
        for number, line in enumerate(text.split("\n"), 1):
            for name, (pattern, room, header) in ONE_ROOM.items():
                if not path.startswith(room) and (re.search(pattern, line) or re.search(r'#\s*include\s*<%s/' % name, line)):
                    self.complain(path, number, f"only {room} speaks to lib{name}; use {header}")

    def source_lists(self, path, text):
        for number, line in enumerate(text.split("\n"), 1):
            if "has_headers" not in line and re.search(r"'[^'\s]+\.(c|h|py)'\s*,\s*(\w+ \+ )?'[^'\s]+\.(c|h|py)'", line):
                self.complain(path, number, "one source a line")

    def lengths(self, path, text):
        """Lengths of functions. Relies on the layout of clang-format: a function's closing brace is in the first column."""
        begun, head = None, ""
        for number, line in enumerate(text.split("\n"), 1):
            line = line.rstrip()
            if begun is None:
                head = line if re.match(r"[A-Za-z_]", line) else head + line
                if line.endswith("{"):
                    begun = number if re.match(r"[^={]*\(", head) else 0  # 0: a record or a table
            elif line.startswith("}"):
                if begun and number - begun - 1 >= FUNCTION_LINES:
                    self.complain(path, begun, f"a function of {number - begun - 1} lines: those of less than {FUNCTION_LINES} can be read at once")
                begun = None

    def decisions(self, path, text):
        for number, line in enumerate(text.split("\n"), 1):
            for pattern, (below, files, header) in ONE_FILE.items():
                found = re.search(pattern, line)
                if found and path.startswith(below) and not path.startswith(("tests/", *files.split())):
                    self.complain(path, number, f"{found.group(0)} belongs to {files.split()[0]} alone; use {header}")

    def searches(self, path, text):
        found = [number for number, line in enumerate(text.split("\n"), 1) if re.search(SEARCH, line)]
        if found and path.startswith(("core/", "sdk/", "plugins/", "examples/")):
            self.searching.add(path)
            for number in found if path not in SEARCHES else []:
                self.complain(path, number, "a text is searched here: take a status or a field, or say in SEARCHES of tests/abi/lint.py what it is")

    def calls(self, path, text):
        tests = path.startswith("tests/")
        banned = {**BANNED, **(BANNED_IN_TESTS if tests else BANNED_OUTSIDE_TESTS)}
        for number, line in enumerate(text.split("\n"), 1):
            for name in re.findall(r"(?<![\w.>])([a-z]\w*)\s*\(", line):
                if name in banned and path != "tests/suite.h":
                    self.complain(path, number, f"{name}() is banned; use {banned[name]}")

    def includes(self, path, text):
        for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', text, re.M):
            number = text.count("\n", 0, match.start()) + 1
            reason = self.wrong_include(path, match.group(1), match.group(2))
            if reason:
                self.complain(path, number, f"{match.group(2)}: {reason}")

    def wrong_include(self, path, quote, name):
        parts = path.split("/")
        room_of_name = name.split("/")[0] if "/" in name else ""
        if parts[0] in ("plugins", "sdk"):
            if "core/" in name or room_of_name in self.rooms:
                return f"{parts[0]}/ may not see core"
            if quote == '"' and name.startswith(".."):
                target = os.path.normpath(os.path.join(os.path.dirname(path), name)).split("/")
                room = parts[1:3] if parts[1] == "cloud" else parts[1:2]
                if parts[0] == "plugins" and target[:1 + len(room)] != ["plugins", *room]:
                    return f"{'/'.join(['plugins', *room])} may not climb out of its room"
                if target[0] != parts[0]:
                    return f"{parts[0]}/ may not climb out of its house"
                if parts[0] == "sdk" and target[1] != parts[1]:
                    return f"sdk/{parts[1]} may see the public headers of {target[1]} only"
            if parts[0] == "sdk" and "plugins/" in name:
                return "sdk/ may not see plugins"
            seen = self.sdk_room_of(name)
            if parts[0] == "sdk" and seen and parts[1] not in SDK_FLOORS:
                return f"sdk/{parts[1]} has no floor yet: give it one in SDK_FLOORS of tests/abi/lint.py"
            if parts[0] == "sdk" and seen and seen != parts[1] and seen not in SDK_FLOORS[parts[1]].split():
                return f"sdk/{parts[1]} may not see its neighbour {seen}"
        elif parts[0] == "core" and len(parts) > 2:
            room = parts[1]
            if room not in self.sees:
                return f"core/{room} has no floor yet: give it one in FLOORS of tests/abi/lint.py"
            if "plugins/" in name:
                return "core may not see plugins"
            if quote == '"' and name.startswith(".."):
                return 'name another file as "ROOM/file.h", without ..'
            if room_of_name in self.rooms and room_of_name != room and room_of_name not in self.sees[room]:
                return f"core/{room} may not see {room_of_name}: FLOORS in tests/abi/lint.py says which rooms it stands on"
        return None

    def externs(self, path, text):
        """What another file defines must be declared in that file's header; only the C library, the linker and Apple's frameworks have
        none."""
        if not path.startswith(("core/", "sdk/", "plugins/")) or not path.endswith(".c"):
            return
        for match in re.finditer(r"^[ \t]*extern\b[^;\n]*", text, re.M):
            if not re.search(r"\b(environ|__\w+|MTL\w+)\b", match.group(0)):
                self.complain(path, text.count("\n", 0, match.start()) + 1, "extern in a source: include the header that declares it")
        # A prototype without extern is the same.
        for match in re.finditer(r"^(?!static\b|extern\b|typedef\b|return\b|else\b|goto\b|case\b)[A-Za-z_][\w ]*[\s*]+\w+\([^;{}()]*\)(\s*KIT_\w+)?\s*;", text, re.M):
            self.complain(path, text.count("\n", 0, match.start()) + 1, "prototype in a source: include the header that declares it, or make it static")

    def sdk_room_of(self, name):
        """Returns the room of the SDK that a public header belongs to, or None if it is not a public header."""
        found = glob.glob(os.path.join(self.root, "sdk", "*", "include", name)) if name.startswith("kolm/") else []
        return os.path.relpath(found[0], os.path.join(self.root, "sdk")).split("/")[0] if found else None

    def prints(self, path, text):
        """Only the command prints; rooms send events to the session's sink. The child of the host is a separate program."""
        if not path.startswith("core/") or path.startswith(("core/cli/", "core/host/child/")):
            return
        for number, line in enumerate(text.split("\n"), 1):
            for name in re.findall(r"(?<![\w.>])(stdout|stderr|STDOUT_FILENO|STDERR_FILENO|printf|vprintf|puts|putchar|perror|isatty)\b", line):
                self.complain(path, number, f"{name}: only core/cli prints; give session_tell an event")

    def literals(self, path, text):
        house = path.split("/")[0]
        if house not in ("core", "sdk"):
            return
        for number, line in enumerate(text.split("\n"), 1):
            for literal in re.findall(r'"((?:\\.|[^"\\])*)"', line):
                for name in self.plugins:
                    # "together" is also an English word, so only a literal that equals a plugin's name, alone or in a list, counts.
                    named = re.search(rf"(?<![\w-]){name}(?![\w-])", literal) if "-" in name else literal == name
                    if named:
                        self.complain(path, number, f'{house} may not name the plugin "{name}"')

    def protocol(self, path, text):
        """A name of the private protocol that one side writes as a literal could be changed on that side alone. Names of JSON in other
        files (job.json, config.json), which both sides read, are not part of it."""
        if not re.match(r"core/host/(child/(?!model\.c)\w+|answer|ask|call|run|allow)\.c$", path):
            return
        for number, line in enumerate(text.split("\n"), 1):
            written = re.search(r'\\"[a-z_]+\\"\s*:', line)
            read = re.search(r'(kit_json_(?:get|put)\w*|cJSON_Add\w+ToObject)\(\s*'
                             r'(?:request|json|object|args|fence|[\w>.-]+->(?:json|args|fence))\s*,\s*"', line)
            slot = re.search(r'"(detect|cost|train|infer|test|status|reclaim)"', line)
            if written or read or slot:
                self.complain(path, number, "protocol.h has the names of the protocol, protocol.c those of its members")

    def fields(self, path, text):
        """In records of installed headers: one field a line, so that each has its comment. Everywhere: type and name on one line, which
        clang-format splits if the comment after them does not fit."""
        for match in re.finditer(r"\n +(const )?(struct )?[a-z]\w+(\n +\*?\w+(\[\w+\])?| \w+\n +\[\w+\]);", text):
            self.complain(path, text.count("\n", 0, match.start()) + 2, "a type alone on its line: put the comment of the field above it")
        if not re.match(r"sdk/(\w+/)?include/", path):
            return
        record = False
        for number, line in enumerate(text.split("\n"), 1):
            if re.match(r"\s*(typedef )?(struct|union)\b[^;]*\{\s*$", line):
                record = True
            elif line.startswith("}"):
                record = False
            elif record and re.match(r"\s+[A-Za-z_][\w ]*[ *]\w+(\[[^\]]*\])?,[^()]*;\s*$", line):
                self.complain(path, number, "one field a line")

    def headers(self):
        """A header has a source of the same name in its directory, or in src/ of its room of the SDK, or it names the sources that define what
        it declares; kolm/kit/ssh_x.h belongs to x.c. Headers with only records, inline functions and tables have none."""
        sources = {}
        for path, text in self.texts.items():
            if path.endswith((".c", ".m")):
                sources[path] = set(re.findall(r"^(?!static|extern|#)[A-Za-z_][\w *]*?\b(\w+)\([^;{}]*\)\s*\{", text, re.M))
        for path, text in self.texts.items():
            if not path.endswith(".h"):
                continue
            room = "/".join(path.split("/")[:2])
            folder, name = os.path.dirname(path), os.path.basename(path)[:-2]
            folders = (folder, room + "/src") if path.startswith("sdk/") else (folder,)
            if any(f"{place}/{twin}{kind}" in sources for place in folders for twin in (name, re.sub(r"^ssh_", "", name)) for kind in (".c", ".m")):
                continue
            declared = set(re.findall(r"\b(\w+)\(", strip_c(text)))
            named = re.findall(r"[\w*]+\.[cm]\b", text)
            for source in sorted(sources):
                within = source.startswith(room + "/") and ("/child/" not in source or "/child/" in path)
                if within and declared & sources[source] and not any(fnmatch.fnmatch(os.path.basename(source), one) for one in named):
                    self.complain(path, 1, f"declares what {source} has: name a source as the header, or the sources in it")

    def phrases(self):
        """Phrases in the guides, the public headers and the messages that users read."""
        counts = dict.fromkeys(PHRASES, 0)
        for path in self.files():
            full = os.path.join(self.root, path)
            guide = path == "README.md" or re.match(r"docs/.*\.md$", path)
            header = re.match(r"sdk/.*include/.*\.h(pp)?$", path)
            source = re.match(r"(core|sdk|plugins)/.*\.[ch]$", path)
            if os.path.islink(full) or not (guide or header or source):
                continue
            with open(full, encoding="utf-8") as file:
                text = file.read()
            if not guide and not header:
                text = "\n".join(re.findall(r'"((?:\\.|[^"\\\n])*)"', re.sub(r"/\*.*?\*/", "", text, flags=re.S)))
            for phrase in PHRASES:
                counts[phrase] += len(re.findall(phrase, text))
        for phrase, count in counts.items():
            if count > PHRASES[phrase][0]:
                self.complain("docs", 1, f"'{phrase}' occurs {count} times in guides, public headers and messages, and at most "
                              f"{PHRASES[phrase][0]} are allowed: write {PHRASES[phrase][1]}")

    def python(self, path, text):
        for number, line in enumerate(text.split("\n"), 1):
            code = line.split("#")[0]
            if path.startswith("tests/") and re.search(r"\btime\.sleep\(\s*(?!0\.0)", code) and "lint.py" not in path:
                self.complain(path, number, "sleep is banned in tests; wait for a condition")
            if re.search(r"shell\s*=\s*True|\bos\.(system|popen)\(", code) and "lint.py" not in path:
                self.complain(path, number, "no shell")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = Lint(sys.argv[1]).run()
    print("\n".join(found) or "the rules are kept")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
