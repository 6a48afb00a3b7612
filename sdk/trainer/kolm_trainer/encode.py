# SPDX-License-Identifier: Apache-2.0
"""Rows as token ids: renders prompts with the chat template of the base, marks the targets, counts rows that are too long."""

import array
import json

from .errors import INVALID_ARGUMENT, TrainerError


class Question(str):
    """An input with more than a text: the messages before the answer, and the tools. As a str it is the text that is used
    instead if there is no chat template."""

    def __new__(cls, text, messages, tools=None):
        question = super().__new__(cls, text)
        question.messages, question.tools = messages, tools
        return question

    def shortened(self, share):
        """Returns a copy with its longest message truncated to that share."""
        longest = max(range(len(self.messages)), key=lambda i: len(self.messages[i]["content"]))
        messages = list(self.messages)
        content = messages[longest]["content"]
        messages[longest] = {**messages[longest], "content": content[:int(len(content) * share)]}
        # An empty text tells the caller that nothing is left to shorten.
        return Question(self if any(m["content"] for m in messages) else "", messages, self.tools)


def shortened(text, share):
    """Returns about this share of an input, from its beginning."""
    return text.shortened(share) if isinstance(text, Question) else text[:int(len(text) * share)]


def question_of(row, answered):
    """Returns the input of a row of a job: a str, or a Question. Raises ValueError if it is neither. answered: the last
    message is the answer, which is not part of the input."""
    text, messages, tools = row["input"], row.get("messages"), row.get("tools")
    if not isinstance(text, str):
        raise ValueError
    if messages is None:
        return text
    messages = messages[:-1] if answered and isinstance(messages, list) else messages
    whole = isinstance(messages, list) and messages and (tools is None or isinstance(tools, list)) and all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages)
    if not whole:
        raise ValueError
    return Question(text, messages, tools)


def _with_objects(call):
    """Returns a tool call as templates expect it: with its arguments as an object, not as the JSON text that OpenAI uses."""
    if not isinstance(call, dict) or not isinstance(call.get("function"), dict):
        return call
    arguments = call["function"].get("arguments")
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return call
    return {**call, "function": {**call["function"], "arguments": value}} if isinstance(value, dict) else call


def _is_in(text, rendered):
    """True if a template wrote the text: verbatim, without surrounding white space, or as JSON."""
    text = text.strip()
    return text in rendered or json.dumps(text, ensure_ascii=False)[1:-1] in rendered or json.dumps(text)[1:-1] in rendered


class Rendering:
    """How an input becomes a prompt. Stored in the artifact, so that inference renders inputs as training did."""

    def __init__(self, tokenizer, template, system):
        """template: "chat" or "plain"."""
        self.tokenizer, self.template, self.system = tokenizer, template, system

    @classmethod
    def choose(cls, tokenizer, asked, system):
        if asked == "plain":
            if system:
                raise TrainerError(INVALID_ARGUMENT, "a system message needs a chat template", "omit system, or template=plain")
            return cls(tokenizer, "plain", "")
        if not tokenizer.chat_template:
            raise TrainerError(INVALID_ARGUMENT, "the tokenizer of the base has no chat template",
                               "use the chat (instruct) version of the base; or --set template=plain, for the input, a newline and "
                               "the output")
        if isinstance(tokenizer.chat_template, dict) and "default" not in tokenizer.chat_template:
            raise TrainerError(INVALID_ARGUMENT, "the tokenizer of the base has several chat templates and no default: "
                               + ", ".join(sorted(tokenizer.chat_template)), "keep only the one to use, in chat_template.jinja")
        return cls(tokenizer, "chat", system)

    def _messages(self, text):
        """Returns the conversation before the answer, in the form that the template of the base expects."""
        if not isinstance(text, Question):
            return ([{"role": "system", "content": self.system}] if self.system else []) + [{"role": "user", "content": text}]
        messages = [dict(m) for m in text.messages]
        for message in messages:
            if message["role"] == "developer" and "developer" not in self.tokenizer.chat_template:
                message["role"] = "system"  # its older name
            if isinstance(message.get("tool_calls"), list):
                message["tool_calls"] = [_with_objects(call) for call in message["tool_calls"]]
        if self.system and messages[0]["role"] not in ("system", "developer"):
            messages.insert(0, {"role": "system", "content": self.system})
        return messages

    def _render(self, text, answer=None):
        """Returns the prompt as text, or, with an answer, the whole conversation."""
        messages = self._messages(text)
        more = {"tools": text.tools} if isinstance(text, Question) and text.tools else {}
        if answer is None:
            more["add_generation_prompt"] = True
        else:
            messages.append({"role": "assistant", "content": answer})
        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False, **more)
        except Exception as e:  # templates raise exceptions of their own, and fail in any other way
            roles = ", ".join(m["role"] for m in messages)
            why = (str(e).strip() or type(e).__name__).splitlines()[0]
            raise TrainerError(INVALID_ARGUMENT, f"the chat template of the base rejects a conversation of {roles}: {why}",
                               "use a base whose template supports these roles; or --set template=plain, for the text alone") from None

    def _check_whole(self, text, rendered):
        """Raises if the template left something out: templates silently omit what they do not support, and then the model
        would not be trained on it."""
        messages = self._messages(text)
        for message in messages if len(messages) > 1 else []:
            content = message["content"]
            if message["role"] == "assistant":  # some omit the reasoning before an earlier answer
                content = content.split("</think>")[-1]
            if not _is_in(content, rendered):
                raise TrainerError(INVALID_ARGUMENT, f"the chat template of the base omits the {message['role']} message",
                                   "use a base whose template supports that role; or --set template=plain, for the text alone")
        for tool in (text.tools or []) if isinstance(text, Question) else []:
            named = tool.get("function", tool) if isinstance(tool, dict) else {}
            name = named.get("name") if isinstance(named, dict) else None
            if isinstance(name, str) and not _is_in(name, rendered):
                raise TrainerError(INVALID_ARGUMENT, f"the chat template of the base omits the tool {name}",
                                   "use a base whose template supports tools, or rows without tools")

    def prompts(self, inputs):
        """Returns the token ids of the prompts; the same for training and for inference."""
        if self.template == "plain":
            return self.tokenizer([text + "\n" for text in inputs], add_special_tokens=True, verbose=False)["input_ids"]
        texts = [self._render(t) for t in inputs]
        return self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]

    def completions(self, inputs, outputs):
        """Returns the token ids of the answers, including what the template ends a turn with."""
        if self.template == "plain":
            texts = list(outputs)
        else:
            texts = [self._closed(i, o) for i, o in zip(inputs, outputs)]
        ids = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        end = self.tokenizer.eos_token_id
        return [row if row and row[-1] == end else row + [end] for row in ids]

    def _closed(self, text, output):
        """Returns the answer as the template writes it after the prompt, up to the end of the turn."""
        before = self._render(text)
        self._check_whole(text, before)
        whole = self._render(text, output)
        return whole[len(before):].rstrip("\n") if whole.startswith(before) else output


class Rows:
    """Encoded rows in flat arrays: each takes four bytes for a token, and little more.

    ids: prompts and completions of all rows. starts[i]..starts[i+1]: row i. prompts[i]: where its targets begin, in tokens
    from its start. labels[i]: the number of its label, -1 if outputs are not labels. types: token type ids, parallel to
    ids, or None if all are zero. too_long, empty: how many rows were left out; longest: tokens of the longest row, left out
    or not."""

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
        """Sets the token types of the row that was added last; zeros, which are the default of a model, need not be stored."""
        if self.types is None and any(types):
            self.types = array.array("b", bytes(self.starts[-2]))
        if self.types is not None:
            self.types.extend(types)

    def types_of(self, i):
        return self.types[self.starts[i]:self.starts[i + 1]]

    def fits(self, length, max_length):
        """True if a row of that length is not too long; counts those that are."""
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
    """rows: (id, input, output). labels: {output: number}, if outputs are labels. most: tokens that the base can attend
    to, for the remedy. Rows that are too long are left out and counted, never truncated."""
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
        found = tokenizer([str(r[1]) for r in block], verbose=False)
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
    """Returns the remedy for rows that are left out. longest: tokens of the longest; most: tokens that the base can attend to."""
    shorten = "shorten the texts, split them into several rows, or use a base with a longer context"
    if max_length >= most:
        return f"the context of the base is {most} tokens, and the longest row has {longest}: {shorten}"
    if longest <= most:
        return f"--set max_length={longest} includes all of them"
    return (f"--set max_length={most} includes all that fit the context of the base; the longest row has {longest} tokens: "
            f"for such rows, {shorten}")


def _refuse_nothing(rows, max_length, most):
    """Raises if no target is left. Training without any would end with a loss of 0.0 and a useless model."""
    if rows.targets > 0:
        return
    if rows.too_long:
        raise TrainerError(INVALID_ARGUMENT, f"no row is left: all {rows.too_long} are longer than {max_length} tokens",
                           longer_remedy(rows.longest, max_length, most))
    raise TrainerError(INVALID_ARGUMENT, "no row has an output: there is nothing to learn", "give each row an output that is not empty")
