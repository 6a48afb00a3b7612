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
        if isinstance(tokenizer.chat_template, dict) and "default" not in tokenizer.chat_template:
            raise TrainerError(INVALID_ARGUMENT, "the tokenizer of the base has several chat templates and none is its default: "
                               + ", ".join(sorted(tokenizer.chat_template)), "leave the one to use in chat_template.jinja")
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
    tokens from its start. labels[i]: its label's number, -1 where outputs are no labels. types: token type ids, parallel to
    ids, where the tokenizer gives other ones than zeros. too_long, empty: rows that were left out; longest: tokens of the
    longest row, left out or not."""

    def __init__(self):
        self.ids, self.starts = array.array("i"), array.array("q", [0])
        self.prompts, self.labels = array.array("i"), array.array("i")
        self.types = None
        self.too_long = self.empty = self.longest = 0
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

    def add_types(self, types):
        """The token types of the row that was added last; zeros are what a model takes anyway."""
        if self.types is None and any(types):
            self.types = array.array("b", bytes(self.starts[-2]))
        if self.types is not None:
            self.types.extend(types)

    def types_of(self, i):
        return self.types[self.starts[i]:self.starts[i + 1]]

    def fits(self, length, max_length):
        """Whether a row of so many tokens is taken; counts the one that is not."""
        self.longest = max(self.longest, length)
        self.too_long += length > max_length
        return length <= max_length


def _blocks(rows, size=512):
    block = []
    for row in rows:
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block


def encode_causal(rows, rendering, max_length, labels=None, most=None):
    """rows: (id, input, output). labels: {output: number}, where outputs are labels. most: tokens that the base can attend
    to, for the remedy. Rows that do not fit are left out and counted, never cut."""
    out = Rows()
    for block in _blocks(rows):
        inputs, outputs = [r[1] for r in block], [r[2] for r in block]
        for prompt, completion, text in zip(rendering.prompts(inputs), rendering.completions(inputs, outputs), outputs):
            if not text.strip():
                out.empty += 1
            elif out.fits(len(prompt) + len(completion), max_length):
                out.add(prompt, completion, (labels or {}).get(text, -1))
    _refuse_nothing(out, max_length, most or max_length)
    return out


def encode_classify(rows, tokenizer, labels, max_length, most=None):
    """labels: {output: number}. most: tokens that the base can attend to, for the remedy."""
    out = Rows()
    for block in _blocks(rows):
        found = tokenizer([r[1] for r in block], verbose=False)
        all_types = found.get("token_type_ids") or [()] * len(block)
        for ids, types, row in zip(found["input_ids"], all_types, block):
            if not row[2].strip():
                out.empty += 1
            elif out.fits(len(ids), max_length):
                out.add(ids, (), labels[row[2]])
                out.add_types(types)
                out.targets += 1
    _refuse_nothing(out, max_length, most or max_length)
    return out


def longer_remedy(longest, max_length, most):
    """What to do about rows that are left out: longest tokens in the longest, most is what the base can attend to."""
    shorten = "shorten the texts, split them into rows of their own, or give a base with a longer context"
    if max_length >= most:
        return f"the base reads no more than {most} tokens, and the longest row has {longest}: {shorten}"
    if longest <= most:
        return f"--set max_length={longest} takes them all"
    return f"--set max_length={most} takes all that the base can read; the longest row has {longest} tokens: for such rows, {shorten}"


def _refuse_nothing(rows, max_length, most):
    """A run in which every target was masked away ends with a loss of 0.0 and a useless model; here it does not begin."""
    if rows.targets > 0:
        return
    if rows.too_long:
        raise TrainerError(INVALID_ARGUMENT, f"no row is left: all {rows.too_long} are longer than {max_length} tokens",
                           longer_remedy(rows.longest, max_length, most))
    raise TrainerError(INVALID_ARGUMENT, "no row has an output: there is nothing to learn", "give each row an output that is not empty")
