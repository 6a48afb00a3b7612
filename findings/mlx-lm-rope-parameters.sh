#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# mlx-lm 0.32.2 with transformers 5.24.0, 2026-11-29: a Llama that transformers 5 saved turns its positions with another base in mlx-lm.
#
# One would guess: mlx-lm reads the base of the rotary embedding from config.json, or says that it cannot find it.
# What happens: transformers 5 writes it as rope_parameters.rope_theta; most of mlx-lm's models look for rope_theta alone and take their own
# default without it, 10000 for Llama. A model with 500000 (Llama 3 has that) is loaded, and computes other answers than in transformers.
#
# The output seen:
#   config.json: rope_theta absent, rope_parameters.rope_theta 500000.0
#   base of the rotary embedding in mlx-lm: 10000
#   with rope_theta written beside it: 500000.0
#
# Needs python3 with venv, the network, and glibc 2.35 or a Mac.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --retries 1 --timeout 30 "mlx[cpu]==0.32.4" mlx-lm==0.32.2 transformers==5.24.0 >pip.log 2>&1 ||
    { cat pip.log >&2; exit 1; }
cat >try.py <<'END'
import json
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten
from mlx_lm.models.llama import Model, ModelArgs
from mlx_lm.utils import load_model
from transformers import LlamaConfig

LlamaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            rope_parameters={"rope_type": "default", "rope_theta": 500000.0}).save_pretrained("base")
file = Path("base/config.json")
config = json.loads(file.read_text())
mx.save_safetensors("base/model.safetensors", dict(tree_flatten(Model(ModelArgs.from_dict(config)).parameters())))
base_of = lambda: load_model(Path("base"))[0].layers[0].self_attn.rope.base
first = base_of()
print("config.json: rope_theta", config.get("rope_theta", "absent") + ", rope_parameters.rope_theta", config["rope_parameters"]["rope_theta"])
print("base of the rotary embedding in mlx-lm:", first)
file.write_text(json.dumps({**config, "rope_theta": 500000.0}))
second = base_of()
print("with rope_theta written beside it:", second)
assert "rope_theta" not in config and first == 10000 and second == 500000
END
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python -W ignore try.py 2>errors || { cat errors >&2; exit 1; }
