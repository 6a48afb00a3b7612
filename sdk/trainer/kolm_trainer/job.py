# SPDX-License-Identifier: Apache-2.0
"""The job directory: job.json, the rows, and files that are written atomically (docs/job-protocol.md)."""

import hashlib
import json
import os

from .encode import question_of
from .errors import DATA_LOSS, INVALID_ARGUMENT, NOT_FOUND, TrainerError
from .options import Options

# What job.json may contain: the type of each value, and the allowed values where there are only a few.
_KINDS = {"format": int, "kind": str, "task": str, "recipe": str, "seed": int, "effort": str, "labels": int, "options": dict,
          "model_files": list}
_VALUES = {"format": (1,), "effort": ("quick", "normal", "high")}
_OPTION_KINDS = {"base": dict, "trainer": dict, "abstain_micro": int, "class_weight": str}
_BASE_KINDS = {"path": str, "name": str, "digest": str}
_FILE_KINDS = {"name": str, "path": str, "offset": int, "size": int}


def _fits(value, kind):
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


class Job:
    def __init__(self, directory):
        self.directory = os.path.abspath(directory)
        self.raw = self._read("job.json")
        self._check()
        options = self.raw.get("options", {})
        base = options.get("base", {})
        self.kind = self.raw.get("kind")
        self.seed = self.raw.get("seed", 0)
        self.effort = self.raw.get("effort", "normal")
        self.labels = self.raw.get("labels", 0)
        self.base_path, self.base_name, self.base_digest = base.get("path"), base.get("name"), base.get("digest")
        self.abstain = options.get("abstain_micro", 0) / 1e6
        self.target_accuracy = options.get("target_accuracy_micro", 0) / 1e6
        self.balanced = options.get("class_weight", "none") == "balanced"
        self.options = Options(options.get("trainer", {}))
        if not self.base_path:
            raise TrainerError(INVALID_ARGUMENT, "job.json has no base model", "pass --base DIR")

    def _read(self, name):
        try:
            with open(self.path(name), encoding="utf-8") as file:
                value = json.load(file)
        except OSError as e:
            raise TrainerError(NOT_FOUND, f"cannot read {self.path(name)}: {e.strerror}", "run the same command again") from None
        except (ValueError, RecursionError) as e:
            raise TrainerError(DATA_LOSS, f"{self.path(name)}: {e}", "run the same command again") from None
        if not isinstance(value, dict):
            raise TrainerError(DATA_LOSS, f"{self.path(name)} is not an object", "run the same command again")
        return value

    def _check(self):
        """Checks the types of all values that are present, so that no other code has to."""
        self._kinds(self.raw, _KINDS, "")
        options = self.raw.get("options", {})
        self._kinds(options, _OPTION_KINDS, "options.")
        self._kinds(options.get("base", {}), _BASE_KINDS, "options.base.")
        for at, file in enumerate(self.raw.get("model_files", [])):
            where = f"model_files[{at}]"
            if not isinstance(file, dict) or not _FILE_KINDS.keys() <= file.keys():
                raise self._defect(where)
            self._kinds(file, _FILE_KINDS, where + ".")
        for key, allowed in _VALUES.items():
            if key in self.raw and self.raw[key] not in allowed:
                raise self._defect(key)
        if options.get("class_weight", "none") not in ("none", "balanced"):
            raise self._defect("options.class_weight")

    def _kinds(self, values, kinds, where):
        for key in sorted(kinds.keys() & values.keys()):
            if not _fits(values[key], kinds[key]):
                raise self._defect(where + key)

    def _defect(self, where):
        return TrainerError(DATA_LOSS, f"{self.path('job.json')}: {where} is not supported by this trainer",
                            "use kolm and the trainer of the same release")

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def rows(self):
        """Yields (id, input, output) of the rows of train.jsonl; the input is a Question if it is more than a text."""
        with open(self.path("train.jsonl"), "rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    values = row["id"], question_of(row, True), row["output"]
                    if not all(isinstance(value, str) for value in values):
                        raise TypeError
                except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                    raise TrainerError(DATA_LOSS, f"{self.path('train.jsonl')}, line {number} is not a row",
                                       "run the same command again") from None
                yield values

    def model_file(self, name):
        """Returns the bytes of a model file of an infer job."""
        for file in self.raw.get("model_files", []):
            if file["name"] == name:
                with open(file["path"], "rb") as stream:
                    stream.seek(file["offset"])
                    data = stream.read(file["size"])
                if len(data) != file["size"]:
                    raise TrainerError(DATA_LOSS, f"{file['path']} ends inside {name}", "download the artifact again")
                return data
        raise TrainerError(NOT_FOUND, f"the artifact has no {name}", "download the artifact again, or compile it again")

    def fingerprint(self, *more):
        """Identifies a job by its result: two with the same fingerprint make the same model, so that one may continue from the
        checkpoint of the other."""
        digest = hashlib.sha256()
        with open(self.path("train.jsonl"), "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        asked = {key: self.raw.get(key) for key in ("task", "recipe", "seed", "effort", "labels")}
        asked["options"] = {k: v for k, v in self.raw.get("options", {}).items() if k != "base"}
        asked["base"] = self.base_digest
        digest.update(json.dumps([asked, *more], sort_keys=True).encode())
        return digest.hexdigest()


def write_json(path, value):
    """Writes a JSON file atomically, with sorted keys, so that equal values give equal bytes."""
    write_bytes(path, (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1) + "\n").encode())


def write_bytes(path, data):
    temporary = path + ".tmp"
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
