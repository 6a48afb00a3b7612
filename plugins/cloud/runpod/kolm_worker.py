#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The worker of a RunPod serverless endpoint: answers with one kolm model, which stays loaded. clouds.md describes how to make the image.

usage: kolm_worker.py            settings: KOLM_MODEL (the model, default /model.kolm), KOLM_PROGRAM (default kolm), KOLM_WORKER_BACKEND (the
                                 backend, if kolm is not to choose it)
       kolm_worker.py --digest   prints the digest that requests must contain
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
    """Answers jobs {"input": {"format": 1, "model": DIGEST, "rows": [...]}}. DIGEST is the SHA-256 of the output of sha256sum for the files of the model."""
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
        """Starts the server of the model unless it is running, and waits until it has loaded the model or has ended. Jobs do not depend on it: without it each
        loads the model itself, and reports why it cannot."""
        with self.lock:  # this continues after its job is cancelled
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
        """The handler. If it returns an object with `error`, the job becomes FAILED with this text."""
        asked = job.get("input")
        if not isinstance(asked, dict) or asked.get("format") != FORMAT or not isinstance(asked.get("rows"), list):
            return {"error": "the worker requires {\"format\": %d, \"model\", \"rows\"}: kolm and the worker have different versions" % FORMAT}
        if asked.get("model") == "" and not asked["rows"]:
            return {"model": self.digest, "answers": []}
        if asked.get("model") != self.digest:
            return {"error": "this endpoint has the model %s, and the request is for %s" % (self.digest, asked.get("model"))}
        await asyncio.get_running_loop().run_in_executor(None, self.warm)
        lines = "".join(json.dumps(row) + "\n" for row in asked["rows"])
        code, answers, said = await self.run(lines.encode())
        if code != 0:
            return {"error": "kolm exited with status %d: %s" % (code, said.decode("utf-8", "replace").strip().replace("\n", " ")[-300:])}
        return {"model": self.digest, "answers": [json.loads(line) for line in answers.splitlines()]}

    async def run(self, lines):
        """Runs `kolm run` on the questions. Returns (exit status, answers, what it printed to standard error). Terminates it if the job is cancelled."""
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
