# SPDX-License-Identifier: Apache-2.0
# Which package index is unreachable: run as PYTHON -I -B -c THIS URL... before `kolm compute setup` starts pip, which retries
# one for minutes and does not say which it was. Standard input and the answer are as in driver.py.
import json
import os
import signal
import sys
import threading
import time

MARK = "kolm-answer "
REACH_SECONDS = 15


def watch():
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def why_away(url):
    """Why nothing answers at url; None when something does, whatever the answer: pip judges that."""
    import http.client
    import socket
    import ssl
    import urllib.error
    import urllib.parse
    import urllib.request
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or any(map(os.environ.get, ("all_proxy", "ALL_PROXY", "PIP_PROXY"))):
        return None  # urllib does not support these proxies
    host = parts.netloc.rpartition("@")[2]
    page = urllib.parse.urlunsplit((parts.scheme, host, parts.path.rstrip("/") + "/pip/", "", ""))
    try:
        urllib.request.urlopen(page, timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError as answer:
        return "it answers %d %s" % (answer.code, answer.reason) if answer.code in (502, 503, 504) else None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLError) or not isinstance(reason, OSError):
            return None  # pip brings its own certificates
        return "no answer in %d seconds" % REACH_SECONDS if isinstance(reason, socket.timeout) else reason.strerror or str(reason)
    except ssl.SSLError:
        return None
    except socket.timeout:
        return "no answer in %d seconds" % REACH_SECONDS
    except (OSError, http.client.HTTPException) as error:
        return getattr(error, "strerror", None) or str(error) or "it hung up"
    return None


def reach(*urls):
    """The first index that is unreachable, and why. All are tried at once, and one that failed immediately is tried twice."""
    found = {}

    def ask(url):
        begin = time.monotonic()
        found[url] = why_away(url)
        if found[url] and time.monotonic() - begin < 2:
            time.sleep(0.5)
            found[url] = why_away(url)
    threads = [threading.Thread(target=ask, args=(url,)) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    away = [(number, found[url]) for number, url in enumerate(urls) if found[url]]
    return {"number": away[0][0], "why": away[0][1]} if away else {}


threading.Thread(target=watch, daemon=True).start()
print("\n" + MARK + json.dumps(reach(*sys.argv[1:])), flush=True)
