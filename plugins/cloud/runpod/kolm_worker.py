#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The worker of a RunPod serverless endpoint: answers with one model of kolm, which stays loaded. clouds.md says how to make the image.

usage: kolm_worker.py   (KOLM_MODEL: the model, /model.kolm; KOLM_PROGRAM: kolm; KOLM_WORKER_BACKEND: what it answers with, if kolm is not to choose)
       kolm_worker.py --digest   prints what the model is called in requests
"""
import asyncio
import hashlib
import json
import os
import subprocess
import sys
import threading

FORMAT = 1


class Worker:
    """Answers jobs {"input": {"format": 1, "model": DIGEST, "rows": [...]}}. DIGEST is the SHA-256 of what sha256sum prints for the files of the model."""
    def __init__(self, kolm, model, backend=None, env=None):
        self.command = [kolm, "run", model] + (["--backend", backend] if backend else [])
        self.kolm, self.model, self.env, self.server = kolm, model, env, None
        self.lock = threading.Lock()
        self.digest = self.read_digest()

    def read_digest(self):
        done = subprocess.run([self.kolm, "inspect", self.model, "--json"], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
        files = {entry["path"]: entry["sha256"] for entry in json.loads(done.stdout.decode())["manifest"]["entries"]}
        names = sorted((name[len("model/"):] for name in files if name.startswith("model/")), key=str.encode)
        return hashlib.sha256("".join("%s  %s\n" % (files["model/" + name], name) for name in names).encode()).hexdigest()

    def warm(self):
        """Starts the server of the model unless it runs, and waits until it has loaded it or has ended: then each job answers by itself, and says why it cannot."""
        with self.lock:  # a job that was cancelled leaves this going
            if self.server is None or self.server.poll() is not None:
                self.close()
                self.server = subprocess.Popen(self.command + ["--serve"], env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
                self.server.stdout.readline()

    def close(self):
        if self.server is not None:
            self.server.terminate()
            self.server.wait()
            self.server.stdout.close()
            self.server = None

    async def answer(self, job):
        """The handler. An object with `error` makes the job FAILED, with this text."""
        asked = job.get("input")
        if not isinstance(asked, dict) or asked.get("format") != FORMAT or not isinstance(asked.get("rows"), list):
            return {"error": "the worker takes {\"format\": %d, \"model\", \"rows\"}: kolm there and here are of different versions" % FORMAT}
        if asked.get("model") == "" and not asked["rows"]:
            return {"model": self.digest, "answers": []}
        if asked.get("model") != self.digest:
            return {"error": "this endpoint has the model %s, and %s was asked for" % (self.digest, asked.get("model"))}
        await asyncio.get_running_loop().run_in_executor(None, self.warm)
        lines = "".join(json.dumps(row) + "\n" for row in asked["rows"])
        code, answers, said = await self.run(lines.encode())
        if code != 0:
            return {"error": "kolm ended with %d: %s" % (code, said.decode("utf-8", "replace").strip().replace("\n", " ")[-300:])}
        return {"model": self.digest, "answers": [json.loads(line) for line in answers.splitlines()]}

    async def run(self, lines):
        """What `kolm run` makes of the questions; it ends with the job, if that is cancelled."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*self.command, "--jsonl", env=self.env, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            answers, said = await process.communicate(lines)
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
        return process.returncode, answers, said


def main():
    worker = Worker(os.environ.get("KOLM_PROGRAM", "kolm"), os.environ.get("KOLM_MODEL", "/model.kolm"), os.environ.get("KOLM_WORKER_BACKEND"))
    if sys.argv[1:] == ["--digest"]:
        print(worker.digest)
        return
    import runpod  # pylint: disable=import-outside-toplevel
    worker.warm()
    runpod.serverless.start({"handler": worker.answer})


if __name__ == "__main__":
    main()
