# SPDX-License-Identifier: Apache-2.0
"""A contract server of Together AI's fine-tuning and chat, as its client 3.1.1 uses it: files, prices, jobs, events, downloads, answers."""
import hashlib
import io
import json
import math
import re
import tarfile

from provider import Provider, Refused, multipart, nearest_answer, read_json, stamp, without_token

MODELS = {"meta-llama/Meta-Llama-3.1-8B-Instruct-Reference": 0.48, "Qwen/Qwen3-0.6B": 0.48}  # dollars per million tokens
FINAL = ("completed", "cancelled", "error", "user_error")
# how long a job stays in each state, in seconds
STAGES = (("pending", 30), ("queued", 60), ("running", 300), ("compressing", 30), ("uploading", 30))


def zstd_of(data):
    """Returns a Zstandard frame (RFC 8878) of raw blocks, which needs no compression library."""
    frame = bytes.fromhex("28b52ffd") + b"\xe0" + len(data).to_bytes(8, "little")  # single segment, content size of 8 bytes
    pieces = [data[at:at + 65536] for at in range(0, len(data), 65536)] or [b""]
    for number, piece in enumerate(pieces):
        frame += ((len(piece) << 3) | (number == len(pieces) - 1)).to_bytes(3, "little") + piece
    return frame


def adapter_archive(job):
    """Returns the download of a finished job: an adapter in PEFT's layout, without usable weights."""
    out = io.BytesIO()
    config = json.dumps({"peft_type": "LORA", "base_model_name_or_path": job["model"], "r": job["training_type"]["lora_r"]}).encode()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("adapter_config.json", config), ("adapter_model.safetensors", (2).to_bytes(8, "little") + b"{}")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return zstd_of(out.getvalue())


def check_rows(content):
    """Returns (error or None, rows): what the server's own validation accepts."""
    rows = []
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return "the file is not UTF-8", rows
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            return "line %d is not JSON" % number, rows
        messages = row.get("messages") if isinstance(row, dict) else None
        if not isinstance(messages, list) or set(row) != {"messages"} or len(messages) < 2:
            return "line %d has no messages" % number, rows
        roles = [message.get("role") for message in messages]
        if roles[0] == "system":
            roles = roles[1:]
        if roles != [("user", "assistant")[at % 2] for at in range(len(roles))] or roles[-1] != "assistant":
            return "line %d: roles must alternate between user and assistant" % number, rows
        if not all(isinstance(message.get("content"), str) and message["content"] for message in messages):
            return "line %d has a message without content" % number, rows
        rows.append((messages[-2]["content"], messages[-1]["content"]))
    return (None if rows else "the file is empty"), rows


class Together(Provider):
    def __init__(self, **more):
        self.kept, self.rises = {}, 1.0  # deleted files; the factor by which the bill exceeds the estimate
        self.files, self.jobs, self.limit, self.credit, self.scopes = {}, {}, 100.0, True, {"files", "fine-tunes", "chat"}
        self.deployed = True  # whether its chat serves a trained model without an endpoint
        self.stuck = self.deaf = None  # a state that jobs do not leave; jobs ignore cancel
        self.hide = 0.0  # seconds for which a new job is not listed
        self.strange = None  # a word that replaces the state
        super().__init__(**more)

    def error(self, status, message, **more):
        kinds = {401: "invalid_request_error", 402: "credit_limit", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_exceeded"}
        return {"error": {"message": message, "type": more.get("type", kinds.get(status, "invalid_request_error" if status < 500 else "server_error")),
                          "param": more.get("param"), "code": more.get("code")}}

    def refuse(self, status, message, **more):
        raise Refused(status, self.error(status, message, **more))

    def authorise(self, request):
        given = request.headers.get("authorization", "")
        if not given:
            self.refuse(401, "Missing API key", code="missing_api_key")
        if given != "Bearer " + self.token:
            # a provider may unwisely repeat what it was given
            self.refuse(401, "Invalid API key provided: %s" % given.rpartition(" ")[2], code="invalid_api_key")

    def scope(self, name):
        if name not in self.scopes:
            self.refuse(403, "This API key has no access to %s" % name, code="insufficient_scope")

    def routes(self):
        v = "(?:/v1)?"
        return [
            ("POST", v + "/files", self.file_begin), ("PUT", "/storage/([0-9a-f]+)", self.file_bytes), ("POST", v + "/files/([^/]+)/preprocess", self.file_check),
            ("GET", v + "/files", self.file_list), ("GET", v + "/files/([^/]+)", self.file_get), ("DELETE", v + "/files/([^/]+)", self.file_delete),
            ("GET", v + "/files/([^/]+)/content", self.file_content),
            ("GET", v + "/fine-tunes/models/limits", self.limits), ("GET", v + "/fine-tunes/models/supported", lambda request: (200, {"models": sorted(MODELS)})),
            ("POST", v + "/fine-tunes/estimate-price", self.estimate), ("POST", v + "/fine-tunes", self.job_create), ("GET", v + "/fine-tunes", self.job_list),
            ("GET", v + "/fine-tunes/([^/]+)", self.job_get), ("POST", v + "/fine-tunes/([^/]+)/cancel", self.job_cancel), ("DELETE", v + "/fine-tunes/([^/]+)", self.job_delete),
            ("GET", v + "/fine-tunes/([^/]+)/events", self.job_events), ("GET", v + "/fine-tunes/([^/]+)/checkpoints", lambda request, job: (200, {"data": []})),
            ("GET", v + "/fine-tunes/([^/]+)/metrics", lambda request, job: (200, {"data": []})),
            ("GET", v + "/finetune/download", self.download), ("POST", v + "/chat/completions", self.chat),
            ("GET", v + "/models", lambda request: (200, [{"id": name, "object": "model"} for name in sorted(MODELS)])),
        ]

    # ---- files

    def describe_file(self, file):
        state = "PENDING"
        if file["checked"]:
            state = "RUNNING" if self.now < file["checked"] + 60 else ("COMPLETED" if file["error"] is None else "INVALID_FORMAT")
        reply = {"id": file["id"], "object": "file", "created_at": int(file["born"]), "filename": file["name"], "bytes": len(file["content"] or b""), "purpose": "fine-tune", "FileType": "jsonl",
                 "processing_status": state}
        if state in ("COMPLETED", "INVALID_FORMAT"):
            reply["validation_report"] = {"valid": file["error"] is None, "file_id": file["id"], "nlines": len(file["rows"]), "dataset_format": "CONVERSATION"}
            if file["error"] is not None:
                reply["validation_report"].update(error=file["error"], error_type="INVALID_FORMAT")
        return reply

    def file_begin(self, request):
        self.scope("files")
        if not self.credit:
            self.refuse(401, "This would exceed your free trial credits", code="credits")
        fields = {name: content.decode() for name, (_, content) in multipart(request).items()}
        if fields.get("purpose") != "fine-tune" or fields.get("file_type") != "jsonl" or not fields.get("file_name", "").endswith(".jsonl"):
            self.refuse(400, "purpose, file_type and file_name must fit each other")
        if not re.fullmatch("[0-9a-f]{64}", fields.get("checksum", "")):
            self.refuse(400, "checksum must be a SHA-256 in hex", param="checksum")
        for file in self.files.values():
            if file["sum"] == fields["checksum"] and file["content"] is not None:
                raise Refused(409, {"file_id": file["id"]})
        number = len(self.taken)
        file = {"id": "file-%08d-0000-4000-8000-000000000000" % number, "name": fields["file_name"], "sum": fields["checksum"], "content": None, "born": self.now,
                "checked": None, "error": None, "rows": [], "secret": hashlib.sha256(b"%d" % number).hexdigest()}
        self.files[file["id"]] = file
        return 302, b"", (("Location", self.server.url("/storage/%s?X-Amz-Signature=%s" % (file["secret"], file["secret"][:16]))), ("X-Together-File-Id", file["id"]))

    @without_token
    def file_bytes(self, request, secret):
        file = next((file for file in self.files.values() if file["secret"] == secret), None)
        if file is None or "content-length" not in request.headers:
            return 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>"
        if hashlib.sha256(request.body).hexdigest() != file["sum"]:
            return 400, b"<Error><Code>BadDigest</Code></Error>"
        file["content"] = request.body
        return 200, b""

    def one_file(self, name):
        if name not in self.files:
            self.refuse(404, "file not found", code="file_not_found")
        return self.files[name]

    def file_check(self, request, name):
        file = self.one_file(name)
        if request.body:
            self.refuse(400, "no body is expected")
        if file["content"] is None:
            self.refuse(400, "the file was not uploaded")
        file["checked"] = file["checked"] or self.now
        file["error"], file["rows"] = check_rows(file["content"])
        return 200, self.describe_file(file)

    def file_list(self, request):
        self.scope("files")
        return 200, {"data": [self.describe_file(file) for file in self.files.values()]}

    def file_get(self, request, name):
        return 200, self.describe_file(self.one_file(name))

    def file_content(self, request, name):
        return 200, self.one_file(name)["content"] or b""

    def file_delete(self, request, name):
        self.kept[name] = self.one_file(name)
        del self.files[name]
        return 200, {"id": name, "deleted": True}

    # ---- prices

    def limits(self, request):
        match = re.search(r"model_name=([^&]+)", request.target)
        name = match.group(1).replace("%2F", "/") if match else ""
        if name not in MODELS:
            self.refuse(404, "Model %s is not supported for fine-tuning" % name, code="model_not_supported")
        lora = {"default_rank": 64, "default_alpha": 128, "max_rank": 64, "min_batch_size": 8, "max_batch_size": 64, "max_batch_size_dpo": 32, "target_modules": ["q_proj", "v_proj"]}
        return 200, {"model_name": name, "lora_training": lora, "full_training": None, "max_num_epochs": 20, "max_num_evals": 100, "max_learning_rate": 1.0, "min_learning_rate": 0.0,
                     "max_seq_length_sft": 32768, "max_seq_length_dpo": 16384, "merge_output_lora": True, "supports_full_training": False, "supports_reasoning": False, "supports_tools": True,
                     "supports_vision": False}

    def tokens(self, job):
        return len(self.files[job["training_file"]]["content"]) // 4 * job["n_epochs"]

    def dollars(self, job):
        return self.tokens(job) * MODELS[job["model"]] / 1e6

    def check_job(self, job):
        file = self.files.get(job.get("training_file"))
        if job.get("model") not in MODELS:
            self.refuse(400, "Model %s is not supported for fine-tuning" % job.get("model"), param="model", code="model_not_supported")
        if file is None:
            self.refuse(400, "training_file does not exist", param="training_file")
        epochs = job.setdefault("n_epochs", 1)
        if not isinstance(epochs, int) or not 1 <= epochs <= 20:
            self.refuse(400, "n_epochs must be 1 to 20", param="n_epochs")
        kind = job.get("training_type")
        if kind is None:
            kind = job["training_type"] = {"type": "Lora", "lora_r": 64, "lora_alpha": 128}  # its own choice
        if kind.get("type") != "Lora" or not isinstance(kind.get("lora_r"), int) or not 1 <= kind["lora_r"] <= 64:
            self.refuse(400, "training_type must be Lora with lora_r of 1 to 64", param="training_type")
        method = job.get("training_method", {"method": "sft"})
        if method.get("method") != "sft":
            self.refuse(400, "unknown training method", param="training_method")
        return file

    def estimate(self, request):
        job = read_json(request, self.error)
        file = self.check_job(job)
        state = self.describe_file(file)["processing_status"]
        if state != "COMPLETED":
            return 200, {"estimation_available": False, "unavailable_reason": "train_file_invalid" if state == "INVALID_FORMAT" else "train_file_not_validated"}
        price = self.dollars(job)
        return 200, {"estimation_available": True, "estimated_total_price": price, "allowed_to_proceed": price <= self.limit, "user_limit": self.limit,
                     "estimated_train_token_count": self.tokens(job), "estimated_eval_token_count": 0}

    # ---- jobs

    def progress(self, job):
        """Updates the job to the current time."""
        if job["status"] in FINAL:
            return
        if job["cancelled"] is not None and not self.deaf:
            job["status"] = "cancel_requested"
            if self.now >= job["cancelled"] + 60:
                job["status"] = "cancelled"
            return
        at = job["born"]
        for stage, lasts in STAGES:
            job["status"] = stage
            if stage == "running":
                share = min(1.0, max(0.0, (self.now - at) / lasts))
                job["price"] = job["estimate"] * share * self.rises
            at += lasts
            if self.now < at or self.stuck == stage:
                return
        job["status"] = "completed"

    def describe_job(self, job, whole=True):
        self.progress(job)
        reply = {key: job[key] for key in ("id", "model", "training_file", "suffix", "n_epochs", "training_type", "status")}
        reply.update(created_at=stamp(job["born"]), updated_at=stamp(self.now), total_price=int(job["price"] * 1e9), user_id="user_1", batch_size=job.get("batch_size"),
                     learning_rate=job.get("learning_rate"), token_count=job["tokens"], events=[])
        if self.strange:
            reply["status"] = self.strange
        if job["status"] == "completed":
            reply["model_output_name"] = job["output"]
        if whole:
            reply["events"] = self.events_of(job)
            reply["progress"] = {"estimate_available": False, "seconds_remaining": 0}
        return reply

    def events_of(self, job):
        reached = [stage for stage, _ in STAGES]
        if job["status"] in reached:
            reached = reached[:reached.index(job["status"]) + 1]
        elif job["status"] != "completed":
            reached = reached[:1]
        return [{"object": "fine-tune-event", "created_at": stamp(job["born"]), "level": "info", "message": "Job is %s" % stage, "type": "job_pending" if stage == "pending" else "training_start",
                 "param_count": 0, "token_count": 0, "total_steps": 0, "wandb_url": "", "step": 0, "checkpoint_path": "", "model_path": "", "training_offset": 0, "hash": ""} for stage in reached]

    def job_create(self, request):
        self.scope("fine-tunes")
        job = read_json(request, self.error)
        file = self.check_job(job)
        if self.describe_file(file)["processing_status"] != "COMPLETED":
            self.refuse(400, "training_file was not validated", param="training_file")
        rate, batch, suffix = job.get("learning_rate", 1e-5), job.get("batch_size", "max"), job.get("suffix") or ""
        if not isinstance(rate, (int, float)) or not 0 < rate <= 1:
            self.refuse(400, "learning_rate is out of range", param="learning_rate")
        if batch != "max" and not (isinstance(batch, int) and 8 <= batch <= 64):
            self.refuse(400, "batch_size must be 8 to 64, or max", param="batch_size")
        if len(suffix) > 40 or not re.fullmatch(r"[A-Za-z0-9._-]*", suffix):
            self.refuse(400, "suffix must have at most 40 characters", param="suffix")
        if not self.credit or self.dollars(job) > self.limit * 10:
            self.refuse(402, "Your account has no credit left", code="insufficient_credit")
        self.submits += 1
        number = len(self.jobs) + 1
        job.update(id="ft-%08d-0000" % number, status="pending", born=self.now, cancelled=None, price=0.0, estimate=self.dollars(job), tokens=self.tokens(job), suffix=suffix, rows=file["rows"],
                   output="me/%s-%s-%08x" % (job["model"].split("/")[1], suffix, number))
        self.jobs[job["id"]] = job
        return 200, self.describe_job(job, whole=False)

    def one_job(self, name):
        if name not in self.jobs:
            self.refuse(404, "fine-tune job not found", code="job_not_found")
        return self.jobs[name]

    def job_list(self, request):
        self.scope("fine-tunes")
        return 200, {"data": [self.describe_job(job, whole=False) for job in self.jobs.values() if self.now >= job["born"] + self.hide]}

    def job_get(self, request, name):
        return 200, self.describe_job(self.one_job(name))

    def job_events(self, request, name):
        job = self.one_job(name)
        self.progress(job)
        return 200, {"data": self.events_of(job)}

    def job_cancel(self, request, name):
        job = self.one_job(name)
        self.progress(job)
        if job["status"] in FINAL:
            self.refuse(400, "the job is %s" % job["status"], code="invalid_job_state")
        job["cancelled"] = job["cancelled"] if job["cancelled"] is not None else self.now
        return 200, self.describe_job(job, whole=False)

    def job_delete(self, request, name):
        job = self.one_job(name)
        self.progress(job)
        if job["status"] not in FINAL:
            self.refuse(400, "the job has not ended")
        del self.jobs[name]
        return 200, {"message": "deleted"}

    def download(self, request):
        query = dict(pair.partition("=")[::2] for pair in request.target.partition("?")[2].split("&"))
        job = self.one_job(query.get("ft_id", ""))
        self.progress(job)
        if job["status"] != "completed" or query.get("checkpoint", "merged") not in ("adapter", "merged", "model_output_path"):
            self.refuse(400, "there is nothing to download")
        data = adapter_archive(job)
        headers = [("Content-Type", "application/octet-stream"), ("ETag", '"%s"' % hashlib.md5(data).hexdigest()), ("Accept-Ranges", "bytes")]
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not match:
            return 200, data, headers
        first, last = int(match.group(1)), min(int(match.group(2) or len(data) - 1), len(data) - 1)
        if first > last:
            self.refuse(416, "no such range")
        return 206, data[first:last + 1], [*headers, ("Content-Range", "bytes %d-%d/%d" % (first, last, len(data)))]

    # ---- answers

    def chat(self, request):
        self.scope("chat")
        asked = read_json(request, self.error)
        job = next((job for job in self.jobs.values() if job["output"] == asked.get("model") and job["status"] == "completed"), None)
        if job is None or not self.deployed:
            self.refuse(404, "Unable to access model %s" % asked.get("model"), code="model_not_available")
        messages = asked.get("messages")
        if not isinstance(messages, list) or not messages or messages[-1].get("role") != "user":
            self.refuse(422, "messages must end with one of the user", param="messages")
        text, sure = nearest_answer(job["rows"], messages[-1]["content"])
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, "tool_calls": []}}
        if asked.get("logprobs"):
            choice["logprobs"] = {"tokens": [text], "token_logprobs": [math.log(min(max(sure, 1e-6), 0.999))], "token_ids": [1]}
        return 200, {"id": "chat-%d" % len(self.taken), "object": "chat.completion", "created": int(self.now), "model": asked["model"], "choices": [choice],
                     "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}}

    # ---- billing and storage

    def running(self):
        for job in self.jobs.values():
            self.progress(job)
        return [job["suffix"] for job in self.jobs.values() if job["status"] not in FINAL]

    def stored(self):
        return [file["name"] for file in self.files.values()]
