#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the trainer answers, without a library: streams of lines, label tries, prompts, structured records."""
import json
import os
import sys
import threading
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.abspath(sys.argv[1]))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from kolm_trainer import encode  # noqa: E402
from kolm_trainer.answer import Lines, Text, Trie  # noqa: E402
from kolm_trainer.errors import INVALID_ARGUMENT  # noqa: E402
from pure_case import Case  # noqa: E402


class Streams(Case):
    def pipe(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        return Lines(f"/proc/self/fd/{reading}"), writing

    def test_a_file_comes_in_batches_of_the_requested_size(self):
        path = self.write("lines", b"".join(b"%d\n" % i for i in range(150)))
        lines, found = Lines(path), []
        while batch := lines.batch(64):
            found.append(len(batch))
        self.assertEqual(found, [64, 64, 22])

    def test_a_file_larger_than_a_read(self):
        rows = [b"%d " % i + b"x" * 50_000 for i in range(100)]
        lines, found = Lines(self.write("lines", b"\n".join(rows) + b"\n")), []
        while batch := lines.batch(64):
            self.assertLessEqual(len(batch), 64)
            found.extend(batch)
        self.assertEqual(found, rows)

    def test_the_last_line_may_lack_its_end(self):
        self.assertEqual(Lines(self.write("lines", b"a\nb")).batch(64), [b"a", b"b"])
        self.assertEqual(Lines(self.write("lines", b"a")).batch(64), [b"a"])
        lines = Lines(self.write("lines", b"a\nb"))
        self.assertEqual([lines.batch(1), lines.batch(1), lines.batch(1)], [[b"a"], [b"b"], []])

    def test_nothing_is_the_end(self):
        self.assertEqual(Lines(self.write("lines", b"")).batch(64), [])

    def test_blank_lines_are_no_end(self):
        lines = Lines(self.write("lines", b"\n" * 200 + b"a\n\n\nb\n"))
        self.assertEqual(lines.batch(64), [b"a", b"b"])
        self.assertEqual(lines.batch(64), [])

    def test_a_pipe_is_answered_as_soon_as_something_arrives(self):
        lines, writing = self.pipe()
        os.write(writing, b"a\nb\nc")
        self.assertEqual(lines.batch(64), [b"a", b"b"])  # does not wait for more, nor reads an incomplete line
        os.write(writing, b"d\n")
        self.assertEqual(lines.batch(64), [b"cd"])
        os.write(writing, b"\n")
        later = threading.Timer(0.2, lambda: (os.write(writing, b"e"), os.close(writing)))
        later.start()
        self.addCleanup(later.join)
        self.assertEqual(lines.batch(64), [b"e"])
        self.assertEqual(lines.batch(64), [])


class Labels(Case):
    LABELS = [("a", [1, 9]), ("ab", [1, 2, 9]), ("b", [3, 9]), ("bc", [3, 4, 5, 9])]

    def say(self, scores):
        """Returns the text written if the tokens have these scores."""
        text = Text(Trie(self.LABELS).root, 9)
        for _ in range(10):
            if text.done:
                break
            text.choose(lambda token: scores.get(token, 0.0))
        self.assertTrue(text.done)
        return text.finish(None)

    def test_only_labels_are_written(self):
        for scores, label in (({1: 5, 2: 5}, "ab"), ({1: 5, 9: 5}, "a"), ({3: 5, 4: 5}, "bc"), ({3: 5, 9: 6}, "b"),
                              ({7: 100, 1: 1, 9: 1}, "a")):
            with self.subTest(scores):
                self.assertEqual(self.say(scores)[0], label)

    def test_the_confidence_is_the_share_of_what_may_follow(self):
        label, share = self.say({})
        self.assertEqual(label, "ab")  # of equal scores the first token
        self.assertAlmostEqual(share, 0.25)
        self.assertGreater(self.say({1: 20, 2: 20})[1], 0.999)

    def test_a_single_way_needs_no_more_tokens(self):
        text = Text(Trie(self.LABELS).root, 9)
        text.choose(lambda token: {3: 5.0}.get(token, 0.0))
        self.assertFalse(text.done)
        text.choose(lambda token: {4: 5.0}.get(token, 0.0))
        self.assertTrue(text.done)
        self.assertEqual(text.label, "bc")

    def test_free_text_ends_at_its_end(self):
        class Words:
            @staticmethod
            def decode(ids, skip_special_tokens):
                return " ".join(str(i) for i in ids)

        text = Text(None, 9)
        self.assertEqual([text.add(token, -0.5) for token in (4, 5, 9, 6)], [4, 5, 9, 9])
        output, share = text.finish(Words)
        self.assertEqual(output, "4 5")
        self.assertTrue(0 < share < 1)


class Words:
    """A tokenizer with one word per token; chat: its template."""

    eos_token_id = 0

    def __init__(self, chat=None):
        self.chat_template, self.known = chat, {"</s>": 0}

    def __call__(self, texts, **_):
        return {"input_ids": [[self.known.setdefault(w, len(self.known)) for w in t.replace("\n", " ").split()] for t in texts]}

    def apply_chat_template(self, messages, tokenize, add_generation_prompt=False):
        return "".join(f"{m['role']}: {m['content']} </s>\n" for m in messages) + ("assistant: " if add_generation_prompt else "")


class Rendering(Case):
    def choose(self, tokenizer, asked="auto", system=""):
        return encode.Rendering.choose(tokenizer, asked, system)

    def test_templates_that_cannot_be_used(self):
        self.refused(INVALID_ARGUMENT, "no chat template", self.choose, Words())
        told = self.refused(INVALID_ARGUMENT, "several chat templates", self.choose, Words({"rag": "b", "agent": "c"}))
        self.assertIn("agent, rag", told.text)
        self.choose(Words({"default": "b", "tool_use": "c"}))
        self.refused(INVALID_ARGUMENT, "needs a chat template", self.choose, Words("x"), "plain", "Be brief.")

    def test_a_completion_ends_once(self):
        for asked, system in (("auto", ""), ("auto", "Be brief."), ("plain", "")):
            with self.subTest(asked=asked, system=system):
                rendering = self.choose(Words("x"), asked, system)
                (ids,) = rendering.completions(["a b"], ["c d"])
                self.assertEqual((len(ids), ids[-1], ids.count(0)), (3, 0, 1))
                self.assertEqual(len(rendering.prompts(["a b"])[0]), {"auto": 5 + 4 * bool(system), "plain": 2}[asked])

    def test_rows_are_counted_never_cut(self):
        rendering = self.choose(Words("x"), "plain")
        rows = [("1", "a b c", "d"), ("2", "a " * 20, "d"), ("3", "a", " "), ("4", "a b", "c d e")]
        found = encode.encode_causal(rows, rendering, 6)
        self.assertEqual((len(found), found.too_long, found.empty, found.targets, found.longest_completion), (2, 1, 1, 6, 4))
        self.assertEqual([found.length(i) for i in range(2)], [5, 6])
        self.assertEqual(found.tokens(0).tolist(), rendering.prompts(["a b c"])[0] + rendering.completions([""], ["d"])[0])

    def test_a_longer_limit_is_advised_where_there_is_one(self):
        rendering = self.choose(Words("x"), "plain")
        rows = [("1", "a " * 20, "b"), ("2", "a " * 30, "b")]
        for most, words in ((None, "the context of the base is 8 tokens, and the longest row has 32"), (8, "the context of the base is 8 tokens"),
                            (32, "--set max_length=32 includes all of them"), (31, "--set max_length=31 includes all that fit the context of the base")):
            with self.subTest(most):
                told = self.refused(INVALID_ARGUMENT, "all 2 are longer than 8", encode.encode_causal, rows, rendering, 8, None, most)
                self.assertIn(words, told.remedy)
                self.assertEqual("max_length" in told.remedy, most in (31, 32))

    def test_nothing_left_is_refused(self):
        rendering = self.choose(Words("x"), "plain")
        self.refused(INVALID_ARGUMENT, "all 1 are longer than 8", encode.encode_causal, [("1", "a " * 20, "b")], rendering, 8)
        self.refused(INVALID_ARGUMENT, "no row has an output", encode.encode_causal, [("1", "a", "")], rendering, 8)
        self.refused(INVALID_ARGUMENT, "no row has an output", encode.encode_classify, [("1", "a", "\n")], Words(), {}, 8)


class Talker(Words):
    """A tokenizer whose template is a function of the messages and the tools."""

    def __init__(self, write, chat="a template"):
        super().__init__(chat)
        self.write, self.asked = write, []

    def apply_chat_template(self, messages, tokenize, add_generation_prompt=False, tools=None):
        self.asked.append((messages, tools))
        return self.write(messages, tools) + ("assistant: " if add_generation_prompt else "")


def all_of_it(messages, tools):
    return json.dumps(tools or "") + "".join(f"{m['role']}: {m['content']}{m.get('tool_calls', '')} </s>\n" for m in messages)


def says(*messages):
    return [{"role": role, "content": content} for role, content in messages]


class Structure(Case):
    """Messages and tools reach the template unchanged."""

    TALK = says(("system", "Which team?"), ("user", "late"), ("assistant", "Where to?"), ("user", "Bonn"))

    def choose(self, tokenizer, system=""):
        return encode.Rendering.choose(tokenizer, "auto", system)

    def question(self, messages=None, tools=None, text="Bonn"):
        return encode.Question(text, messages or self.TALK, tools)

    def test_rows_have_their_messages(self):
        whole = self.TALK + says(("assistant", "shipping"))
        row = {"input": "late", "messages": whole, "tools": [{"name": "f"}]}
        asked = encode.question_of(row, True)
        self.assertEqual((asked, asked.messages, asked.tools), ("late", self.TALK, [{"name": "f"}]))
        self.assertEqual(encode.question_of({**row, "messages": self.TALK}, False).messages, self.TALK)
        self.assertIs(type(encode.question_of({"input": "late"}, True)), str)
        for bad in ({"messages": []}, {"messages": 7}, {"messages": [7, 7]}, {"messages": [{"role": "user"}] * 2},
                    {"messages": [{"role": 7, "content": "x"}] * 2}, {"tools": {}}, {"input": 7}):
            with self.subTest(bad):
                with self.assertRaises(ValueError):
                    encode.question_of({**row, **bad}, True)

    def test_the_template_gets_all_of_it(self):
        tokenizer = Talker(all_of_it)
        rendering = self.choose(tokenizer)
        tools = [{"type": "function", "function": {"name": "track"}}]
        rendering.completions([self.question(tools=tools)], ["shipping"])
        self.assertEqual(tokenizer.asked, [(self.TALK, tools), (self.TALK + says(("assistant", "shipping")), tools)])
        tokenizer.asked.clear()
        rendering.prompts(["plain"])
        self.assertEqual(tokenizer.asked, [(says(("user", "plain")), None)])

    def test_arguments_of_calls_are_objects(self):
        call = {"type": "function", "function": {"name": "track", "arguments": "{\"n\": 1389432487213912064}"}}
        odd = {"type": "function", "function": {"name": "track", "arguments": "no JSON"}}
        messages = says(("user", "late"), ("assistant", ""), ("tool", "Bonn"))
        messages[1]["tool_calls"] = [call, odd]
        tokenizer = Talker(all_of_it)
        self.choose(tokenizer).prompts([self.question(messages)])
        calls = tokenizer.asked[0][0][1]["tool_calls"]
        self.assertEqual(calls[0]["function"]["arguments"], {"n": 1389432487213912064})
        self.assertEqual(calls[1], odd)
        self.assertEqual(call["function"]["arguments"], "{\"n\": 1389432487213912064}")  # the row itself is unchanged

    def test_the_system_option_is_for_rows_without_one(self):
        tokenizer = Talker(all_of_it)
        rendering = self.choose(tokenizer, "Be brief.")
        rendering.prompts([self.question(), self.question(self.TALK[1:]), "plain"])
        self.assertEqual([m[0]["content"] for m, _ in tokenizer.asked], ["Which team?", "Be brief.", "Be brief."])

    def test_developer_becomes_system_where_it_is_unknown(self):
        messages = says(("developer", "Which team?"), ("user", "late"))
        for chat, role in (("a template", "system"), ("{{ developer }}", "developer")):
            tokenizer = Talker(all_of_it, chat)
            self.choose(tokenizer).prompts([self.question(messages)])
            self.assertEqual(tokenizer.asked[0][0][0]["role"], role)

    def test_the_message_of_a_template_that_refuses_is_shown(self):
        def write(messages, _tools):
            if messages[0]["role"] == "system":
                raise ValueError("System role not supported\nline 7")
            return all_of_it(messages, None)

        rendering = self.choose(Talker(write))
        told = self.refused(INVALID_ARGUMENT, "a conversation of system, user, assistant, user: System role not supported",
                            rendering.prompts, [self.question()])
        self.assertNotIn("line 7", told.text)
        self.assertEqual(len(rendering.prompts([self.question(self.TALK[1:])])), 1)

    def test_a_template_that_leaves_out_is_found(self):
        without = lambda *roles: Talker(lambda messages, tools: all_of_it([m for m in messages if m["role"] not in roles], None))
        tools = [{"type": "function", "function": {"name": "track"}}]
        for roles, question, words in ((("system",), self.question(), "omits the system message"),
                                       (("assistant",), self.question(), "omits the assistant message"),
                                       ((), self.question(tools=tools), "omits the tool track")):
            with self.subTest(words):
                self.refused(INVALID_ARGUMENT, words, self.choose(without(*roles)).completions, [question], ["shipping"])
        self.refused(INVALID_ARGUMENT, "omits the system", self.choose(without("system"), "Be brief.").completions,
                     ["plain"], ["shipping"])

    def test_what_templates_do_to_texts_is_no_leaving_out(self):
        messages = says(("system", "  Which \"team\"?\n"), ("user", "a\nb"), ("assistant", "<think>hm</think>Where?"), ("user", "x"))
        changed = lambda messages, _: " ".join(json.dumps(m["content"].split("</think>")[-1].strip()) for m in messages)
        self.assertEqual(len(self.choose(Talker(changed)).completions([self.question(messages)], ["y"])), 1)

    def test_a_long_conversation_loses_of_its_longest_message(self):
        asked = self.question(says(("system", "a" * 10), ("user", "b" * 100)))
        for _ in range(200):
            if not asked:
                break
            asked = encode.shortened(asked, 0.5)
        self.assertEqual((str(asked), [m["content"] for m in asked.messages]), ("", ["", ""]))
        once = encode.shortened(self.question(says(("system", "a" * 10), ("user", "b" * 100))), 0.5)
        self.assertEqual([len(m["content"]) for m in once.messages], [10, 50])
        self.assertEqual(encode.shortened("abcdef", 0.5), "abc")

    def test_prompts_of_rows_hold_the_system_message(self):
        rendering = self.choose(Talker(all_of_it))
        rows = [("1", self.question(), "shipping"), ("2", "plain", "billing")]
        found = encode.encode_causal(rows, rendering, 100)
        self.assertEqual(found.tokens(0).tolist()[:found.prompts[0]], rendering.prompts([self.question()])[0])
        self.assertGreater(found.length(0), found.length(1))


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
