# SPDX-License-Identifier: Apache-2.0
"""Makes a Python environment from a lock, on a machine reached by SSH, as a job there.

    kolm_runtime.py PLACE TREE MODE THERE

PLACE is BASE/runtimes/DIGEST-OF-LOCK: venv/ (made from scratch by each attempt, because pip trusts half-installed packages), cache/
(pip's downloads, kept for the next attempt), tmp/, setup.log, and runtime.json, which is written last: a PLACE without it is not
an environment. The process that makes it holds a lock on BASE/locks/runtime-DIGEST, and so does its pip.

TREE was sent: lock.txt (docs/runtimes.md describes it), wheels/, and others.txt, which lists wheels that were not sent because
their SHA-256 is not in the lock. MODE is "fetch", or "keep": then nothing is downloaded. THERE is a directory of wheels on this
machine, or "". KOLM_INDEX_URL is a mirror to use instead of the lock's indexes; it is in the environment because it may contain a
password. KOLM_LOCK_FILE is the path of the lock on the machine where kolm runs, KOLM_BACKEND the backend whose settings apply. Events
(docs/job-protocol.md) go to standard output.

pip is the one that the lock pins, run from its wheel, so that a Python without ensurepip is sufficient (Debian's without python3-venv).

Python 3.6 or later, standard library only.
"""
import base64
import fcntl
import hashlib
import html.parser
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, UNAVAILABLE, DATA_LOSS = 3, 5, 8, 9, 14, 15
NEWEST, OLDEST = 20, 9  # tries python3.20 down to python3.9
SAID_MAX = 256 << 10
NETWORK = ("Max retries exceeded", "Retrying (Retry(", "NewConnectionError", "ProxyError", "SSLError", "ReadTimeoutError", "Read timed out",
           "IncompleteRead", "ConnectionResetError", "NameResolutionError", "Connection broken", "ConnectTimeoutError")


class Failed(Exception):
    def __init__(self, code, text, remedy=""):
        Exception.__init__(self, text)
        self.code, self.text, self.remedy = code, text, remedy


def setting(key):
    return "backends.%s.%s" % (os.environ.get("KOLM_BACKEND", "NAME"), key)


def shown(text):
    return os.fsencode(text).decode("utf-8", "backslashreplace")


def say(event, **fields):
    sys.stdout.write(json.dumps(dict(fields, event=event)) + "\n")
    sys.stdout.flush()


def progress(phase, step=0, total=0):
    say("progress", phase=phase, step=step, **(dict(total=total) if total else {}))


def size_of(count):
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return "%d B" % count if unit == "B" else "%.1f %s" % (count, unit)
        count /= 1000.0


# ---- The lock

def version_key(text):
    return tuple(int(word) for word in re.findall(r"\d+", text))


def compare(have, sign, wanted, key=version_key):
    have, wanted = key(have), key(wanted)
    return {"==": have == wanted, "!=": have != wanted, "<": have < wanted, "<=": have <= wanted, ">": have > wanted, ">=": have >= wanted}[sign]


def holds(marker, facts):
    """Returns False if the marker excludes this machine. Conditions that are not understood count as true."""
    def one(text):
        match = re.match(r"\s*(\w+)\s*(==|!=|<=|>=|<|>)\s*['\"]([^'\"]*)['\"]\s*\Z", text)
        if not match or match.group(1) not in facts:
            return True
        return compare(facts[match.group(1)], match.group(2), match.group(3), version_key if match.group(1) == "python_version" else str)
    return any(all(one(part) for part in way.split(" and ")) for way in marker.split(" or "))


class Lock(object):
    """fields: {key: [value]} of its lines "# kolm: KEY VALUE"; pins: [(name, version, marker, hashes)]."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        self.sha256, self.fields, self.pins = hashlib.sha256(data).hexdigest(), {}, []
        for line in data.decode("utf-8").replace("\\\r\n", " ").replace("\\\n", " ").splitlines():
            if line.startswith("# kolm: "):
                key, _, value = line[8:].partition(" ")
                self.fields.setdefault(key, []).append(value)
            pin = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;]+)\s*(?:;(.*?))?(\s--hash=.*|\s*)\Z", line)
            if pin:
                self.pins.append((pin.group(1), pin.group(2), (pin.group(3) or "").strip(), re.findall(r"sha256:([0-9a-f]{64})", pin.group(4))))

    def field(self, key):
        return self.fields.get(key, [""])[0]

    def needed(self, facts):
        return [pin for pin in self.pins if holds(pin[2], facts)]


# ---- The interpreter that makes it

def facts_of(python):
    """Returns the values for markers from that Python, or None if it does not start."""
    text = ("import json,platform,sys;print(json.dumps({'python_version':'%d.%d'%sys.version_info[:2],'sys_platform':sys.platform,"
            "'platform_system':platform.system(),'platform_machine':platform.machine(),'full':'%d.%d.%d'%sys.version_info[:3]}))")
    try:
        done = subprocess.run([python, "-I", "-B", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
        return json.loads(done.stdout.decode("utf-8")) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def find_python(wanted):
    """Returns (path, facts) of the first Python that the lock allows: the one that runs this, python3, then python3.N from the newest."""
    seen = []
    for name in [sys.executable, "python3"] + ["python3.%d" % minor for minor in range(NEWEST, OLDEST - 1, -1)]:
        path = name if name.startswith("/") else shutil.which(name)
        facts = facts_of(path) if path else None
        if not facts:
            continue
        seen.append("%s is %s" % (shown(path), facts["full"]))
        if all(compare(facts["python_version"], *re.match(r"(>=|==|<)(.*)\Z", word).groups()) for word in wanted.replace(",", " ").split()):
            return path, facts
    raise Failed(FAILED_PRECONDITION, "the environment needs Python %s, which is not installed there: %s" % (wanted, ", ".join(dict.fromkeys(seen))[:200]),
                 "install one there (python3.11 or newer, in PATH), or name one that has torch, transformers and peft: " + setting("python"))


# ---- Wheels on this machine

def digest_file(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            sha.update(chunk)
    return sha.hexdigest()


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def tags_of(python, pip):
    """Returns the wheel tags that this Python supports, from pip's wheel; None if that fails."""
    text = "import sys;sys.path.insert(0,sys.argv[1]);from pip._vendor.packaging.tags import sys_tags;print('\\n'.join(map(str,sys_tags())))"
    try:
        done = subprocess.run([python, "-I", "-B", "-c", text, pip], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return set(done.stdout.decode("ascii", "replace").split()) if done.returncode == 0 else None


def fits(name, tags):
    python, abi, platform = name[:-4].rsplit("-", 3)[1:] if name.count("-") >= 4 else ("", "", "")
    return tags is None or any("%s-%s-%s" % (p, a, m) in tags for p in python.split(".") for a in abi.split(".") for m in platform.split("."))


class Wheels(object):
    """by: {SHA-256: path} of those in the directories; others: names of files whose SHA-256 is not in the lock."""

    def __init__(self, directories, needed, others):
        wanted = {digest for pin in needed for digest in pin[3]}
        self.by, self.others, self.tags = {}, set(others), None
        for directory in directories:
            for name in sorted(os.listdir(directory)):
                path = os.path.join(directory, name)
                if name.endswith(".whl") and os.path.isfile(path):
                    digest = digest_file(path)
                    if digest in wanted:
                        self.by[digest] = path
                    else:
                        self.others.add(name)

    def of(self, pin):
        return next((self.by[digest] for digest in pin[3] if digest in self.by and fits(os.path.basename(self.by[digest]), self.tags)), None)

    def missing(self, needed):
        return [pin for pin in needed if not self.of(pin)]

    def named(self, pin):
        """Returns the name of a file that has the pin's name and version, but another digest."""
        for name in sorted(self.others):
            words = name.split("-")
            if len(words) >= 5 and (plain(words[0]), words[1]) == (plain(pin[0]), pin[1]):
                return name
        return None


def fill():
    return "download them into a directory as described above, and name it in config.json: %s (here) or wheels_there (there)" % setting("wheels")


def tell_missing(missing, wheels, lock, facts):
    """Logs the whole list and how to download the wheels, because an error has no room for that. Returns the text of the error."""
    words = []
    for pin in missing:
        other = wheels.named(pin)
        words.append("%s %s%s" % (pin[0], pin[1], " (%s has another SHA-256 than the lock)" % other if other else ""))
    size = lock.field("download-bytes")
    say("log", level="warning", text="wheels that are missing there: %s%s" % (
        ", ".join(words), "; all wheels of the environment are about %s" % size_of(int(size)) if size.isdigit() else ""))
    urls = "".join(" %s %s" % ("--extra-index-url" if at else "--index-url", url) for at, url in enumerate(lock.fields.get("index-url", [])))
    say("log", level="warning", text="to download them, on a machine with network access, %s %s and Python %s: pip download --no-deps --require-hashes "
        "--only-binary :all: -d DIR -r %s%s" % (facts["platform_system"], facts["platform_machine"], facts["python_version"],
                                                os.environ.get("KOLM_LOCK_FILE", "LOCK"), urls))
    return "%d wheels of the environment are missing there: %s%s" % (len(words), ", ".join(words[:4]), ", ..." if len(words) > 4 else "")


# ---- The network

class Links(html.parser.HTMLParser):
    def __init__(self):
        html.parser.HTMLParser.__init__(self)
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def opened(url):
    """urlopen with the user name and password in the URL, if any, and the certificates that pip would use."""
    import ssl
    parts = urllib.parse.urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    request = urllib.request.Request(parts._replace(netloc=place).geturl(), headers={"Accept": "text/html, */*;q=0.1"})
    if at:
        request.add_header("Authorization", "Basic " + base64.b64encode(urllib.parse.unquote(user).encode("utf-8")).decode("ascii"))
    context = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or os.environ.get("REQUESTS_CA_BUNDLE") or None)
    return urllib.request.urlopen(request, timeout=30, context=context)


def fetch_pip(pin, urls, directory):
    """Downloads the wheel of pip that the lock pins, from the first index that has it. Returns its path."""
    wanted, reasons = "pip-%s-py3-none-any.whl" % pin[1], []
    target = os.path.join(directory, wanted)
    if os.path.exists(target) and digest_file(target) in pin[3]:
        return target
    progress("fetching pip")
    for url in urls:
        page = url.rstrip("/") + "/pip/"
        try:
            links = Links()
            with opened(page) as answer:
                links.feed(answer.read(64 << 20).decode("utf-8", "replace"))
            link = next((link for link in links.found if urllib.parse.unquote(os.path.basename(urllib.parse.urlsplit(link).path)) == wanted), None)
            if link is None:
                continue
            user = urllib.parse.urlsplit(page).netloc.rpartition("@")[0]
            whole = urllib.parse.urlsplit(urllib.parse.urljoin(page, link))
            if user and whole.netloc == urllib.parse.urlsplit(page).netloc.rpartition("@")[2]:
                whole = whole._replace(netloc=user + "@" + whole.netloc)
            with opened(whole.geturl()) as answer:
                data = answer.read(64 << 20)
        except (OSError, ValueError) as error:  # URLError is an OSError
            reasons.append("%s: %s" % (shown_url(url), error))
            continue
        if hashlib.sha256(data).hexdigest() not in pin[3]:
            raise Failed(DATA_LOSS, "the file of pip does not match the lock: its SHA-256 differs, so nothing was installed",
                         "run the same command again; if the error persists, do not use that index")
        with open(target, "wb") as file:
            file.write(data)
        return target
    if reasons:
        raise Failed(UNAVAILABLE, "pip could not be downloaded there: " + "; ".join(reasons)[:200])
    raise Failed(NOT_FOUND, "no index of the lock has %s" % wanted)


def shown_url(url):
    parts = urllib.parse.urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


# ---- pip

class Watch(object):
    """Converts the output of pip to events."""

    def __init__(self, total):
        self.step, self.total, self.what, self.said = 0, total, "", []
        self.length = 0

    def line(self, text):
        self.said.append(text)
        self.length += len(text)
        while self.length > SAID_MAX:
            self.length -= len(self.said.pop(0))
        words = text.split()
        if words[:1] in (["Collecting"], ["Processing"]):
            self.step = min(self.step + 1, self.total)
            self.what = os.path.basename(text.strip().partition(" ")[2].partition(" (from ")[0]).partition("==")[0].partition("-")[0]
        elif words[:1] == ["Downloading"]:
            self.what = os.path.basename(words[1]).partition("-")[0] + (" " + " ".join(words[2:]) if len(words) > 3 else "")
            progress("fetching %d of %d, %s" % (self.step, self.total, self.what))
        elif words[:1] == ["Progress"] and len(words) == 4 and words[1].isdigit() and words[3].isdigit():
            progress("fetching %d of %d, %s" % (self.step, self.total, self.what), int(words[1]) >> 10, int(words[3]) >> 10)
        elif words[:2] == ["Installing", "collected"]:
            progress("installing %d packages" % self.total)


def child_environment(place, urls):
    kept = ("PIP_CERT", "PIP_PROXY", "PIP_CLIENT_CERT")
    env = {key: value for key, value in os.environ.items()
           if not key.startswith(("PIP_", "PYTHON")) and key not in ("KOLM_INDEX_URL", "KOLM_LOCK_FILE", "KOLM_BACKEND") or key in kept}
    env.update(TMPDIR=os.path.join(place, "tmp"), LC_ALL="C.UTF-8", PIP_CONFIG_FILE=os.devnull, PIP_NO_INPUT="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    if urls:
        env["PIP_INDEX_URL"] = urls[0]
        env["PIP_EXTRA_INDEX_URL"] = " ".join(urls[1:])
    return env


def run(words, env, held, log, on_line):
    """Runs a child process until it ends, and returns its exit status. The child holds the lock, too."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, pass_fds=(held,))
    for line in process.stdout:
        log.write(line)
        log.flush()
        on_line(line.decode("utf-8", "replace").rstrip())
    return process.wait()


def why_pip_failed(said, place, offline):
    text = "\n".join(said)
    log = "%s there has pip's whole output; downloads are kept, and the same command resumes them" % shown(os.path.join(place, "setup.log"))
    found = re.search(r"someone may have tampered with them\.\s*(\S+)", text)
    if found:
        return Failed(DATA_LOSS, "the file of %s does not match the lock: its SHA-256 differs, so nothing was installed" % found.group(1),
                      "run the same command again, because the download may be incomplete; if the error persists, do not use that index")
    if "No space left on device" in text or "Disk quota exceeded" in text:
        return Failed(RESOURCE_EXHAUSTED, "the disk there is full: %s" % shown(place),
                      "free some space there, or name a directory on another disk in config.json: " + setting("dir"))
    if not offline and any(word in text for word in NETWORK):
        hosts = re.findall(r"\(host='([^']+)'", text)
        return Failed(UNAVAILABLE, "the packages could not be downloaded there: %s does not respond" % (hosts[-1] if hosts else "the network, or the index,"), log)
    found = re.search(r"No matching distribution found for (\S+)", text)
    if found:
        return Failed(NOT_FOUND, "%s has no file for the Python on that machine" % found.group(1), log)
    found = re.search(r"ERROR: (.*)", text)
    return Failed(DATA_LOSS, "pip could not install the packages there: %s" % (found.group(1)[:300] if found else "it did not report why"), log)


# ---- The steps

def take_lock(place):
    base, name = os.path.dirname(os.path.dirname(place)), os.path.basename(place)
    path = os.path.join(base, "locks", "runtime-" + name)
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress("waiting for another process that is making the same environment")
            fcntl.flock(held, fcntl.LOCK_EX)
        if os.path.exists(path) and os.path.samestat(os.fstat(held), os.stat(path)):
            return held
        os.close(held)  # the environment was removed in the meantime, and its lock with it


def is_whole(place):
    return os.path.exists(os.path.join(place, "runtime.json")) and os.access(os.path.join(place, "venv", "bin", "python"), os.X_OK)


def make_venv(python, place, with_pip, env, held, log):
    venv = os.path.join(place, "venv")
    shutil.rmtree(venv, ignore_errors=True)
    progress("making a virtual environment")
    said = []
    if run([python, "-I", "-B", "-m", "venv"] + ([] if with_pip else ["--without-pip"]) + [venv], env, held, log, said.append) != 0:
        raise Failed(FAILED_PRECONDITION, "%s there cannot make virtual environments: %s" % (shown(python), " ".join(" ".join(said).split())[:200]),
                     "install python3-venv there (Debian, Ubuntu), or name an interpreter there that has torch, transformers and peft: " +
                     setting("python"))
    return os.path.join(venv, "bin", "python")


def packages_of(python, env):
    text = "import json;from importlib.metadata import distributions;print(json.dumps({d.metadata['Name']:d.version for d in distributions()}))"
    done = subprocess.run([python, "-I", "-B", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    if done.returncode != 0:
        raise Failed(DATA_LOSS, "the new environment does not start: %s" % done.stderr.decode("utf-8", "replace")[-300:], "run the same command again")
    return {plain(name): version for name, version in json.loads(done.stdout.decode("utf-8")).items()}


def finish(place, python, needed, lock, facts, env):
    packages = packages_of(python, env)
    wrong = [pin for pin in needed if packages.get(plain(pin[0])) != pin[1]]
    if wrong:
        raise Failed(DATA_LOSS, "pip reported success, but %s %s is not in the environment" % wrong[0][:2], "run the same command again")
    for name in ("cache", "tmp"):
        shutil.rmtree(os.path.join(place, name), ignore_errors=True)
    # Everything must be on disk before runtime.json, which says that it is.
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        import ctypes
        ctypes.CDLL(None).syncfs(directory)
    except Exception:
        os.sync()
    about = {"format": 1, "lock_sha256": lock.sha256, "summary": lock.field("summary"), "python": facts["full"], "packages": dict(sorted(packages.items()))}
    path = os.path.join(place, "runtime.json")
    with open(path + ".new", "wb") as file:
        file.write(json.dumps(about).encode("ascii"))
        file.flush()
        os.fsync(file.fileno())
    os.rename(path + ".new", path)
    os.fsync(directory)
    os.close(directory)


def install(place, python, pip, needed, lock_path, directories, offline, env, held, log):
    watch = Watch(len(needed))
    version = version_key(os.path.basename(pip).split("-")[1]) if pip else (0,)
    words = [python, "-I", "-B", "-u"] + ([os.path.join(pip, "pip")] if pip else ["-m", "pip"])
    words += ["install", "--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-color", "--no-warn-script-location", "--retries", "4",
              "--timeout", "30", "--progress-bar", "raw" if version >= (24, 1) else "off"]
    words += ["--resume-retries", "10"] if version >= (25, 1) else []
    if offline:
        words += ["--no-index", "--no-cache-dir"] + [word for directory in directories for word in ("--find-links", directory)]
    else:
        words += ["--cache-dir", os.path.join(place, "cache")]
    if run(words + ["-r", lock_path], env, held, log, watch.line) != 0:
        raise why_pip_failed(watch.said, place, offline)


def make(place, tree, offline, there, held):
    lock_path = os.path.join(tree, "lock.txt")
    lock = Lock(lock_path)
    python, facts = find_python(lock.field("python"))
    needed = lock.needed(facts)
    directories = [path for path in (os.path.join(tree, "wheels"), there) if path and os.path.isdir(path)]
    if there and there not in directories:
        raise Failed(NOT_FOUND, "there is no directory %s there" % shown(there), "correct %s in config.json" % setting("wheels_there"))
    others = []
    if os.path.exists(os.path.join(tree, "others.txt")):
        with open(os.path.join(tree, "others.txt"), encoding="utf-8") as file:
            others = file.read().split("\n")
    wheels = Wheels(directories, needed, others)
    pip_pin = next((pin for pin in needed if plain(pin[0]) == "pip"), None)
    pip = wheels.of(pip_pin) if pip_pin else None
    if pip:
        wheels.tags = tags_of(python, pip)
    missing = wheels.missing(needed)
    if offline and missing:
        raise Failed(FAILED_PRECONDITION, tell_missing(missing, wheels, lock, facts), fill())
    size, disk = lock.field("download-bytes"), lock.field("disk-bytes")
    say("log", level="warning", text="making a Python environment there, once (%s): %s, %s on disk, with %s" % (
        lock.field("summary") or "%d packages" % len(needed),
        "nothing to download" if offline else "about %s to download" % size_of(int(size)) if size.isdigit() else "%d wheels to download" % len(needed),
        "about %s" % size_of(int(disk)) if disk.isdigit() else "some room", shown(python)))
    mirror = os.environ.get("KOLM_INDEX_URL", "")
    urls = [] if offline else [mirror] if mirror else lock.fields.get("index-url", [])
    env = child_environment(place, urls)
    for name in ("cache", "tmp"):
        os.makedirs(os.path.join(place, name), exist_ok=True)
    with open(os.path.join(place, "setup.log"), "wb") as log:
        try:
            if pip_pin and not pip:
                pip = fetch_pip(pip_pin, urls or ["https://pypi.org/simple"], os.path.join(place, "cache"))
            made = make_venv(python, place, pip is None, env, held, log)
            install(place, made, pip, needed, lock_path, directories, offline, env, held, log)
        except Failed as failed:
            if failed.code == UNAVAILABLE:  # the machine probably has no network access
                raise Failed(UNAVAILABLE, "%s; %s" % (failed.text, tell_missing(missing, wheels, lock, facts)), fill() + "; or check the network there")
            raise
    finish(place, made, needed, lock, facts, env)


def main(place, tree, mode, there):
    os.umask(0o077)
    held = take_lock(place)
    os.makedirs(place, exist_ok=True)
    os.utime(place)  # pruning goes by the last use
    if not is_whole(place):
        try:
            os.unlink(os.path.join(place, "runtime.json"))  # of an environment whose Python is gone
        except FileNotFoundError:
            pass
        make(place, tree, mode != "fetch", there, held)
    say("result", device="", toolchain="")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:5])
    except Failed as failed:
        say("error", code=failed.code, text=failed.text[:500], remedy=failed.remedy[:500])
        sys.exit(1)
    except OSError as error:
        say("error", code=UNAVAILABLE if error.errno is None else RESOURCE_EXHAUSTED if error.errno in (28, 122) else 2,
            text="the environment could not be made there: %s" % error,
            remedy="free some space there, or name a directory on another disk in config.json: " + setting("dir") if error.errno in (28, 122) else "run the same command again")
        sys.exit(1)
