# SPDX-License-Identifier: Apache-2.0
"""What the tests of the trainer on a language model share: the model, made once, and its data."""
import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

# All modules that a job imports, because jobs are forks and find them loaded.
import peft  # noqa: E402,F401
import tinybase  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, BertForSequenceClassification  # noqa: E402,F401
from transformers import LlamaForCausalLM  # noqa: E402,F401

from kolm_trainer.answer import Text, Trie  # noqa: E402

TEAMS = tinybase.rows(160, 11, tinybase.team)
MANY_TEAMS = tinybase.rows(480, 13, tinybase.team)
NEW_TEAMS = tinybase.rows(60, 12, tinybase.team)
QUICK = {"epochs": "1", "batch": "16", "rank": "4"}  # enough steps for tests that are not about accuracy


def warm():
    """Loads a model with an adapter, and asks it: the thousand patterns that transformers compiles for this, and the like, are found by
    all forks then. No gradients, because a process that has computed some cannot fork."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory, torch.inference_mode():
        tinybase.make_tokenizer(directory)
        tinybase.untrained(512, 64, 128).save_pretrained(directory)
        tokenizer = AutoTokenizer.from_pretrained(directory)
        model = peft.get_peft_model(AutoModelForCausalLM.from_pretrained(directory), peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"]))
        model.eval()(input_ids=torch.tensor([prompt_of(tokenizer, "refund")]))
    real.loaded()


def setUpModule():
    warm()
    real.Case.base = tempfile.mkdtemp(prefix="kolm-base-")
    unittest.addModuleCleanup(shutil.rmtree, real.Case.base, True)
    tinybase.base(real.Case.base)


def greedy(model, tokenizer, prompt, labels=None, most=24):
    """Returns what plain transformers generates for a prompt; if labels are given, the one that its logits prefer token by token."""
    trie = Trie([(label, tokenizer(label, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]) for label in labels]) \
        if labels else None
    text = Text(trie.root if trie else None, tokenizer.eos_token_id)
    ids = list(prompt)
    with torch.inference_mode():
        while not text.done and len(ids) < len(prompt) + most:
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1].float()
            ids.append(text.choose(lambda t: float(logits[t])) if trie else text.add(int(logits.argmax()), 0.0))
    return text.finish(tokenizer)[0]


def prompt_of(tokenizer, text, system=None):
    messages = ([{"role": "system", "content": system}] if system else []) + [{"role": "user", "content": text}]
    return tokenizer(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True), add_special_tokens=False)["input_ids"]
