# SPDX-License-Identifier: Apache-2.0
"""Runs between a near end and the far end, and damages the latter's output once: spoiler.py DIRECTORY SEED, or spoiler.py DIRECTORY lie
OLD NEW, which changes the far end's program in transit. A file in DIRECTORY records that it was done."""
import os
import random
import select
import subprocess
import sys

from far_end import BOOTSTRAP

FAR = [sys.executable, "-I", "-B", "-c"]


def lie(old, new):
    liar = ("import sys;i=sys.stdin.buffer;h=i.readline().split();p=i.read(int(h[1]));assert p.count(%r)==1;p=p.replace(%r,%r);"
            "exec(compile(p,'kolm_remote','exec'),{'__name__':'kolm_remote','MARKER':h[0]})" % (old.encode(), old.encode(), new.encode()))
    os.execv(FAR[0], FAR + [liar])


def spoil(draw, data):
    """Returns data with one error somewhere, and its kind."""
    at = draw.randrange(len(data))
    kind = draw.choice(("bit", "drop", "insert", "cut", "again", "ones", "text"))
    more = {"bit": bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1:], "drop": data[at + draw.randrange(1, 9):],
            "insert": draw.randbytes(draw.randrange(1, 9)) + data[at:], "cut": b"", "again": data[max(0, at - 50):],
            "ones": b"\xff" * 4 + data[at + 4:], "text": b'\x00\x00\x00\x11{"ok":true,"id":{}' + data[at:]}
    return data[:at] + more[kind], kind


def main(directory, seed):
    draw = random.Random(int(seed))
    done = os.path.join(directory, "spoilt")
    wanted = None if os.path.exists(done) else draw.choice((40, 200, 400, 800, 1200, 1600, 3000))  # offset of the damage in the output
    far = subprocess.Popen(FAR + [BOOTSTRAP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    seen, pipes = 0, {0: far.stdin.fileno(), far.stdout.fileno(): 1}
    while True:
        ready = select.select(list(pipes), [], [], 0.5 if os.path.exists(done) and wanted is not None else 60)[0]
        if not ready:
            break  # both ends wait for each other forever
        for fd in ready:
            data = os.read(fd, 65536)
            if not data:
                return
            if pipes[fd] == 1:
                seen += len(data)
                if wanted is not None and seen > wanted and not os.path.exists(done):
                    data, kind = spoil(draw, data)
                    with open(done, "w") as file:
                        file.write(kind)
            while data:
                data = data[os.write(pipes[fd], data):]


if __name__ == "__main__":
    try:
        lie(*sys.argv[3:]) if sys.argv[2] == "lie" else main(*sys.argv[1:])
    except BrokenPipeError:
        pass
