# SPDX-License-Identifier: Apache-2.0
"""What the contract servers of services share: a clock of their own, routes, a token, billing, and faults between them and a client."""
import email.utils
import json
import re
import time

from server import Server, answer, reset


class Fault:
    """Does `kind` to requests whose "METHOD /path" matches `where`, from number `first` on (1: the first), `times` of them (0: all).

    refuse       the connection is closed before the request is executed
    reset        the request is executed, and a RST cuts the answer in the middle
    lost         the request is executed, and no answer comes
    slow         the answer comes one byte at a time
    malformed, huge, html   the request is executed, and the body is replaced
    foreign      a 404 with an object that is not the provider's; not executed
    NUMBER       that status, with the provider's own error body; not executed
    (NUMBER, headers)       with these headers; a Retry-After of "date" becomes the date in a second
    after-500    the request is executed, and the answer is a 500
    error-200    a 200 with the body of an error; not executed
    """

    def __init__(self, where, kind, first=1, times=1):
        self.where, self.kind, self.first, self.times, self.seen = re.compile(where), kind, first, times, 0

    def takes(self, line):
        if not self.where.search(line):
            return False
        self.seen += 1
        return self.seen >= self.first and (self.times == 0 or self.seen < self.first + self.times)


class Refused(Exception):
    """An answer of the provider that is not a success."""
    def __init__(self, status, body, headers=()):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers


class Provider:
    """A provider is a list of routes and their state. Its time advances only by requests, `tick` seconds each."""
    tick = 20.0

    def __init__(self, token="t0ken-canary-5f21d7", context=None):
        self.token, self.now, self.faults, self.submits, self.strangers = token, 1_700_000_000.0, [], 0, []
        self.server = Server(self.handle, context=context)
        self.address = self.server.url("", "https" if context else None)
        self.taken = []  # "METHOD /path" of each request

    # ---- to be implemented by a provider

    def routes(self):
        """Returns [("METHOD", "/path/(pattern)", function(request, *groups) -> (status, body, headers))]."""
        raise NotImplementedError

    def error(self, status, message, **more):
        """Returns the body of an error as this provider writes it."""
        raise NotImplementedError

    def authorise(self, request):
        raise NotImplementedError

    def running(self):
        """Returns the names of the jobs that are billed now."""
        raise NotImplementedError

    def stored(self):
        """Returns the names of the files that exist."""
        raise NotImplementedError

    # ---- answering

    def fault(self, *args, **more):
        self.faults.append(Fault(*args, **more))
        return self

    def plain(self, request):
        """Returns the answer without any fault: (status, body, headers); body is bytes, or an object that becomes JSON."""
        path = request.target.split("?", 1)[0]
        try:
            for method, pattern, function in self.routes():
                match = re.fullmatch(pattern, path)
                if match and method == request.method:
                    if not getattr(function, "open", False):
                        self.authorise(request)
                    elif "authorization" in request.headers:
                        self.strangers.append(path)  # a token was sent to an address that must not receive one
                        raise Refused(400, self.error(400, "only one authorisation is allowed"))
                    result = function(request, *match.groups())
                    return result if len(result) == 3 else (*result, ())
            self.authorise(request)
            raise Refused(404, self.error(404, "no such address"))
        except Refused as refusal:
            return refusal.status, refusal.body, refusal.headers

    def handle(self, request, connection):
        line = "%s %s" % (request.method, request.target)
        self.taken.append(line)
        self.now += self.tick
        kind = next((fault.kind for fault in self.faults if fault.takes(line)), None)
        if kind == "refuse":
            reset(connection)
            return None
        number, headers = kind if isinstance(kind, tuple) else (kind, ())
        headers = [(name, email.utils.formatdate(time.time() + 1, usegmt=True) if value == "date" else value) for name, value in headers]
        if isinstance(number, int):
            return as_json(number, self.error(number, "a fault that was chosen"), headers)
        if kind == "foreign":
            return as_json(404, {"message": "no Route matched with those values"})
        if kind == "error-200":
            return as_json(200, self.error(500, "a fault that was chosen"))
        status, body, headers = self.plain(request)
        if kind == "lost":
            reset(connection)
            return None
        if kind == "after-500":
            return as_json(500, self.error(500, "a fault that was chosen"))
        if kind == "malformed":
            return answer(status, b'{"id": "x", "dat', (("Content-Type", "application/json"),))
        if kind == "huge":
            return answer(status, b'{"a":"' + b"x" * (40 << 20) + b'"}', (("Content-Type", "application/json"),))
        if kind == "html":
            return answer(404, b"<html><h1>404 Not Found</h1></html>", (("Content-Type", "text/html"),))
        whole = body if isinstance(body, bytes) else None
        reply = answer(status, whole, headers) if whole is not None else as_json(status, body, headers)
        if kind == "reset":
            connection.sendall(reply[:len(reply) - max(1, len(reply) // 4)])
            reset(connection)
            return None
        if kind == "slow":
            for at in range(0, len(reply), 40):
                connection.sendall(reply[at:at + 40])
                self.server.over.wait(0.01)
            return None
        return reply

    def close(self):
        self.server.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def as_json(status, body, headers=()):
    text = b"" if body is None else json.dumps(body).encode()
    return answer(status, text, (("Content-Type", "application/json"), *headers))


def without_token(function):
    """Marks a route that must not receive the token: a presigned address."""
    function.open = True
    return function


def read_json(request, error):
    try:
        value = json.loads(request.body)
    except ValueError:
        raise Refused(400, error(400, "the body is not JSON")) from None
    if not isinstance(value, dict):
        raise Refused(400, error(400, "the body is not an object"))
    return value


def multipart(request):
    """Returns {name: (filename or None, bytes)} of a multipart/form-data body."""
    match = re.search(r'boundary="?([^";]+)"?', request.headers.get("content-type", ""))
    parts = {}
    for piece in request.body.split(b"--" + match.group(1).encode())[1:-1] if match else []:
        head, _, content = piece.lstrip(b"\r\n").partition(b"\r\n\r\n")
        name = re.search(rb'name="([^"]*)"', head)
        filename = re.search(rb'filename="([^"]*)"', head)
        if name:
            parts[name.group(1).decode()] = (filename.group(1).decode() if filename else None, content[:-2])
    return parts


def stamp(seconds):
    """Formats a time as providers do."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(seconds))


def nearest_answer(rows, question):
    """Answers like a trained model: returns the output of the row whose words are most similar to the question's, and the similarity."""
    words = set(question.lower().split())
    best, text = -1.0, ""
    for asked, said in rows:
        other = set(asked.lower().split())
        score = len(words & other) / max(1, len(words | other))
        if score > best:
            best, text = score, said
    return text, max(best, 0.0)
