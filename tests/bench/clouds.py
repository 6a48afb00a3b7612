#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares kolm's clouds with the providers' own clients, using the same contract servers on this machine.

    clouds.py --kolm BUILD/core/cli/kolm --clients BUILD/clients-venv/bin/python [--rounds 5] [--only ask|first|memory|polls]

ask      `kolm compute detect --refresh`, and `quote` with no price cached, with the tokens of all providers, compared with one token each, and with one cheap request by
         each provider's client, one after another as a user would type them. Each answer of a server is delayed by 200 ms
first    from the start of `kolm compile` to the first command on the rented machine, compared with the provider's client (start, poll until it runs) and ssh. The
         machines are accounts on loopback, ready at once, and in a second run one second after the launch, which neither can shorten
memory   the peak of the largest kolm process while 2 GB are downloaded from together
polls    requests in the first and in the second minute after the creation of a resource that makes no progress, counted by the contract servers; compared with the
         providers' clients that wait

The programs take turns; the tables show medians.
"""
import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("contract", "remote"):
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), room))
sys.path.insert(0, HERE)
import box as boxes  # noqa: E402
import cloud as world  # noqa: E402
from bench import child, table  # noqa: E402
from case import tickets  # noqa: E402
from fal_cloud import Fal  # noqa: E402
from lambda_cloud import Lambda  # noqa: E402
import modal_cloud  # noqa: E402
from replicate_cloud import VERSION, Replicate  # noqa: E402
from runpod_cloud import RunPod  # noqa: E402
from server import Authority, answer  # noqa: E402
from together_cloud import Together  # noqa: E402
from vast_cloud import Vast  # noqa: E402

LATE = 0.2
BYTES = 2 * 10**9
PYTHON = {"runpod": "from dstack._internal.core.backends.runpod import api_client as a; a.API_V2_URL = %(api)r; assert a.RunpodApiClient(%(token)r).validate_api_key()",
          "together": "from together import Together; Together(api_key=%(token)r, base_url=%(api)r).files.list()",
          "replicate": "import replicate; replicate.Client(api_token=%(token)r, base_url=%(api)r).accounts.current()",
          "fal": "import fal_client; fal_client.status('me/router', %(request)r)"}
# Rents, and waits until it runs; ssh follows if there is SSH. The pod has no command, so that the image starts sshd.
BY_CLIENT = {"runpod": """
from dstack._internal.core.backends.runpod import api_client as a
a.API_V2_URL = %(api)r
client = a.RunpodApiClient(%(token)r)
pod = client.create_pod(name="by-its-client", cloud="SECURE", gpu_type_id="NVIDIA RTX A5000", gpu_count=1, min_cpu_count_per_gpu=1, min_memory_in_gb_per_gpu=1, data_center_ids=None,
                        container_disk_in_gb=50, image_name="x", entrypoint=[], cmd=[], ports=["22/tcp"], env={"PUBLIC_KEY": %(public)r})
while client.get_pod(pod["id"])["status"] != "RUNNING":
    pass
""", "modal": """
import modal
app = modal.App.lookup("kolm", create_if_missing=True)
box = modal.Sandbox.create("sleep", "600", gpu="T4", name="by-its-client", app=app, image=modal.Image.from_registry("debian:12"), timeout=600)
box.exec("true").wait()
box.terminate()
"""}
# Waits for something that never makes progress.
WAITS = {"modal": BY_CLIENT["modal"], "replicate": """
import replicate
replicate.Client(api_token=%(token)r, base_url=%(api)r).predictions.create(version=%(version)r, input={"prompt": "x"}).wait()
"""}
COMMANDS = {"lambda": ("lai", "types", "--json"), "vast": ("vastai", "show", "user", "--raw")}


def late(server):
    """server.handle takes a request and a connection, or a gRPC call."""
    inner = server.handle
    server.handle = lambda *what: (server.over.wait(LATE), inner(*what))[1]


def modal_env(server):
    identity, _, secret = server.key.partition(":")
    return {"MODAL_SERVER_URL": server.url(), "MODAL_TOKEN_ID": identity, "MODAL_TOKEN_SECRET": secret}


class Bench:
    def __init__(self, args):
        self.args, self.bin = args, os.path.dirname(os.path.abspath(args.clients))
        self.dir = tempfile.mkdtemp(prefix="kolm-bench-")
        self.env = {"PATH": "/usr/bin:/bin", "HOME": self.dir, "LANG": "C.UTF-8"}
        self.homes = 0

    def close(self):
        shutil.rmtree(self.dir, True)

    def home(self, settings, tokens):
        """Returns the environment of a kolm with these settings and tokens."""
        self.homes += 1
        home = os.path.join(self.dir, "home-%d" % self.homes)
        os.mkdir(home, 0o700)
        with open(os.path.join(home, "config.json"), "w") as file:
            json.dump({"backends": settings}, file)
        return {**self.env, "KOLM_HOME": home, **tokens}

    # ---- ask

    def client(self, name, server, tls):
        if name in COMMANDS:
            env = {"LAMBDA_CLOUD_BASE_URL": server.url(), "LAMBDA_CLOUD_TOKEN": server.key} if name == "lambda" else {
                "VAST_URL": server.url(), "VAST_API_KEY": server.key, "VASTAI_NO_UPDATE_CHECK": "1"}
            return [os.path.join(self.bin, COMMANDS[name][0]), *COMMANDS[name][1:]], env
        if name == "modal":
            return [self.args.clients, "-m", "modal", "billing", "rates", "--json"], modal_env(server)
        if name == "fal":
            host = "localhost:%d" % tls.server.port
            return [self.args.clients, "-c", PYTHON[name] % {"request": next(iter(tls.requests))}], {
                "FAL_RUN_HOST": host, "FAL_QUEUE_RUN_HOST": host, "FAL_KEY": tls.token, "SSL_CERT_FILE": self.authority.ca}
        token, api = (server.key, server.api()) if name == "runpod" else (server.token, server.address)
        return [self.args.clients, "-c", PYTHON[name] % {"token": token, "api": api}], {}

    def ask(self):
        self.authority = Authority(self.dir)
        servers = {"lambda": Lambda(), "runpod": RunPod(), "vast": Vast(), "modal": modal_cloud.Modal(), "together": Together(), "replicate": Replicate(), "fal": Fal()}
        tls = Fal(context=self.authority.context())
        tls.requests["00000000-0000-4000-8000-000000000001"] = {"id": "00000000-0000-4000-8000-000000000001", "app": "me/router", "born": tls.now, "cancelled": None, "prompt": "x"}
        settings, tokens, clients = {}, {}, {}
        for name, server in servers.items():
            late(server.server)
            settings[name] = {"api": server.api() if hasattr(server, "api") else server.address}
            tokens[name] = server.key if hasattr(server, "key") else server.token
            clients[name] = self.client(name, server, tls)
        settings["fal"]["endpoints"] = {"router": {"endpoint": "me/router", "input_field": "prompt", "output_field": "output"}}
        late(tls.server)
        variables = {name: {"KOLM_%s_TOKEN" % name.upper(): token} for name, token in tokens.items()}
        every = self.home(settings, {key: value for one in variables.values() for key, value in one.items()})
        single = {name: self.home(settings, one) for name, one in variables.items()}
        rows = []
        for title, words in (("detect --refresh", ["compute", "detect", "--refresh"]), ("quote, nothing cached", ["compute", "quote", "--rows", "1000", "--bytes", "200000", "--recipe", "linear"])):
            seconds = {}
            for _ in range(self.args.rounds):
                for env in (every, *single.values()):
                    shutil.rmtree(os.path.join(env["KOLM_HOME"], "cache"), True)
                seconds.setdefault("all", []).append(child([self.args.kolm, *words], env=every)[0])
                for name, env in single.items():
                    seconds.setdefault(name, []).append(child([self.args.kolm, *words], env=env)[0])
                total = 0
                for name, (command, env) in clients.items():
                    total += child(command, env={**self.env, "COLUMNS": "300", **env}, cwd=self.dir)[0]
                seconds.setdefault("clients", []).append(total)
            median = {name: statistics.median(values) for name, values in seconds.items()}
            name = max(servers, key=median.get)
            ratios = [a / max(seconds[one][i] for one in servers) for i, a in enumerate(seconds["all"])]
            rows.append((title, "%.2f s" % median["all"], "%.2f s (%s)" % (median[name], name), "%.2f" % statistics.median(ratios), "%.2f s" % median["clients"],
                         "%.1f" % statistics.median(c / a for c, a in zip(seconds["clients"], seconds["all"]))))
        table("%d providers, answers 200 ms late, medians of %d" % (len(servers), self.args.rounds),
              ["kolm compute", "all tokens", "slowest with one token", "ratio", "the clients one after another", "times kolm's"], rows)
        for server in (*servers.values(), tls):
            server.close()

    # ---- first

    def stamping(self):
        """Makes accounts that record when the first command ran there."""
        def open_account(public_key, address, port, tools):
            box = boxes.Box(port=port, address=address, before='date +%%s.%%N >>"%s"' % self.stamps)
            with open(os.path.join(box.dir, "authorized"), "w") as file:
                file.write(public_key + "\n")
            return box
        world.open_account = open_account

        inner = modal_cloud.Program.__init__

        def started(program, *args):
            with open(self.stamps, "a") as file:
                file.write("%.9f\n" % time.time())
            inner(program, *args)
        modal_cloud.Program.__init__ = started

    def first_stamp(self, begin):
        with open(self.stamps) as file:
            return float(file.readline()) - begin

    def by_kolm(self, name, cloud):
        more = {"lambda": {"ssh_port": cloud.port, "ssh_user": boxes.USER}, "modal": {}}.get(name, {"ssh_user": boxes.USER})
        env = self.home({name: {"api": cloud.api(), **more}}, {"KOLM_%s_TOKEN" % name.upper(): cloud.key})
        begin = time.time()
        child([self.args.kolm, "compile", "-t", "router", "-d", os.path.join(self.dir, "rows.jsonl"), "--backend", name, "--recipe", "linear", "--effort", "quick",
               "--force", "-o", os.path.join(self.dir, "router.kolm")], env=env, cwd=self.dir)
        return self.first_stamp(begin)

    def by_client(self, name, cloud):
        if name == "modal":
            begin = time.time()
            child([self.args.clients, "-c", BY_CLIENT["modal"]], env={**self.env, **modal_env(cloud)}, cwd=self.dir)
            return self.first_stamp(begin)
        env = {**self.env, "COLUMNS": "300", "LAMBDA_CLOUD_BASE_URL": cloud.url(), "LAMBDA_CLOUD_TOKEN": cloud.key, "VAST_URL": cloud.url(), "VAST_API_KEY": cloud.key,
               "VASTAI_NO_UPDATE_CHECK": "1"}
        with open(self.key + ".pub") as file:
            public = file.read().strip()

        def run(*words):
            return child([os.path.join(self.bin, words[0]), *words[1:]], env=env, cwd=self.dir)[1]
        begin = time.time()
        if name == "lambda":
            cloud.keys.append({"id": "ab" * 16, "name": "mine", "public_key": public})
            run("lai", "types", "--json")
            run("lai", "start", "--instance-type", "gpu_1x_a10", "--region", "us-east-1", "--ssh-key", "mine", "--name", "by-its-client", "--json")
            while "active" not in run("lai", "ls", "--json"):
                pass
        elif name == "runpod":
            child([self.args.clients, "-c", BY_CLIENT["runpod"] % {"api": cloud.api(), "token": cloud.key, "public": public}], env=env, cwd=self.dir)
        else:
            offers = json.loads(run("vastai", "search", "offers", "gpu_ram>=40 num_gpus=1", "--raw", "-o", "dph_total", "--storage", "50"))
            run("vastai", "create", "instance", str(offers[0]["id"]), "--image", "x", "--disk", "50", "--ssh", "--direct", "--label", "by-its-client", "--cancel-unavail")
            run("vastai", "attach", "ssh", str(cloud.instances[-1].id), public)
            while json.loads(run("vastai", "show", "instance", str(cloud.instances[0].id), "--raw"))["actual_status"] != "running":
                pass
        child(["ssh", "-i", self.key, "-F", "none", "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=" + os.path.join(self.dir, "known"), "-p", str(cloud.port),
               "%s@%s" % (boxes.USER, cloud.instances[0].address), "true"], env=self.env)
        return self.first_stamp(begin)

    def first(self):
        self.stamps, self.key = os.path.join(self.dir, "stamps"), os.path.join(self.dir, "key")
        boxes.keygen(self.key)
        with open(os.path.join(self.dir, "rows.jsonl"), "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in tickets(200))
        self.stamping()
        rows = []
        for boot in (0, 1):
            for name, make in (("lambda", Lambda), ("vast", Vast), ("runpod", RunPod), ("modal", modal_cloud.Modal)):
                kolm, client = self.race(name, lambda m=make, b=boot: m(boot=b, port=boxes.free_port()))
                rows.append((name, "after %d s" % boot, "%.2f s" % statistics.median(kolm), "%.2f s" % statistics.median(client),
                             "%.2f" % statistics.median(a / b for a, b in zip(kolm, client))))
        table("To the first command on a machine, medians of %d" % self.args.rounds, ["provider", "it is there", "kolm compile", "its client, and ssh", "ratio"], rows)

    def race(self, name, make):
        """Seconds of kolm and of the client, in turns."""
        seconds = ([], [])
        for _ in range(self.args.rounds):
            for how, into in zip((self.by_kolm, self.by_client), seconds):
                cloud = make()
                cloud.tools = self.dir
                open(self.stamps, "w").close()
                into.append(how(name, cloud))
                cloud.close()
        return seconds

    # ---- memory

    @staticmethod
    def below(pid):
        """Ids and names of a process and its descendants."""
        every, found, grew = boxes.processes(), {pid}, True
        while grew:
            more = {one for one, (parent, _) in every.items() if parent in found} - found
            grew = bool(more)
            found |= more
        return [(one, every[one][1]) for one in found if one in every]

    def memory(self):
        server = Together()
        inner = server.server.handle

        def handle(request, connection):
            if "/finetune/download" not in request.target and "/fine-tunes/download" not in request.target:
                return inner(request, connection)
            head = answer(200, b"", (("Content-Type", "application/octet-stream"), ("Content-Length", str(BYTES))))
            connection.sendall(head)
            piece = b"\x28\xb5\x2f\xfd" + os.urandom(10**6 - 4)
            for _ in range(BYTES // 10**6):
                connection.sendall(piece)
            return None
        server.server.handle = handle
        with open(os.path.join(self.dir, "rows.jsonl"), "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in tickets(160))
        env = self.home({"together": {"api": server.address, "poll_seconds": 0.01}}, {"KOLM_TOGETHER_TOKEN": server.token})
        begin, peaks = time.monotonic(), {}
        process = subprocess.Popen([self.args.kolm, "compile", "-t", "router", "-d", os.path.join(self.dir, "rows.jsonl"), "--backend", "together", "--recipe", "hosted-lora",
                                    "--force", "--set", "model=meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", "-o", os.path.join(self.dir, "router.kolm")],
                                   env=env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        while process.poll() is None:
            for pid, name in self.below(process.pid):
                try:
                    with open("/proc/%d/status" % pid) as file:
                        peak = next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
                    peaks[name] = max(peaks.get(name, 0), peak)
                except (OSError, StopIteration):
                    pass
            server.server.over.wait(0.02)
        if process.returncode != 0:
            sys.exit("bench: kolm ended with %d\n%s" % (process.returncode, process.stdout.read()))
        table("A download of %.1f GB" % (BYTES / 1e9), ["process", "peak"],
              [("the plugin's", "%.1f MiB" % (peaks["kolm-host"] / 1024)), ("kolm", "%.1f MiB" % (peaks["kolm"] / 1024)), ("whole compile", "%.0f s" % (time.monotonic() - begin))])
        server.close()


    # ---- polls

    @staticmethod
    def counting(server, creates):
        """Returns lists for the time of the request that creates, and for the times of all later requests relative to it."""
        begun, seen, inner = [], [], server.server.handle

        def handle(first, *more):
            line = "%s %s" % (first.method, first.target)
            if begun:
                seen.append(time.monotonic() - begun[0])
            result = inner(first, *more)
            if not begun and re.search(creates, line):
                begun.append(time.monotonic())
                server.tick = 0  # for servers whose time advances with requests: from now on nothing makes progress
            return result
        server.server.handle = handle
        return begun, seen

    def polling(self, name, by_client):
        """Makes a server with a resource that makes no progress, and the command that polls it. Returns (pattern of the creation, server,
        commands, environment)."""
        key = {"lambda": "instance-operations/launch$", "runpod": "^POST .*/pods$", "modal": "/SandboxCreate$", "together": "^POST .*/fine-tunes$",
               "replicate": "^POST .*/(trainings|predictions)$"}[name]
        if name in ("together", "replicate"):
            server = {"together": Together, "replicate": Replicate}[name]()
            settings, token = {"api": server.address}, server.token
        else:
            server = {"lambda": Lambda, "runpod": RunPod, "modal": modal_cloud.Modal}[name](boot=10**6)
            settings, token = {"api": server.api()}, server.key
        if not by_client:
            words = {"together": ["--recipe", "hosted-lora", "--set", "model=meta-llama/Meta-Llama-3.1-8B-Instruct-Reference"],
                     "replicate": ["--recipe", "hosted-lora", "--set", "trainer=replicate/llama-8b:" + VERSION, "--set", "destination=me/router"]}.get(
                         name, ["--recipe", "linear"])
            command = [self.args.kolm, "compile", "-t", "router", "-d", os.path.join(self.dir, "rows.jsonl"), "--backend", name, "--force", *words]
            return key, server, [command], self.home({name: settings}, {"KOLM_%s_TOKEN" % name.upper(): token})
        if name == "lambda":
            server.keys.append({"id": "ab" * 16, "name": "mine", "public_key": "ssh-ed25519 AAAA"})
            lai = os.path.join(self.bin, "lai")
            start = [lai, "start", "--instance-type", "gpu_1x_a10", "--region", "us-east-1", "--ssh-key", "mine", "--name", "by-its-client"]
            return key, server, [start, [lai, "ssh", "by-its-client"]], {**self.env, "LAMBDA_CLOUD_BASE_URL": server.url(), "LAMBDA_CLOUD_TOKEN": server.key}
        if name == "replicate":  # predictions require a finished training
            server.trainings["done"] = {"id": "done", "trained": VERSION, "status": "succeeded", "rows": [("refund", "billing")], "destination": "me/router"}
        program = WAITS[name] % {"token": token, "api": settings["api"], "version": VERSION} if name != "modal" else WAITS[name]
        return key, server, [[self.args.clients, "-c", program]], {**self.env, **(modal_env(server) if name == "modal" else {})}

    def watch(self, name, by_client):
        creates, server, commands, env = self.polling(name, by_client)
        begun, seen = self.counting(server, creates)
        for command in commands:
            process = subprocess.Popen(command, env=env, cwd=self.dir, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
            while process.poll() is None and (not begun or time.monotonic() - begun[0] < 120):
                server.server.over.wait(0.2)
        minutes = [sum(60 * i <= at < 60 * i + 60 for at in seen) for i in range(2)]
        if process.poll() is not None or not begun:
            sys.exit("bench: %s did not wait\n%s" % (" ".join(commands[-1])[:300], process.stdout.read().decode()))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        server.close()
        return minutes

    def polls(self):
        with open(os.path.join(self.dir, "rows.jsonl"), "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in tickets(160))
        found, threads = {}, []
        for name in ("lambda", "runpod", "modal", "together", "replicate"):
            for by_client in (False, True)[:2 if name in (*WAITS, "lambda") else 1]:
                thread = threading.Thread(target=lambda n=name, c=by_client: found.__setitem__((n, c), self.watch(n, c)))
                thread.start()
                threads.append(thread)
        for thread in threads:
            thread.join()
        if len(found) < len(threads):
            sys.exit("bench: %d of %d did not wait" % (len(threads) - len(found), len(threads)))
        rows = [(name, *("%d, then %d" % tuple(found[name, by]) if (name, by) in found else "does not wait" for by in (False, True)))
                for name in dict.fromkeys(name for name, _ in found)]
        table("Requests in the first and in the second minute after the creation of what does not get on", ["provider", "kolm", "its client"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kolm", required=True)
    parser.add_argument("--clients", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=("ask", "first", "memory", "polls"))
    args = parser.parse_args()
    args.kolm = os.path.abspath(args.kolm)
    os.umask(0o022)
    bench = Bench(args)
    try:
        for name in ("ask", "first", "memory", "polls"):
            if args.only in (None, name):
                getattr(bench, name)()
    finally:
        bench.close()


if __name__ == "__main__":
    main()
