#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# transformers 5.24.0 with PEFT 0.21.2, 2026-11-29: from_pretrained on a whole model gives other answers when an adapter lies in its directory.
#
# One would guess: a directory with config.json and model.safetensors is that model. An adapter that was saved into it, too, is PEFT's affair,
# and is put on the model by whoever asks PEFT for it.
# What happens: AutoModelForCausalLM finds adapter_config.json and puts the adapter on the model, without a word and without a wrapper that
# shows it. The same call in an environment without PEFT loads the plain model. PeftModel.from_pretrained on the result adds its own
# adapter to one that is there.
#
# The output seen:
#   layers of LoRA in a plain from_pretrained: 0, with the adapter beside: 2
#   class: LlamaForCausalLM, the same logits: False
#
# Needs python3 with venv and the network.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q --retries 1 --timeout 30 --extra-index-url https://download.pytorch.org/whl/cpu \
    torch==2.13.0 transformers==5.24.0 peft==0.21.2 >pip.log 2>&1 ||
    { cat pip.log >&2; exit 1; }
cat >try.py <<'END'
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

torch.manual_seed(1)
LlamaForCausalLM(LlamaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                             intermediate_size=64)).save_pretrained("model")
ids = torch.arange(10)[None]


def load():
    model = AutoModelForCausalLM.from_pretrained("model").eval()
    with torch.inference_mode():
        return type(model).__name__, sum(name.endswith("lora_A") for name, _ in model.named_modules()), model(input_ids=ids).logits


_, before, plain = load()
config = LoraConfig(target_modules=["q_proj"], init_lora_weights=False)  # as if it had been trained
get_peft_model(AutoModelForCausalLM.from_pretrained("model"), config).save_pretrained("model")
name, after, logits = load()
print(f"layers of LoRA in a plain from_pretrained: {before}, with the adapter beside: {after}")
print(f"class: {name}, the same logits: {torch.allclose(plain, logits, atol=1e-3)}")
assert (before, after, name) == (0, 2, "LlamaForCausalLM") and not torch.allclose(plain, logits, atol=1e-3)
END
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python -W ignore try.py 2>errors || { cat errors >&2; exit 1; }
