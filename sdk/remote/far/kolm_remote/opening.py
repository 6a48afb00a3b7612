# SPDX-License-Identifier: Apache-2.0
"""The far end of a job that kolm does on a machine reached by SSH: sent over the connection, never installed.

How it gets there. One fixed command is run by the login shell, whatever that is; it reads this program from its
standard input. A random word opens the answer, so that what a login shell prints before it is skipped.

    in:   WORD N LF, then N bytes: this program
    out:  anything, LF WORD LF

Then frames, both ways: four bytes, big-endian, the length of a JSON object; the object; and as many raw bytes as its
"bytes" says; with "packed" those are a zlib stream (RFC 1950) of that many bytes. A request has "verb" and "id"; its
answer has the same "id", and "ok": true, or "ok": false with "code" (KOLM_E_*), "text" and "remedy". Requests are done
in order, and may be sent before the one before was answered; with "then": true one is done only if that one was. put
has no answer: what went wrong is told by sync. The bytes of a put with "stream": N come on another stream, which a second
connection has lent: that one is told the name of a socket that have gave, and passes its standard input on through it.

What it keeps, below its directory (mode 0700):

    blobs/ab/abcd...   bytes under their SHA-256; large ones reached the disk before they got their name, small ones are
                       checked again before they are used
    parts/             blobs that are not whole yet: a cut costs what was in flight
    trees/ID/          programs, from blobs
    runtimes/ID/       Python environments: see kolm_runtime.py, which makes them
    guard, guard.json  the watchdog of a rented machine, when one is armed: it holds a lock on the first
    jobs/ID/           spec.json, state.json, events.jsonl, errors.txt, work/ (the job directory)

A job runs below a keeper, a process of a session of its own, which outlives the connection. While it lives it holds a
lock on jobs/ID/run; so a job whose keeper was killed is seen as lost, and may be started again.

Python 3.6 or later, standard library only.
"""
import sys

if sys.version_info < (3, 6):
    sys.stdout.write("\n%s\n" % MARKER.decode("ascii"))  # noqa: F821 (given by the bootstrap)
    sys.stderr.write("kolm needs Python 3.6 or later on this machine; this is %s\n" % sys.version.split()[0])
    sys.exit(1)
