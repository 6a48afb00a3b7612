# SPDX-License-Identifier: Apache-2.0
"""Rows as token ids: prompts rendered by the base's own chat template, targets marked, long rows counted."""

import array

from .errors import INVALID_ARGUMENT, TrainerError


class Rendering:
    """How an input becomes a prompt. Stored in the artifact, so that serving renders as training did."""

    def __init__(self, tokenizer, template, system):
        """template: "chat" or "plain"."""
        self.tokenizer, self.template, self.system = tokenizer, template, system

    @classmethod
    def choose(cls, tokenizer, asked, system):
        if asked == "plain":
            if system:
                raise TrainerError(INVALID_ARGUMENT, "a system message needs a chat template", "leave out system, or template=plain")
            return cls(tokenizer, "plain", "")
        if not tokenizer.chat_template:
            raise TrainerError(INVALID_ARGUMENT, "the tokenizer of the base has no chat template",
                               "give the chat (instruct) version of the base; or --set template=plain, for the input, a line end and the output")
        if not isinstance(tokenizer.chat_template, str):
            raise TrainerError(INVALID_ARGUMENT, "the tokenizer of the base has several chat templates",
                               "leave the one to use in chat_template.jinja")
        return cls(tokenizer, "chat", system)

    def _messages(self, text):
        return ([{"role": "system", "content": self.system}] if self.system else []) + [{"role": "user", "content": text}]

    def prompts(self, inputs):
        """Token ids of what comes before the answers; the same for training and for answering."""
        if self.template == "plain":
            return self.tokenizer([text + "\n" for text in inputs], add_special_tokens=True, verbose=False)["input_ids"]
        texts = [self.tokenizer.apply_chat_template(self._messages(t), tokenize=False, add_generation_prompt=True)
                 for t in inputs]
        return self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

    def completions(self, inputs, outputs):
        """Token ids of the answers, with whatever the template closes a turn with."""
        if self.template == "plain":
            texts = list(outputs)
        else:
            texts = [self._closed(i, o) for i, o in zip(inputs, outputs)]
        ids = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [row if row and row[-1] == end else row + [end] for row in ids]

    def _closed(self, text, output):
        """The answer as the template writes it after the prompt, up to the end of the turn."""
        before = self.tokenizer.apply_chat_template(self._messages(text), tokenize=False, add_generation_prompt=True)
        whole = self.tokenizer.apply_chat_template(self._messages(text) + [{"role": "assistant", "content": output}],
                                                   tokenize=False)
        return whole[len(before):].rstrip("\n") if whole.startswith(before) else output


class Rows:
    """Encoded rows in two flat arrays: a row costs its tokens, four bytes each, and little more.

    ids: prompt and completion of all rows. starts[i]..starts[i+1]: row i. prompts[i]: where its targets begin, counted in
    tokens from its start. labels[i]: for classification. too_long, empty: rows that were left out."""

    def __init__(self):
        self.ids, self.starts = array.array("i"), array.array("q", [0])
        self.prompts, self.labels = array.array("i"), array.array("i")
        self.too_long = self.empty = 0
        self.targets = self.longest_completion = 0

    def add(self, prompt, completion, label):
        self.ids.extend(prompt)
        self.ids.extend(completion)
        self.starts.append(len(self.ids))
        self.prompts.append(len(prompt))
        self.labels.append(label)
        self.targets += len(completion)
        self.longest_completion = max(self.longest_completion, len(completion))

    def __len__(self):
        return len(self.prompts)

    def length(self, i):
        return self.starts[i + 1] - self.starts[i]

    def tokens(self, i):
        return self.ids[self.starts[i]:self.starts[i + 1]]


def _blocks(rows, size=512):
    block = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def encode_causal(rows, rendering, max_length):
    """rows: (id, input, output). Rows that do not fit are left out and counted, never cut."""
    out = Rows()
    for block in _blocks(rows):
        inputs, outputs = [r[1] for r in block], [r[2] for r in block]
        for prompt, completion, text in zip(rendering.prompts(inputs), rendering.completions(inputs, outputs), outputs):
            if not text.strip():
                out.empty += 1
            elif len(prompt) + len(completion) > max_length:
                out.too_long += 1
            else:
                out.add(prompt, completion, -1)
    _refuse_nothing(out, max_length)
    return out


def encode_classify(rows, tokenizer, labels, max_length):
    """labels: {output: number}."""
    out = Rows()
    for block in _blocks(rows):
        for ids, row in zip(tokenizer([r[1] for r in block], verbose=False)["input_ids"], block):
            if not row[2].strip():
                out.empty += 1
            elif len(ids) > max_length:
                out.too_long += 1
            else:
                out.add(ids, (), labels[row[2]])
                out.targets += 1
    _refuse_nothing(out, max_length)
    return out


def _refuse_nothing(rows, max_length):
    """A run in which every target was masked away ends with a loss of 0.0 and a useless model; here it does not begin."""
    if rows.targets > 0:
        return
    if rows.too_long:
        raise TrainerError(INVALID_ARGUMENT, f"no row is left: all {rows.too_long} are longer than {max_length} tokens",
                           "--set max_length=N (up to the context of the base), or shorter inputs")
    raise TrainerError(INVALID_ARGUMENT, "no row has an output: there is nothing to learn", "give each row an output that is not empty")
