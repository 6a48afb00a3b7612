#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PEFT 0.21.2 with transformers 5.24.0, 2026-11-29: an adapter of a BERT that was published without a pooler answers otherwise each time it is loaded.
#
# One would guess: task_type="SEQ_CLS" stores with the adapter whatever the base lacks for that task; it does so with the classifier, unasked.
# What happens: the modules stored are those whose names end with "classifier" or "score". A BERT with a masked-language head has no pooler in
# its files, so transformers draws one, between the encoder and the classifier; it is neither trained nor stored, and drawn anew by
# whoever loads base and adapter. DeBERTa's pooler, ModernBERT's and EuroBERT's heads and XLNet's summary are such modules, too.
#
# The output seen:
#   stored beside LoRA: classifier.bias classifier.weight
#   right answers as trained: 32 of 32
#   some probability is another one by more than 0.2 when loaded: True
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
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, BertConfig, BertForMaskedLM

torch.manual_seed(0)
config = BertConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
BertForMaskedLM(config).save_pretrained("base")


def load(seed):
    torch.manual_seed(seed)
    return AutoModelForSequenceClassification.from_pretrained("base", num_labels=2)


model = get_peft_model(load(1), LoraConfig(task_type="SEQ_CLS", target_modules=["query", "value"]))
ids, wanted = torch.randint(100, (32, 12)), torch.randint(2, (32,))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-2)
for _ in range(60):
    model(input_ids=ids, labels=wanted).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
model.eval().save_pretrained("adapter")
with torch.inference_mode():
    kept = model(input_ids=ids).logits.softmax(-1)
    loaded = PeftModel.from_pretrained(load(2), "adapter").eval()(input_ids=ids).logits.softmax(-1)
whole = sorted(n.removeprefix("base_model.model.") for n in load_file("adapter/adapter_model.safetensors") if "lora_" not in n)
right, moved = int((kept.argmax(-1) == wanted).sum()), bool((kept - loaded).abs().max() > 0.2)
print("stored beside LoRA:", *whole)
print("right answers as trained:", right, "of 32")
print("some probability is another one by more than 0.2 when loaded:", moved)
assert whole == ["classifier.bias", "classifier.weight"] and right == 32 and moved
END
TRANSFORMERS_VERBOSITY=error HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python -W ignore try.py 2>errors || { cat errors >&2; exit 1; }
