# SPDX-License-Identifier: Apache-2.0
"""The script that a competent user would write, with PEFT and the Trainer of transformers, for the rows of a job directory. The peer in
trainer.py. Prints one JSON object."""
import json
import os
import sys
import time

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import (AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, DataCollatorForSeq2Seq,  # noqa: E402
                          DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments)

job, base, threads, batch, epochs, rate = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6])
torch.set_num_threads(threads)
rows = [json.loads(line) for line in open(os.path.join(job, "train.jsonl"), encoding="utf-8")]
config = json.load(open(os.path.join(base, "config.json"), encoding="utf-8"))
tokenizer = AutoTokenizer.from_pretrained(base)
if config["model_type"] == "bert":
    labels = sorted({row["output"] for row in rows})
    number = {label: i for i, label in enumerate(labels)}
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
    encoded = [{**tokenizer(row["input"], truncation=True), "labels": number[row["output"]]} for row in rows]
    collator, task = DataCollatorWithPadding(tokenizer), "SEQ_CLS"
else:
    model = AutoModelForCausalLM.from_pretrained(base)
    encoded = []
    for row in rows:
        prompt = tokenizer(row["input"] + "\n")["input_ids"]
        answer = tokenizer(row["output"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
        encoded.append({"input_ids": prompt + answer, "attention_mask": [1] * len(prompt + answer),
                        "labels": [-100] * len(prompt) + answer})
    collator, task = DataCollatorForSeq2Seq(tokenizer, padding=True), "CAUSAL_LM"
model = get_peft_model(model, LoraConfig(task_type=task, r=16, lora_alpha=32, target_modules="all-linear"))


class First(TrainerCallback):
    told = False

    def on_step_end(self, *_arguments, **_more):
        if not First.told:
            print('{"phase":"training"}', flush=True)  # the bench waits for this line from both
        First.told = True


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return len(encoded)

    def __getitem__(self, index):
        return encoded[index]


out = os.path.join(job, "plain")
trainer = Trainer(model, TrainingArguments(out, per_device_train_batch_size=batch, num_train_epochs=epochs, learning_rate=rate,
                                           lr_scheduler_type="cosine", weight_decay=0.0, report_to=[], save_strategy="no",
                                           logging_strategy="no", disable_tqdm=True, use_cpu=True),
                  train_dataset=Rows(), data_collator=collator, callbacks=[First()])
start = time.time()
trainer.train()
loop = time.time() - start
model.save_pretrained(out)
tokens = sum(len(row["input_ids"]) for row in encoded) * epochs
print(json.dumps({"tokens_per_second": tokens / loop, "loop_seconds": loop}))
