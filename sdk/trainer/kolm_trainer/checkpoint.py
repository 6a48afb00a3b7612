# SPDX-License-Identifier: Apache-2.0
"""Checkpoints. Each is one safetensors file, replaced atomically."""

import json
import os
import shutil

_NAME = "state.safetensors"


def save(directory, fingerprint, state, tensors):
    """state: a JSON value. tensors: {name: tensor}."""
    from safetensors.torch import save_file

    os.makedirs(directory, exist_ok=True)
    path = os.path.join(directory, _NAME)
    packed = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    save_file(packed, path + ".tmp", metadata={"fingerprint": fingerprint, "state": json.dumps(state)})
    with open(path + ".tmp", "rb") as file:
        os.fsync(file.fileno())
    os.replace(path + ".tmp", path)


def load(directory, fingerprint):
    """Returns (state, tensors), or None if there is no readable checkpoint of this job."""
    from safetensors import SafetensorError, safe_open

    path = os.path.join(directory, _NAME)
    if not os.path.exists(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                return None
            return json.loads(metadata["state"]), {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError, KeyError):
        return None


def remove(directory):
    """Removes the directory, because a writer that was killed may have left a temporary file in it."""
    shutil.rmtree(directory, ignore_errors=True)
