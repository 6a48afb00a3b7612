# SPDX-License-Identifier: Apache-2.0
"""A language model made for the tests: trained from scratch, in seconds, to repeat the first word of a message."""
import fcntl
import hashlib
import importlib.metadata
import json
import os
import random
import shutil

NOUNS = ("invoice refund payment card parcel courier address delivery password login account email screen crash update "
         "battery colour size fabric price coupon basket").split()
FILLER = "please help my the is was again today since monday wrong late gone broken new old with and about from".split()
TEAMS = {"invoice": "billing", "refund": "billing", "payment": "billing", "card": "billing", "price": "billing", "coupon": "billing",
         "parcel": "shipping", "courier": "shipping", "address": "shipping", "delivery": "shipping", "basket": "shipping",
         "password": "access", "login": "access", "account": "access", "email": "access",
         "screen": "technical", "crash": "technical", "update": "technical", "battery": "technical",
         "colour": "product", "size": "product", "fabric": "product"}
# Turns of assistant and user end in the same way, and what the model writes after that does not matter.
CHAT = ("{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<end>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}")


def sentence(draw, first=None):
    words = [first or draw.choice(NOUNS)] + draw.choices(FILLER, k=draw.randint(2, 9))
    return " ".join(words)


def rows(count, seed, output):
    """Makes rows of a task: the input is a sentence, the output is output(its first word)."""
    draw, made = random.Random(seed), []
    for number in range(count):
        text = sentence(draw)
        made.append({"id": str(number), "input": text, "output": output(text.split()[0])})
    return made


def team(first):
    return TEAMS[first]


def about(first):
    return "it is about " + first


def make_tokenizer(directory, chat=CHAT):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<pad>", "<end>", "<user>", "<assistant>", "<system>"]
    trainer = trainers.BpeTrainer(vocab_size=512, special_tokens=special, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    draw = random.Random(1)
    texts = [sentence(draw) + " " + " ".join(draw.sample(sorted(set(TEAMS.values())), 2)) + " it is about" for _ in range(2000)]
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<end>",
                                   additional_special_tokens=special[2:])
    fast.chat_template = chat
    fast.save_pretrained(directory)
    return fast


def untrained(words, hidden, context):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(
        vocab_size=words, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=context, tie_word_embeddings=True, bos_token_id=None, eos_token_id=1,
        pad_token_id=0))


def make(directory, seed=7, steps=250, hidden=64, context=128):
    """Writes the files of the base. Deterministic on one machine."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokenizer = make_tokenizer(directory)
    model = untrained(len(tokenizer), hidden, context)
    draw = random.Random(seed)
    # The base must be able to say every word that a task needs, because LoRA does not change the embeddings.
    said = list(NOUNS) * 2 + sorted(set(TEAMS.values())) * 4 + ["it is about " + noun for noun in NOUNS]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-2 * min(1, (step + 1) / 20) * (1 - step / (steps + 1))
        texts = []
        for _ in range(16):
            first = draw.choice(said)
            texts.append(f"<user>{sentence(draw, first)}<end><assistant>{first}<end>")
        batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
        answer = (batch["input_ids"] == tokenizer.convert_tokens_to_ids("<assistant>")).cumsum(-1)
        wanted = batch["input_ids"].masked_fill((batch["attention_mask"] == 0) | (answer == 0), -100)
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(directory, safe_serialization=True)
    with open(os.path.join(directory, "made.json"), "w", encoding="utf-8") as file:
        json.dump({"loss": loss.item()}, file)


def base(directory):
    """Copies the base that make() makes by default to a directory: the first test makes it, the others wait for it.

    KOLM_TEST_KEPT, a directory of the build, has it, under the digest of everything that determines its bytes.
    """
    kept = os.environ.get("KOLM_TEST_KEPT")
    if not kept:
        make_apart(directory)
        return
    with open(__file__, "rb") as file:
        decides = file.read() + repr([importlib.metadata.version(name) for name in ("torch", "transformers", "tokenizers")]).encode()
    whole = os.path.join(kept, "base-" + hashlib.sha256(decides).hexdigest()[:16])
    with open(os.path.join(kept, "base.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(whole):
            shutil.rmtree(whole + ".partial", True)
            os.mkdir(whole + ".partial")
            make_apart(whole + ".partial")
            os.rename(whole + ".partial", whole)
    shutil.copytree(whole, directory, dirs_exist_ok=True)


def make_apart(directory):
    """In a separate process, because one that has computed gradients cannot fork."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            make(directory)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        raise AssertionError("the base could not be made")
