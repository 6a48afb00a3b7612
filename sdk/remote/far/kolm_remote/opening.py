# SPDX-License-Identifier: Apache-2.0
"""The far end of a job on a machine reached by SSH: sent over the connection, never installed.

How it is started. The login shell, whichever it is, runs one fixed command, which reads this program from its standard
input. A random word precedes the answer, so that anything that a login shell prints before it is skipped.

    in:   WORD N LF, then N bytes: this program
    out:  anything, LF WORD LF

Then frames in both directions: four bytes, big-endian, the length of a JSON object; the object; and as many raw bytes as
its "bytes" says. With "packed" these are a zlib stream (RFC 1950) of that many bytes. A request has "verb" and "id"; its
answer has the same "id", and "ok": true, or "ok": false with "code" (KOLM_E_*), "text" and "remedy". Requests are executed
in order, and may be sent before the previous one is answered; one with "then": true is executed only if the previous one
succeeded. put has no answer: sync reports its errors. The bytes of a put with "stream": N arrive on another stream, lent
by a second connection: that one is given the name of a socket, from the answer to have, and passes its standard input
through it.

What it keeps, below its directory (mode 0700):

    blobs/ab/abcd...   contents, named by their SHA-256; large ones are synced to disk before they get this name, small
                       ones are checked again before use
    parts/             incomplete blobs: an interruption loses only what was in flight
    trees/ID/          programs and base models, from blobs
    runtimes/ID/       Python environments, made by kolm_runtime.py
    guard, guard.json  the watchdog of a rented machine, if it is armed: it holds a lock on the first
    jobs/ID/           spec.json, state.json, events.jsonl, errors.txt, work/ (the job directory)

A job runs below a keeper, a process in a session of its own, which outlives the connection. As long as it lives it holds
a lock on jobs/ID/run; so a job whose keeper was killed is recognised as lost, and may be started again.

Python 3.6 or later, standard library only.
"""
import sys

if sys.version_info < (3, 6):
    sys.stdout.write("\n%s\n" % MARKER.decode("ascii"))  # noqa: F821 (given by the bootstrap)
    sys.stderr.write("kolm needs Python 3.6 or later on this machine; this is %s\n" % sys.version.split()[0])
    sys.exit(1)
