#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PEFT 0.21.2 with transformers 5.24.0, 2026-11-29: LoRA on gate_proj, up_proj and down_proj adapts no linear layer of those names in DeepSeek-V3.
#
# One would guess: target_modules matches linear layers by the end of their names, in the first, dense block and in the shared experts of a model
# with experts as in any other.
# What happens: since transformers 5 has the routed experts of a block in one tensor, PEFT translates these three names to that tensor, for
# every type of model that is like Qwen2-MoE, and takes them out of target_modules. The routed experts get LoRA; the linear layers that still
# have the names, dense and shared ones, get none. An adapter with weights for them, made before, loads with a warning about other keys.
#
# The output seen:
#   llama: 2 linear layers named down_proj, 2 of them adapted
#   deepseek_v3: 2 linear layers named down_proj, 0 of them adapted
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
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM

sizes = dict(vocab_size=100, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4)
models = {"llama": LlamaForCausalLM(LlamaConfig(**sizes)),
          "deepseek_v3": DeepseekV3ForCausalLM(DeepseekV3Config(
              **sizes, first_k_dense_replace=1, moe_intermediate_size=16, n_routed_experts=4, num_experts_per_tok=2, n_group=1,
              topk_group=1, q_lora_rank=16, kv_lora_rank=16, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8))}
seen = {}
for name, model in models.items():
    linear = {n for n, m in model.named_modules() if n.endswith("down_proj") and isinstance(m, torch.nn.Linear)}
    tuned = get_peft_model(model, LoraConfig(target_modules=["gate_proj", "up_proj", "down_proj"]))
    adapted = {n.split(".lora_A")[0].removeprefix("base_model.model.") for n, _ in tuned.named_parameters() if ".lora_A." in n}
    seen[name] = (len(linear), len(adapted & linear))
    print(f"{name}: {len(linear)} linear layers named down_proj, {len(adapted & linear)} of them adapted")
assert seen == {"llama": (2, 2), "deepseek_v3": (2, 0)}
END
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python -W ignore try.py 2>errors || { cat errors >&2; exit 1; }
