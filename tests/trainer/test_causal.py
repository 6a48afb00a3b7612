#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The trainer on a language model made for the test: that LoRA helps, repeats, resumes, survives, refuses, and can be read by others."""
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

import peft  # noqa: E402
import tinybase  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, LlamaForCausalLM  # noqa: E402,F401

from kolm_trainer.answer import Text, Trie  # noqa: E402
from kolm_trainer.encode import Rendering  # noqa: E402

TEAMS = tinybase.rows(160, 11, tinybase.team)
MANY_TEAMS = tinybase.rows(480, 13, tinybase.team)
NEW_TEAMS = tinybase.rows(60, 12, tinybase.team)
QUICK = {"epochs": "2", "batch": "16", "rank": "4"}  # enough steps for what is not about accuracy


def setUpModule():
    torch.set_num_threads(1)
    real.Case.base = tempfile.mkdtemp(prefix="kolm-base-")
    unittest.addModuleCleanup(shutil.rmtree, real.Case.base, True)
    pid = os.fork()  # a process that has computed gradients may not fork
    if pid == 0:
        status = 1
        try:
            tinybase.make(real.Case.base)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1] != 0:
        raise AssertionError("the base could not be made")


def greedy(model, tokenizer, prompt, labels=None, most=24):
    """What plain transformers writes after a prompt; of labels, the one that its logits prefer token by token."""
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


class Teaches(real.Case):
    """What LoRA gains, and that others read what it leaves."""

    def test_labels(self):
        before = self.trained(TEAMS, epochs="0.01", learning_rate="1e-8", valid="0")
        _, answers = before.infer([row["input"] for row in NEW_TEAMS])
        chance = self.share_right(answers, NEW_TEAMS)
        job = self.trained(MANY_TEAMS, epochs="6", learning_rate="5e-3")
        done, answers = job.infer([row["input"] for row in NEW_TEAMS])
        self.good(done)
        right = self.share_right(answers, NEW_TEAMS)
        print(f"labels: {chance:.2f} before, {right:.2f} after")
        self.assertLess(chance, 0.5)
        self.assertGreaterEqual(right, 0.9)
        self.assertTrue(all(a["output"] in set(tinybase.TEAMS.values()) and 0 < a["confidence"] <= 1 for a in answers))
        self.assertGreater(sum(a["confidence"] for a in answers) / len(answers), 0.8)
        self.assertEqual(done.result["answers"], 60)
        report = job.report()
        self.assertEqual((report["task"], report["method"], report["labels"]), ("causal", "lora", sorted(set(tinybase.TEAMS.values()))))
        self.assertEqual((report["rows"], report["valid_rows"], report["rows_too_long"], report["rows_empty"]), (432, 48, 0, 0))
        self.assertLess(job.done.losses[-1], 0.3 * job.done.losses[0])
        # The artifact's files may be slices of one big file, and the answers do not depend on it.
        _, sliced = job.infer([row["input"] for row in NEW_TEAMS], files=job.slices())
        self.assertEqual(sliced, answers)
        self.plain_tools_agree(job, answers)

    def plain_tools_agree(self, job, answers):
        """PEFT and transformers, without any of kolm, say what kolm says: of the adapter, and of the merged model."""
        labels = job.report()["labels"]
        merged = os.path.join(self.dir, "merged")
        self.good(job.merge(merged))
        self.assertLessEqual({"adapter_model.safetensors", "adapter_config.json", "tokenizer.json"}, set(os.listdir(job.path("model"))))
        self.assertNotIn("adapter_model.safetensors", os.listdir(merged))
        load = lambda path: AutoModelForCausalLM.from_pretrained(path).eval()
        for name, model, source in (("model/", peft.PeftModel.from_pretrained(load(self.base), job.path("model")).eval(), job.path("model")),
                                    ("merged", load(merged), merged)):
            with self.subTest(name):
                tokenizer = AutoTokenizer.from_pretrained(source)
                said = [greedy(model, tokenizer, prompt_of(tokenizer, row["input"]), labels) for row in NEW_TEAMS]
                self.assertEqual(said, [a["output"] for a in answers])

    def test_free_text(self):
        rows, more = tinybase.rows(160, 21, tinybase.about), tinybase.rows(40, 22, tinybase.about)
        untrained = AutoModelForCausalLM.from_pretrained(self.base).eval()
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        before = sum(greedy(untrained, tokenizer, prompt_of(tokenizer, row["input"])) == row["output"] for row in more) / len(more)
        job = self.trained(rows, labels=0, epochs="8", learning_rate="5e-3")
        done, answers = job.infer([row["input"] for row in more])
        self.good(done)
        after = self.share_right(answers, more)
        print(f"free text: {before:.2f} before, {after:.2f} after")
        self.assertEqual(before, 0)
        self.assertGreaterEqual(after, 0.8)
        tuned = peft.PeftModel.from_pretrained(untrained, job.path("model")).eval()
        said = [greedy(tuned, tokenizer, prompt_of(tokenizer, row["input"])) for row in more]
        self.assertEqual(said, [a["output"] for a in answers])

    def test_all_weights(self):
        job = self.trained(MANY_TEAMS, method="full", epochs="4", learning_rate="3e-3")
        done, answers = job.infer([row["input"] for row in NEW_TEAMS])
        self.good(done)
        self.assertGreaterEqual(self.share_right(answers, NEW_TEAMS), 0.9)
        self.assertEqual(job.report()["trained_parameters"], job.report()["base_parameters"])
        target = job.path("model")
        tokenizer, model = AutoTokenizer.from_pretrained(target), AutoModelForCausalLM.from_pretrained(target).eval()
        said = [greedy(model, tokenizer, prompt_of(tokenizer, row["input"]), job.report()["labels"]) for row in NEW_TEAMS]
        self.assertEqual(said, [a["output"] for a in answers])

    def test_a_writer_that_chooses(self):
        """task=classify puts a head on a causal base."""
        job = self.trained(TEAMS, task="classify", epochs="20", learning_rate="5e-3")
        done, answers = job.infer([row["input"] for row in NEW_TEAMS])
        self.good(done)
        self.assertGreaterEqual(self.share_right(answers, NEW_TEAMS), 0.8)
        self.assertIsNotNone(job.report()["valid_accuracy_micro"])

    def test_what_is_withheld(self):
        job = self.trained(TEAMS, **QUICK)
        job.raw["options"]["abstain_micro"] = 999_999
        job.write()
        self.good(job.train())
        _, answers = job.infer(["refund please"])
        self.assertIsNone(answers[0]["output"])
        self.assertIn(answers[0]["best"], set(tinybase.TEAMS.values()))


class Repeats(real.Case):
    """Bytes: of two runs, with and without an interruption; numbers: however a step is computed."""

    OPTIONS = {"epochs": "4", "batch": "16", "rank": "4", "dropout": "0.1", "valid": "0.2", "patience": "0", "learning_rate": "5e-3"}

    @classmethod
    def setUpClass(cls):
        cls.kept = tempfile.mkdtemp(prefix="kolm-kept-")
        cls.addClassCleanup(shutil.rmtree, cls.kept, True)
        cls.whole = real.Job(os.path.join(cls.kept, "whole"), cls.base, TEAMS, **cls.OPTIONS)
        cls.whole_done = cls.whole.train()
        assert cls.whole_done.status == 0, cls.whole_done.err

    def same_as_whole(self, job):
        self.assertEqual(job.model(), self.whole.model())
        self.assertEqual(real.digest(job.path("result.json")), real.digest(self.whole.path("result.json")))
        self.assertFalse(os.path.exists(job.path("checkpoint")))

    def test_two_runs_have_the_same_bytes(self):
        self.same_as_whole(self.trained(TEAMS, **self.OPTIONS))
        other = self.job(TEAMS, **self.OPTIONS)
        other.raw["seed"] = 4
        other.write()
        self.good(other.train())
        self.assertNotEqual(other.model()["adapter_model.safetensors"], self.whole.model()["adapter_model.safetensors"])

    def test_the_command_line_makes_the_same_bytes(self):
        """As a plugin starts it: a process of its own, nothing of the environment believed."""
        job = self.job(TEAMS, **self.OPTIONS)
        done = subprocess.run([sys.executable, "-s", "-B", real.TRAINER, *job.words("train")], capture_output=True, text=True,
                              env={"PATH": "/nonexistent", "HOME": self.dir, "OMP_NUM_THREADS": "1"})
        self.assertEqual(done.returncode, 0, done.stderr)
        events = real.Done(0, done.stdout, "").events
        self.assertEqual([events[0]["event"], events[-1]["event"]], ["progress", "result"])
        self.same_as_whole(job)

    def test_threads_are_told_apart(self):
        job = self.trained(TEAMS, threads=2, **self.OPTIONS)
        words = [done.result["toolchain"] for done in (job.done, self.whole_done)]
        self.assertIn("x2", words[0])
        self.assertIn("x1", words[1])
        self.assertIn("torch " + torch.__version__, words[1])

    def test_a_killed_run_goes_on(self):
        """SIGKILL at three moments; what is made is what would have been made."""
        job = self.job(TEAMS, **self.OPTIONS)
        for step in (3, 12, 21):
            running = job.start(real.each_step_saved)
            running.wait_for(lambda: running.said(f'"step":{step},'))
            running.signal(signal.SIGKILL)
            self.assertEqual(running.wait().status, -signal.SIGKILL)
            self.assertTrue(os.path.exists(job.path("checkpoint", "state.safetensors")))
            self.assertFalse(os.path.exists(job.path("result.json")))
        done = self.good(job.train())
        self.assertTrue(any("going on from step" in text for text in done.logs()), done.logs())
        self.same_as_whole(job)

    def test_a_stopped_run_goes_on(self):
        """SIGTERM at every kind of step: between evaluations, at one, and at the last."""
        total, every = self.whole.report()["steps_planned"], 4
        job = self.job(TEAMS, **self.OPTIONS)
        for step in (1, 2, every, 2 * every, 2 * every + 1, total):
            done = job.train(real.stop_after(step))
            self.refused(done, 1, "stopped")
            self.assertEqual(done.of("progress")[-1]["step"], step)
            self.assertFalse(os.path.exists(job.path("result.json")))
        self.good(job.train())
        self.same_as_whole(job)

    def test_a_damaged_checkpoint_is_none(self):
        job = self.job(TEAMS, **self.OPTIONS)
        self.refused(job.train(real.stop_after(3)), 1, "stopped")
        path = job.path("checkpoint", "state.safetensors")
        with open(path, "rb") as file:
            whole = file.read()
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}  # not the file's own pages: it is cut below
        with_metadata = lambda metadata: lambda: save_file(tensors, path, metadata=metadata)
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()

        def cut(length):
            with open(path, "wb") as file:
                file.write(whole[:length])

        fewer = dict(list(tensors.items())[1:])
        defects = {"empty": lambda: cut(0), "half": lambda: cut(len(whole) // 2), "one byte short": lambda: cut(len(whole) - 1),
                   "no fingerprint": with_metadata({"state": metadata["state"]}),
                   "another job": with_metadata({**metadata, "fingerprint": "0"}),
                   "state of garbage": with_metadata({**metadata, "state": "{"}),
                   "state of a list": with_metadata({**metadata, "state": "[]"}),
                   "no state": with_metadata({"fingerprint": metadata["fingerprint"]}),
                   "state without a step": with_metadata({**metadata, "state": "{}"}),
                   "a tensor missing": lambda: save_file(fewer, path, metadata=metadata),
                   "a tensor of another shape": lambda: save_file({n: t[:1].clone() for n, t in tensors.items()}, path, metadata=metadata)}
        for name, damage in defects.items():
            with self.subTest(name):
                os.makedirs(job.path("checkpoint"), exist_ok=True)
                damage()
                done = self.good(job.train())
                self.assertFalse(any("going on" in text for text in done.logs()), done.logs())
                self.same_as_whole(job)
                os.remove(job.path("result.json"))
                shutil.rmtree(job.path("model"))

    def test_accumulation_does_not_change_the_loss(self):
        rows = [{**row, "output": row["output"] if i % 3 else "it is about " + row["input"]} for i, row in enumerate(TEAMS)]
        losses = {}
        for parts in ("1", "4", "16", "auto"):
            job = self.trained(rows, labels=0, accumulation=parts, epochs="2", batch="16", valid="0")
            losses[parts] = job.done.losses
            self.assertEqual(len(losses[parts]), 20)
        for parts in ("4", "16", "auto"):
            self.assertLess(max(abs(a - b) for a, b in zip(losses["1"], losses[parts])), 1e-5, parts)

    def test_two_processes_are_as_one(self):
        options = {"epochs": "2", "batch": "16", "valid": "0.2", "rank": "4"}
        one, two = self.trained(TEAMS, **options), self.job(TEAMS, **options)
        driver = os.path.join(self.dir, "driver.py")
        with open(driver, "w", encoding="utf-8") as file:
            file.write("import sys; sys.path.insert(0, sys.argv[1])\nfrom kolm_trainer import cli, events\n"
                       "events._PROGRESS_SECONDS = 0\nsys.exit(cli.main(sys.argv[2:]))\n")
        done = subprocess.run([sys.executable, "-B", "-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc-per-node=2",
                               "--no-python", sys.executable, "-s", "-B", driver, real.TRAINER, *two.words("train")],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr[-3000:])
        done = real.Done(0, done.stdout, done.stderr)
        self.assertEqual(len(done.losses), len(one.done.losses))
        self.assertLess(max(abs(a - b) for a, b in zip(one.done.losses, done.losses)), 1e-4)
        ours, theirs = (load_file(job.path("model", "adapter_model.safetensors")) for job in (one, two))
        self.assertLess(max((ours[name] - theirs[name]).abs().max().item() for name in ours), 2e-3)
        self.assertIn("2 processes", done.result["toolchain"])


def out_of_memory_from(step, tokens=0):
    """A hook: from a step on, more than so many padded tokens at once do not fit."""
    def hook():
        from kolm_trainer import steps, train

        now, compute, forward = [0], train.Training._compute, steps.Work.forward

        def counted(self, rows, targets):
            now[0] = self.step + 1
            return compute(self, rows, targets)

        def tight(self, part):
            if now[0] >= step and max(self.lengths[i] for i in part) * len(part) > tokens:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
            return forward(self, part)

        train.Training._compute, steps.Work.forward = counted, tight
    return hook


class Memory(real.Case):
    def test_it_goes_on_with_less_at_once(self):
        plain = self.trained(TEAMS, **QUICK)
        for step in (1, 7):
            with self.subTest(step=step):
                job = self.trained(TEAMS, hook=out_of_memory_from(step, 60), **QUICK)
                self.assertTrue(any("memory ran out: going on" in text for text in job.done.logs()), job.done.logs())
                self.assertEqual(len(job.done.losses), len(plain.done.losses))
                self.assertLess(max(abs(a - b) for a, b in zip(plain.done.losses, job.done.losses)), 1e-4)

    def test_when_nothing_helps_the_job_can_go_on_elsewhere(self):
        plain = self.trained(TEAMS, **QUICK)
        for step in (1, 7):
            with self.subTest(step=step):
                job = self.job(TEAMS, **QUICK)
                done = self.refused(job.train(out_of_memory_from(step)), 8, f"(step {step} of 18)")
                self.assertIn("max_length", done.error["remedy"])
                self.assertTrue(os.path.exists(job.path("checkpoint")))
                self.assertFalse(os.path.exists(job.path("result.json")))
                self.good(job.train())  # with the memory back
                self.assertEqual(job.model(), plain.model())

    def test_a_real_limit(self):
        """The address space ends a little above what the process has when its steps begin."""
        def hook():
            import resource
            from kolm_trainer import train

            loop = train.Training.loop

            def limited(self):
                with open("/proc/self/statm", encoding="ascii") as file:
                    size = int(file.read().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (size + (96 << 20), resource.RLIM_INFINITY))
                self.token_limit = 1 << 20
                return loop(self)

            train.Training.loop = limited

        rows = [{**row, "input": " ".join([row["input"]] * 4)} for row in tinybase.rows(512, 31, tinybase.team)]
        done = self.job(rows, epochs="0.01", batch="512", valid="0", gradient_checkpointing="off").train(hook)
        if done.status == 0:
            self.assertTrue(any("memory ran out: going on" in text for text in done.logs()), done.logs())
        else:
            self.refused(done, 8, "too little memory")

    def test_no_memory_for_the_base(self):
        def hook():
            from kolm_trainer import model

            def load(*_arguments, **_more):
                raise MemoryError

            model.load_base = load

        self.refused(self.job(TEAMS, **QUICK).train(hook), 8, "memory ran out")


class Refusals(real.Case):
    """Bad input: each has its code and sentence, and leaves a job that can be started again."""

    def changed_base(self, **config):
        base = os.path.join(self.dir, f"base{self.jobs}")
        shutil.copytree(self.base, base)
        path = os.path.join(base, "config.json")
        with open(path, encoding="utf-8") as file:
            real.write_json(path + ".new", {**json.load(file), **config})
        os.replace(path + ".new", path)
        return base

    def test_rows_longer_than_the_context(self):
        rows = TEAMS[:20] + [{"id": "x", "input": "please " * 500, "output": "billing"}]
        job = self.trained(rows, **QUICK)
        self.assertEqual(job.report()["rows_too_long"], 1)
        self.assertEqual(job.report()["rows"], 20)
        self.assertEqual(job.done.metrics("trainer.rows_too_long"), [1])
        # A limit is advised only where the base has more room than the limit that was in the way.
        (said,) = [text for text in job.done.logs() if "1 rows are longer than 128 tokens" in text]
        self.assertIn("the base reads no more than 128 tokens", said)
        self.assertNotIn("max_length=", said)
        said = "; ".join(self.trained(rows, max_length="64", **QUICK).done.logs())
        self.assertIn("--set max_length=128 takes all that the base can read", said)
        done = self.refused(self.job(rows[-1:] * 5, labels=0, **QUICK).train(), 3, "all 5 are longer than 128 tokens")
        self.assertNotIn("max_length=", done.error["remedy"])
        self.refused(self.job(rows, max_length="129").train(), 3, "more than the 128 tokens of the base")
        # A question that does not fit is answered from its beginning, and that is said.
        done, answers = job.infer(["refund " + "please " * 500, "refund please"])
        self.good(done)
        self.assertEqual([a["id"] for a in answers], ["0", "1"])
        self.assertTrue(any("1 inputs are longer" in text for text in done.logs()), done.logs())

    def test_empty_outputs(self):
        rows = TEAMS[:40] + [{"id": "x", "input": "a", "output": ""}, {"id": "y", "input": "b", "output": " \n"}]
        for task in ("causal", "classify"):
            with self.subTest(task):
                job = self.trained(rows, task=task, **QUICK)
                self.assertEqual(job.report()["rows_empty"], 2)
                self.assertTrue(all(label.strip() for label in job.report()["labels"]), job.report()["labels"])
        empty = [{**row, "output": ""} for row in TEAMS[:10]]
        self.refused(self.job(empty, labels=1).train(), 3, "no row has an output")

    def test_one_label_only(self):
        rows = [{**row, "output": "billing"} for row in TEAMS[:40]]
        for task in ("causal", "classify"):
            with self.subTest(task):
                self.refused(self.job(rows, task=task, **QUICK).train(), 3, "same output")

    def test_no_chat_template(self):
        base = self.changed_base()
        os.remove(os.path.join(base, "chat_template.jinja"))
        done = self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "no chat template")
        self.assertIn("template=plain", done.error["remedy"])
        job = self.trained(TEAMS, base=base, template="plain", **QUICK)
        self.assertEqual(len(job.infer(["refund please"])[1]), 1)

    def test_lists_of_chat_templates(self):
        """One entry is no choice; of several the default is taken, as transformers does; none by that name is a question."""
        plain = self.trained(TEAMS, **QUICK)
        files = {"tokenizer.json", "tokenizer_config.json", "adapter_model.safetensors", "adapter_config.json", "kolm_trainer.json"}

        def based(templates, name="tokenizer_config.json"):
            base = self.changed_base()
            self.jobs += 1
            os.remove(os.path.join(base, "chat_template.jinja"))
            path, old = os.path.join(base, name), {}
            if os.path.exists(path):
                with open(path, encoding="utf-8") as file:
                    old = json.load(file)
            real.write_json(path, {**old, "chat_template": templates})
            return base

        entry = lambda name, template=tinybase.CHAT: {"name": name, "template": template}
        for what, base in (("one", based([entry("default")])), ("one of another name", based([entry("chatml")])),
                           ("with a default", based([entry("default"), entry("tool_use", "{{ tools }}")])),
                           ("only a processor's", based(tinybase.CHAT, "chat_template.json"))):
            with self.subTest(what):
                job = self.trained(TEAMS, base=base, **QUICK)
                self.assertEqual(job.model()["adapter_model.safetensors"], plain.model()["adapter_model.safetensors"])
                self.assertLessEqual(set(os.listdir(job.path("model"))), files | {"chat_template.jinja"})
                done, answers = job.infer([row["input"] for row in NEW_TEAMS[:8]])
                self.good(done)
                self.assertEqual(answers, plain.infer([row["input"] for row in NEW_TEAMS[:8]])[1])
        self.refused(self.job(TEAMS, base=based([entry("rag"), entry("agent")]), **QUICK).train(), 3, "agent, rag")

    def test_an_adapter_beside_the_base(self):
        """transformers would put it on the base; here it is left out, and that is said. Merging works."""
        plain = self.trained(TEAMS, **QUICK)
        base = self.changed_base()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(plain.path("model", name), base)
        path = os.path.join(base, "adapter_config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        real.write_json(path, {**config, "base_model_name_or_path": "somewhere/else"})
        job = self.trained(TEAMS, base=base, **QUICK)
        self.assertTrue(any("an adapter beside the base" in text for text in job.done.logs()), job.done.logs())
        self.assertEqual(job.model(), plain.model())
        self.assertEqual(job.infer(["refund please"])[1], plain.infer(["refund please"])[1])
        wholes = []
        for name, one in (("a", plain), ("b", job)):
            target = os.path.join(self.dir, name)
            self.good(one.merge(target))
            self.assertNotIn("adapter_config.json", os.listdir(target))
            wholes.append(load_file(os.path.join(target, "model.safetensors")))
        self.assertTrue(all(torch.equal(tensor, wholes[1][name]) for name, tensor in wholes[0].items()))

    def test_a_stale_index_beside_the_weights(self):
        base = self.changed_base()
        real.write_json(os.path.join(base, "model.safetensors.index.json"), {"weight_map": {"x": "model-00001-of-00002.safetensors"}})
        self.assertEqual(self.trained(TEAMS, base=base, **QUICK).model(), self.trained(TEAMS, **QUICK).model())

    def test_weights_for_outputs_that_are_no_labels(self):
        job = self.job(TEAMS, labels=0, **QUICK)
        job.raw["options"]["class_weight"] = "balanced"
        job.write()
        self.refused(job.train(), 3, "closed set")

    def test_weights_that_do_not_fit(self):
        base = self.changed_base(intermediate_size=192)
        self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "do not fit its config.json")
        base = self.changed_base()
        path = os.path.join(base, "model.safetensors")
        tensors = {n: t.clone() for n, t in load_file(path).items() if n != "model.layers.1.mlp.up_proj.weight"}
        save_file(tensors, path, metadata={"format": "pt"})
        self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "lacks 1 of its tensors, the first is model.layers.1.mlp.up_proj.weight")

    def test_damaged_weights_are_refused_before_torch_is_loaded(self):
        base = self.changed_base()
        path = os.path.join(base, "model.safetensors")
        os.truncate(path, os.path.getsize(path) - 1)

        def no_torch():
            sys.modules["torch"] = None

        self.refused(self.job(TEAMS, base=base, **QUICK).train(no_torch), 15, "damaged")

    def test_pickled_weights(self):
        base = self.changed_base()
        path = os.path.join(base, "model.safetensors")
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
        torch.save(tensors, os.path.join(base, "pytorch_model.bin"))
        os.remove(path)
        self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "are pickles")
        if torch.__version__ >= (2, 6):
            self.trained(TEAMS, base=base, allow_pickle="true", **QUICK)
        else:  # local-directml's: transformers reads no pickle with it
            self.refused(self.job(TEAMS, base=base, allow_pickle="true", **QUICK).train(), 3, "torch to at least v2.6")

    def test_an_architecture_nobody_knows(self):
        self.refused(self.job(TEAMS, base=self.changed_base(model_type="unheard_of"), **QUICK).train(), 3, "cannot be loaded")

    def test_a_tokenizer_that_is_none(self):
        base = self.changed_base()
        real.write_json(os.path.join(base, "tokenizer.json"), {"version": "1.0"})
        self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "tokenizer")

    def test_targets_that_are_not_there(self):
        self.refused(self.job(TEAMS, targets="q_projection", **QUICK).train(), 3, "LoRA cannot be put on this base")
        self.trained(TEAMS, targets="q_proj, v_proj", **QUICK)

    def test_a_package_that_is_missing(self):
        for package in ("torch", "transformers", "peft"):
            def hook():
                for name in list(sys.modules):
                    if name == package or name.startswith(package + "."):
                        sys.modules[name] = None
            with self.subTest(package):
                done = self.refused(self.job(TEAMS, **QUICK).train(hook), 9, f"no package {package}")
                self.assertIn("kolm compute setup", done.error["remedy"])

    def test_a_device_that_torch_does_not_see(self):
        for device in ("cuda", "rocm", "mps", "directml"):
            with self.subTest(device):
                self.refused(self.job(TEAMS, device=device, **QUICK).train(), 9, f"does not see the {device} device")
        self.refused(real.Running(["probe", "--device", "cuda"]).wait(), 9, "does not see the cuda device")

    def test_directml_without_the_libraries_of_windows(self):
        def hook():
            class Finder:
                def find_spec(name, path=None, target=None):
                    if name == "torch_directml":
                        raise OSError("libd3d12.so: cannot open shared object file")
                    return None

            sys.meta_path.insert(0, Finder)

        done = self.refused(self.job(TEAMS, device="directml", **QUICK).train(hook), 9, "libd3d12.so")
        self.assertIn("does not see the directml device", done.error["text"])
        self.assertIn("update WSL", done.error["remedy"])

    def test_four_bits_on_a_processor(self):
        self.refused(self.job(TEAMS, method="qlora", **QUICK).train(), 9, "no 4-bit arithmetic")

    def test_a_loss_that_is_no_number(self):
        self.refused(self.job(TEAMS, method="full", learning_rate="1", max_grad_norm="0", epochs="40", schedule="constant",
                              warmup="0", patience="0", valid="0").train(self.infinite), 3, "no longer a number")

    @staticmethod
    def infinite():
        from kolm_trainer import steps

        forward, calls = steps.Work.forward, [0]

        def bad(self, part):
            calls[0] += 1
            loss, right = forward(self, part)
            return loss * (float("inf") if calls[0] > 4 else 1), right

        steps.Work.forward = bad

    def test_answers_of_an_artifact_that_does_not_fit(self):
        job = self.trained(TEAMS, **QUICK)
        other = self.changed_base()
        tinybase_other = os.path.join(self.dir, "wider")
        pid = os.fork()
        if pid == 0:
            try:
                os.makedirs(tinybase_other)
                tinybase.make(tinybase_other, steps=1, hidden=32)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self.refused(job.infer(["a"], base=tinybase_other)[0], 15, "does not fit the base")
        files = job.model_files()
        self.refused(job.infer(["a"], files=[f for f in files if f["name"] != "kolm_trainer.json"])[0], 5, "has no kolm_trainer.json")
        self.refused(job.infer(["a"], files=files + [{**files[0], "name": "../x"}])[0], 15, "leaves its directory")
        with open(job.path("model", "kolm_trainer.json"), encoding="utf-8") as file:
            meta = json.load(file)
        for content, code, words in (("{", 15, "cannot be read"), ("[]", 15, "cannot be read"),
                                     (json.dumps({**meta, "format": 2}), 3, "newer trainer")):
            with self.subTest(content[:10]):
                path = os.path.join(self.dir, "kolm_trainer.json")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(content)
                changed = [f if f["name"] != "kolm_trainer.json" else {**f, "path": path, "size": len(content)} for f in files]
                self.refused(job.infer(["a"], files=changed)[0], code, words)
        self.good(job.infer(["a"], base=other)[0])


class DirectML(real.Case):
    def test_the_way_of_directml_on_a_processor(self):
        """What the trainer does differently for DirectML, with a processor in its place: no inference mode, no fused optimizer."""
        def hook():
            def inference_mode(*_):
                raise RuntimeError("Cannot set version_counter for inference tensor")  # what torch-directml says

            sys.modules["torch_directml"] = types.ModuleType("torch_directml")
            sys.modules["torch_directml"].device = lambda: torch.device("cpu")
            torch.inference_mode = inference_mode

        for device, status in (("cpu", 1), ("directml", 0)):  # the first one: the hook does something
            with self.subTest(device):
                job = self.job(TEAMS, device=device, **QUICK)
                self.assertEqual(job.train(hook).status, status)
        done, answers = job.infer([row["input"] for row in NEW_TEAMS[:8]], hook=hook)
        self.good(done)
        self.assertTrue(all(answer["output"] in job.report()["labels"] for answer in answers))
        self.assertIn("DirectX", done.result["device"])


class Serving(real.Case):
    def test_served_prompts_are_those_of_training(self):
        """The artifact has the rendering with it: a base whose template was changed since is asked as it was taught."""
        job = self.trained(TEAMS, system="Name the team.", epochs="6", learning_rate="5e-3")
        before = job.infer([row["input"] for row in NEW_TEAMS])[1]
        with open(job.path("model", "kolm_trainer.json"), encoding="utf-8") as file:
            meta = json.load(file)
        self.assertEqual((meta["template"], meta["system"]), ("chat", "Name the team."))
        ours = Rendering(AutoTokenizer.from_pretrained(job.path("model")), meta["template"], meta["system"])
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        texts = [row["input"] for row in NEW_TEAMS]
        self.assertEqual(ours.prompts(texts), [prompt_of(tokenizer, text, "Name the team.") for text in texts])
        self.assertIn("Name the team.", tokenizer.decode(ours.prompts(["x"])[0]))
        changed = os.path.join(self.dir, "changed")
        shutil.copytree(self.base, changed)
        with open(os.path.join(changed, "chat_template.jinja"), "w", encoding="utf-8") as file:
            file.write("{% for m in messages %}other {{ m['content'] }}{% endfor %}")
        self.assertEqual(job.infer(texts, base=changed)[1], before)

    def test_the_answer_follows_the_system_message(self):
        """The same texts under two system messages, in training and in answering."""
        systems = {"refund": "yes", "parcel": "no"}
        ask = lambda row, system: {"input": row["input"], "messages": [{"role": "system", "content": system},
                                                                       {"role": "user", "content": row["input"]}]}
        rows = []
        for row in TEAMS:
            for system, output in systems.items():
                asked = ask(row, system)
                asked["messages"].append({"role": "assistant", "content": output})
                rows.append({"id": str(len(rows)), **asked, "output": output})
        job = self.trained(rows, epochs="3", learning_rate="5e-3")
        new = [(ask(row, system), {"output": output}) for row in NEW_TEAMS[:20] for system, output in systems.items()]
        done, answers = job.infer([asked for asked, _ in new])
        self.good(done)
        self.assertGreaterEqual(self.share_right(answers, [row for _, row in new]), 0.95)

    def test_a_template_that_knows_no_system_is_refused(self):
        rows = [{"id": str(i), "input": row["input"], "output": row["output"],
                 "messages": [{"role": "system", "content": "Name the team."}, {"role": "user", "content": row["input"]},
                              {"role": "assistant", "content": row["output"]}]} for i, row in enumerate(TEAMS)]
        base = os.path.join(self.dir, "base")
        for template, words in (("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}",
                                 "a conversation of system, user: System role not supported"),
                                ("{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}<end>{% endif %}{% endfor %}",
                                 "leaves out the system message")):
            with self.subTest(words):
                shutil.copytree(self.base, base)
                with open(os.path.join(base, "chat_template.jinja"), "w", encoding="utf-8") as file:
                    file.write(template)
                self.refused(self.job(rows, base=base, **QUICK).train(), 3, words)
                shutil.rmtree(base)

    def test_answers_come_as_questions_do(self):
        job = self.trained(TEAMS, **QUICK)
        reading, writing = os.pipe()
        reading2, writing2 = os.pipe()
        job.write(kind="infer", model_files=job.model_files())
        running = real.Running(job.words("infer", "--input", f"/proc/self/fd/{reading}", "--output", f"/proc/self/fd/{writing2}"),
                               lambda: (os.close(writing), os.close(reading2)))
        os.close(reading)
        os.close(writing2)
        with os.fdopen(writing, "w") as asks, os.fdopen(reading2) as says:
            for number in range(3):
                asks.write(json.dumps({"id": str(number), "input": "refund please"}) + "\n")
                asks.flush()
                self.assertEqual(json.loads(says.readline())["id"], str(number))  # before the next is asked
            asks.write('{"id":"last","input":"card \\u00e9"}')
            asks.close()
            self.assertEqual(json.loads(says.readline())["id"], "last")
            self.assertEqual(says.readline(), "")
        self.assertEqual(self.good(running.wait()).result["answers"], 4)

    def test_a_question_that_is_none(self):
        job = self.trained(TEAMS, **QUICK)
        job.write(kind="infer", model_files=job.model_files())
        path = os.path.join(self.dir, "questions")
        for line in ("{", "[]", '{"id":"1"}', '{"id":"1","input":7}', '{"id":"1","input":null}'):
            with self.subTest(line):
                with open(path, "w", encoding="utf-8") as file:
                    file.write('{"id":"0","input":"a"}\n' + line + "\n")
                done = real.Running(job.words("infer", "--input", path, "--output", os.path.join(self.dir, "answers"))).wait()
                self.refused(done, 15, "line 2")

    def test_a_waiting_server_can_be_stopped(self):
        job = self.trained(TEAMS, **QUICK)
        job.write(kind="infer", model_files=job.model_files())
        reading, writing = os.pipe()
        reading2, writing2 = os.pipe()
        running = real.Running(job.words("infer", "--input", f"/proc/self/fd/{reading}", "--output", f"/proc/self/fd/{writing2}"),
                               lambda: (os.close(writing), os.close(reading2)))
        os.close(reading)
        os.close(writing2)
        with os.fdopen(writing, "w") as asks, os.fdopen(reading2) as says:
            asks.write('{"id":"1","input":"a"}\n')
            asks.flush()
            says.readline()
            running.signal(signal.SIGTERM)
            self.assertEqual(running.wait().error["code"], 1)

    def test_many_labels_of_one_beginning(self):
        """Answers are labels, whole ones, also where labels begin with one another or were only seen in a row that did not fit."""
        labels = ["card", "card lost", "card lost abroad", "c"]
        rows = [{"id": str(i), "input": tinybase.NOUNS[i % 20] + " please", "output": labels[i % 4]} for i in range(80)]
        rows += [{"id": "long", "input": "please " * 500, "output": "a label that is much longer than all others of this set"}]
        for more in ({}, {"max_new_tokens": "1"}):
            job = self.trained(rows, **QUICK, **more)
            _, answers = job.infer([row["input"] for row in rows[:40]])
            self.assertLessEqual({a["output"] for a in answers}, {row["output"] for row in rows})


class Verbs(real.Case):
    def test_probe(self):
        done = self.good(real.Running(["probe", "--device", "cpu"]).wait())
        self.assertEqual(done.result["torch"], importlib.metadata.version("torch"))
        self.assertGreater(done.result["free_bytes"], 0)

    def test_selftest(self):
        runs = []
        for name in ("a", "b"):
            os.makedirs(os.path.join(self.dir, name))
            runs.append(self.good(real.Running(["selftest", "--device", "cpu", "--dir", os.path.join(self.dir, name)]).wait()).result)
        self.assertTrue(runs[0]["reproducible"])
        self.assertEqual(runs[0], runs[1])


if __name__ == "__main__":
    real.main()
