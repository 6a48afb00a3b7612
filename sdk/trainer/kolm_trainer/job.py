# SPDX-License-Identifier: Apache-2.0
"""The job directory: job.json, the rows, and the files that are whole or absent (docs/job-protocol.md)."""

import hashlib
import json
import os

from .errors import DATA_LOSS, INVALID_ARGUMENT, NOT_FOUND, TrainerError
from .options import Options


class Job:
    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.raw = self._read("job.json")
        options = self.raw.get("options") or {}
        base = options.get("base") or {}
        self.kind = self.raw.get("kind")
        self.seed = self.raw.get("seed", 0)
        self.effort = self.raw.get("effort", "normal")
        self.labels = self.raw.get("labels", 0)
        self.base_path, self.base_name, self.base_digest = base.get("path"), base.get("name"), base.get("digest")
        self.abstain = options.get("abstain_micro", 0) / 1e6
        self.options = Options(options.get("trainer") or {})
        if not self.base_path:
            raise TrainerError(INVALID_ARGUMENT, "job.json names no base model", "pass --base DIR")

    def _read(self, name):
        try:
            with open(self.path(name), encoding="utf-8") as file:
                value = json.load(file)
        except OSError as e:
            raise TrainerError(NOT_FOUND, f"cannot read {self.path(name)}: {e.strerror}", "start the job again") from None
        except ValueError as e:
            raise TrainerError(DATA_LOSS, f"{self.path(name)}: {e}", "start the job again") from None
        if not isinstance(value, dict):
            raise TrainerError(DATA_LOSS, f"{self.path(name)} is not an object", "start the job again")
        return value

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def rows(self):
        """(id, input, output) of train.jsonl, one at a time."""
        with open(self.path("train.jsonl"), encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    yield row["id"], row["input"], row["output"]
                except (ValueError, KeyError, TypeError):
                    raise TrainerError(DATA_LOSS, f"{self.path('train.jsonl')}, line {number} is not a row",
                                       "start the job again") from None

    def model_file(self, name):
        """The bytes of a model file of an infer job."""
        for file in self.raw.get("model_files", []):
            if file.get("name") == name:
                with open(file["path"], "rb") as stream:
                    stream.seek(file["offset"])
                    data = stream.read(file["size"])
                if len(data) != file["size"]:
                    raise TrainerError(DATA_LOSS, f"{file['path']} ends inside {name}", "get the artifact again")
                return data
        raise TrainerError(NOT_FOUND, f"the artifact has no {name}", "get the artifact again, or compile it anew")

    def fingerprint(self, *more):
        """Tells jobs apart: two with the same fingerprint make the same model, so one may go on from the other's checkpoint."""
        digest = hashlib.sha256()
        with open(self.path("train.jsonl"), "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        asked = {key: self.raw.get(key) for key in ("task", "recipe", "seed", "effort", "labels")}
        asked["options"] = {k: v for k, v in (self.raw.get("options") or {}).items() if k != "base"}
        asked["base"] = self.base_digest
        digest.update(json.dumps([asked, *more], sort_keys=True).encode())
        return digest.hexdigest()


def write_json(path, value):
    """Whole or absent, keys sorted: the same value is the same bytes."""
    write_bytes(path, (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode())


def write_bytes(path, data):
    temporary = path + ".tmp"
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
