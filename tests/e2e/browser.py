# SPDX-License-Identifier: Apache-2.0
"""A headless Chromium, controlled over a pipe (DevTools protocol): shows pages, measures them and records their network requests."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

# The browser expects the protocol on descriptors 3 and 4; the numbers of our pipes vary, and sh redirects only descriptors of one digit.
STARTER = """import fcntl, os, sys
ends = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 20) for number in sys.argv[1:3]]
os.dup2(ends[0], 3)
os.dup2(ends[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


def find():
    """Returns the path of a Chromium, or None if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name, path="/usr/bin:/usr/local/bin")
        if path:
            return path
    return None


class Browser:
    """One browser with a profile of its own. Raises OSError if it does not start (no memory, no sandbox, no processes)."""

    def __init__(self, path):
        self.profile = tempfile.mkdtemp(prefix="kolm-browser-")
        ours, self.theirs = [0, 0], [0, 0]
        self.theirs[0], ours[1] = os.pipe()
        ours[0], self.theirs[1] = os.pipe()
        self.reading, self.writing = ours
        self.number, self.rest, self.events = 0, b"", []
        words = [path, "--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + self.profile, "--no-first-run", "--disable-gpu",
                 "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
        if os.geteuid() == 0:
            words.append("--no-sandbox")  # Chromium does not start its sandbox as root; the pages are our own and have no scripts
        self.process = subprocess.Popen([sys.executable, "-c", STARTER, *map(str, self.theirs), *words], pass_fds=self.theirs, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={"HOME": self.profile, "PATH": "/usr/bin:/bin"})
        for descriptor in self.theirs:
            os.close(descriptor)
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Network", "Log", "Runtime"):
                self.call(domain + ".enable", session=self.session)
        except (OSError, RuntimeError) as error:
            self.close()
            raise OSError("Chromium does not come up: %s" % error) from error

    def receive(self):
        while b"\0" not in self.rest:
            more = os.read(self.reading, 1 << 20)
            if not more:
                raise OSError("it ended")
            self.rest += more
        message, _, self.rest = self.rest.partition(b"\0")
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        os.write(self.writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]
            self.events.append(answer)

    def show(self, url, width, scheme="light", height=800):
        """Loads a page and returns the URLs that it requested and the messages that the browser logged."""
        self.call("Emulation.setDeviceMetricsOverride", self.session, width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", self.session, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events = []
        self.call("Page.navigate", self.session, url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())
        # Resources of the page's style are requested when the page is laid out.
        self.evaluate("document.documentElement.scrollHeight")
        of = [event for event in self.events if "params" in event]
        requests = [event["params"]["request"]["url"] for event in of if event["method"] == "Network.requestWillBeSent"]
        complaints = [event["params"]["entry"]["text"] for event in of if event["method"] == "Log.entryAdded"]
        return requests, complaints

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", self.session, expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def close(self):
        try:
            self.call("Browser.close")
        except (OSError, RuntimeError):
            self.process.kill()
        self.process.wait()
        os.close(self.reading)
        os.close(self.writing)
        shutil.rmtree(self.profile, True)
