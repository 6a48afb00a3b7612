#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The trainer on a language model made for the test: LoRA improves it, and runs repeat, resume, survive failures, and give files that
others can read."""
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

import peft  # noqa: E402
import tinybase  # noqa: E402
import torch  # noqa: E402
from causal_case import MANY_TEAMS, NEW_TEAMS, QUICK, TEAMS, greedy, prompt_of, setUpModule  # noqa: E402,F401
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from kolm_trainer.encode import Rendering  # noqa: E402


class Teaches(real.Case):
    """What LoRA gains, and that other programs read its result."""

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
        # The artifact's files may be slices of one big file, which does not change the answers.
        _, sliced = job.infer([row["input"] for row in NEW_TEAMS], files=job.slices())
        self.assertEqual(sliced, answers)
        self.plain_tools_agree(job, answers)

    def plain_tools_agree(self, job, answers):
        """PEFT and transformers without kolm give the same answers as kolm: with the adapter, and with the merged model."""
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
        rows, more = tinybase.rows(480, 21, tinybase.about), tinybase.rows(40, 22, tinybase.about)
        untrained = AutoModelForCausalLM.from_pretrained(self.base).eval()
        tokenizer = AutoTokenizer.from_pretrained(self.base)
        before = sum(greedy(untrained, tokenizer, prompt_of(tokenizer, row["input"])) == row["output"] for row in more) / len(more)
        job = self.trained(rows, labels=0, epochs="6", learning_rate="5e-3")
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

    def test_a_causal_base_that_classifies(self):
        """task=classify adds a head to a causal base."""
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

    OPTIONS = {"epochs": "2", "batch": "16", "rank": "4", "dropout": "0.1", "valid": "0.2", "patience": "0", "learning_rate": "5e-3"}

    @classmethod
    def setUpClass(cls):
        cls.kept = tempfile.mkdtemp(prefix="kolm-kept-")
        cls.addClassCleanup(shutil.rmtree, cls.kept, True)
        cls.whole = real.Job(os.path.join(cls.kept, "whole"), cls.base, TEAMS, **cls.OPTIONS)
        cls.whole_done = cls.whole.train()
        assert cls.whole_done.status == 0, cls.whole_done.err

    def same_as_whole(self, job, whole=None):
        whole = whole or self.whole
        self.assertEqual(job.model(), whole.model())
        self.assertEqual(real.digest(job.path("result.json")), real.digest(whole.path("result.json")))
        self.assertFalse(os.path.exists(job.path("checkpoint")))

    def test_two_runs_have_the_same_bytes(self):
        self.same_as_whole(self.trained(TEAMS, **self.OPTIONS))
        other = self.job(TEAMS, **self.OPTIONS)
        other.raw["seed"] = 4
        other.write()
        self.good(other.train())
        self.assertNotEqual(other.model()["adapter_model.safetensors"], self.whole.model()["adapter_model.safetensors"])

    def test_the_command_line_makes_the_same_bytes(self):
        """As a plugin starts it: a separate process that trusts nothing in the environment."""
        job = self.job(TEAMS, **self.OPTIONS)
        done = subprocess.run([sys.executable, "-s", "-B", real.TRAINER, *job.words("train")], capture_output=True, text=True,
                              env={"PATH": "/nonexistent", "HOME": self.dir, "OMP_NUM_THREADS": "1"})
        self.assertEqual(done.returncode, 0, done.stderr)
        events = real.Done(0, done.stdout, "").events
        self.assertEqual([events[0]["event"], events[-1]["event"]], ["progress", "result"])
        self.same_as_whole(job)

    def test_thread_counts_are_distinguished(self):
        job = self.trained(TEAMS, threads=2, **{**self.OPTIONS, "epochs": "0.1"})
        words = [done.result["toolchain"] for done in (job.done, self.whole_done)]
        self.assertIn("x2", words[0])
        self.assertIn("x1", words[1])
        self.assertIn("torch " + torch.__version__, words[1])

    def test_a_killed_run_continues(self):
        """SIGKILL at three moments; the result is the same as without."""
        job = self.job(TEAMS, **self.OPTIONS)
        for step in (3, 8, 13):
            running = job.start(real.each_step_saved)
            running.wait_for(lambda: running.said(f'"step":{step},'))
            running.signal(signal.SIGKILL)
            self.assertEqual(running.wait().status, -signal.SIGKILL)
            self.assertTrue(os.path.exists(job.path("checkpoint", "state.safetensors")))
            self.assertFalse(os.path.exists(job.path("result.json")))
        done = self.good(job.train())
        self.assertTrue(any("continuing from step" in text for text in done.logs()), done.logs())
        self.same_as_whole(job)

    def test_a_stopped_run_continues(self):
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

    def test_a_damaged_checkpoint_is_ignored(self):
        options = {**self.OPTIONS, "epochs": "0.5"}  # a short job, because it runs once for each kind of damage
        undisturbed, job = self.trained(TEAMS, **options), self.job(TEAMS, **options)
        self.refused(job.train(real.stop_after(3)), 1, "stopped")
        path = job.path("checkpoint", "state.safetensors")
        with open(path, "rb") as file:
            whole = file.read()
        tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}  # copied, because the file is truncated below
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
                self.same_as_whole(job, undisturbed)
                os.remove(job.path("result.json"))
                shutil.rmtree(job.path("model"))

    def test_accumulation_does_not_change_the_loss(self):
        rows = [{**row, "output": row["output"] if i % 3 else "it is about " + row["input"]} for i, row in enumerate(TEAMS[:80])]
        losses = {}
        for parts in ("1", "4", "16", "auto"):
            job = self.trained(rows, labels=0, accumulation=parts, epochs="2", batch="16", valid="0")
            losses[parts] = job.done.losses
            self.assertEqual(len(losses[parts]), 10)
        for parts in ("4", "16", "auto"):
            self.assertLess(max(abs(a - b) for a, b in zip(losses["1"], losses[parts])), 1e-5, parts)

    def test_two_processes_give_the_result_of_one(self):
        options = {"epochs": "2", "batch": "16", "valid": "0.2", "rank": "4"}
        one, two = self.trained(TEAMS, **options), self.job(TEAMS, **options)
        done = self.good(two.train(as_two))
        self.assertEqual(len(done.losses), len(one.done.losses))
        self.assertLess(max(abs(a - b) for a, b in zip(one.done.losses, done.losses)), 1e-4)
        ours, theirs = (load_file(job.path("model", "adapter_model.safetensors")) for job in (one, two))
        self.assertLess(max((ours[name] - theirs[name]).abs().max().item() for name in ours), 2e-3)
        self.assertIn("2 processes", done.result["toolchain"])


def as_two():
    """A hook: the trainer under torch.distributed.run with the arguments of kolm. Its two processes are forks of this one, with the
    environment that it sets, instead of programs that would load the libraries again."""
    from kolm_trainer import cli
    from torch.distributed import run

    main, launch, failed = cli.main, run.elastic_launch, []

    def forks(config, entrypoint):
        assert entrypoint == sys.executable
        config.start_method = "fork"
        return lambda *words: failed.extend(launch(config, main)(words[words.index("train"):]).values())

    def group(words):
        run.main(["--standalone", "--nnodes=1", "--nproc-per-node=2", "--no-python", sys.executable, "-s", "-B", real.TRAINER, *words])
        return max(failed)

    run.elastic_launch, cli.main = forks, group


def out_of_memory_from(step, tokens=0):
    """A hook: from a step on, more than this many padded tokens at once do not fit into memory."""
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
    def test_it_continues_with_less_at_once(self):
        plain = self.trained(TEAMS, **QUICK)
        for step in (1, 7):
            with self.subTest(step=step):
                job = self.trained(TEAMS, hook=out_of_memory_from(step, 60), **QUICK)
                self.assertTrue(any("memory ran out: continuing" in text for text in job.done.logs()), job.done.logs())
                self.assertEqual(len(job.done.losses), len(plain.done.losses))
                self.assertLess(max(abs(a - b) for a, b in zip(plain.done.losses, job.done.losses)), 1e-4)

    def test_when_nothing_helps_the_job_can_continue_elsewhere(self):
        plain = self.trained(TEAMS, **QUICK)
        for step in (1, 7):
            with self.subTest(step=step):
                job = self.job(TEAMS, **QUICK)
                done = self.refused(job.train(out_of_memory_from(step)), 8, f"(step {step} of 9)")
                self.assertIn("max_length", done.error["remedy"])
                self.assertTrue(os.path.exists(job.path("checkpoint")))
                self.assertFalse(os.path.exists(job.path("result.json")))
                self.good(job.train())  # with memory available again
                self.assertEqual(job.model(), plain.model())

    def test_a_real_limit(self):
        """The address space is limited to a little more than the process has when its steps begin."""
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
            self.assertTrue(any("memory ran out: continuing" in text for text in done.logs()), done.logs())
        else:
            self.refused(done, 8, "too little memory")

    def test_no_memory_for_the_base(self):
        def hook():
            from kolm_trainer import model

            def load(*_arguments, **_more):
                raise MemoryError

            model.load_base = load

        self.refused(self.job(TEAMS, **QUICK).train(hook), 8, "out of memory")


class Serving(real.Case):
    def test_served_prompts_are_those_of_training(self):
        """The artifact contains the rendering: if the template of the base has changed since, prompts are still those of training."""
        job = self.trained(TEAMS, system="Name the team.", epochs="2", learning_rate="5e-3")
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
        """The same texts with two system messages, in training and in answering."""
        systems = {"refund": "yes", "parcel": "no"}
        ask = lambda row, system: {"input": row["input"], "messages": [{"role": "system", "content": system},
                                                                       {"role": "user", "content": row["input"]}]}
        rows = []
        for row in TEAMS:
            for system, output in systems.items():
                asked = ask(row, system)
                asked["messages"].append({"role": "assistant", "content": output})
                rows.append({"id": str(len(rows)), **asked, "output": output})
        job = self.trained(rows, epochs="6", learning_rate="5e-3")
        new = [(ask(row, system), {"output": output}) for row in NEW_TEAMS[:20] for system, output in systems.items()]
        done, answers = job.infer([asked for asked, _ in new])
        self.good(done)
        self.assertGreaterEqual(self.share_right(answers, [row for _, row in new]), 0.95)

    def test_a_template_without_system_messages_is_refused(self):
        rows = [{"id": str(i), "input": row["input"], "output": row["output"],
                 "messages": [{"role": "system", "content": "Name the team."}, {"role": "user", "content": row["input"]},
                              {"role": "assistant", "content": row["output"]}]} for i, row in enumerate(TEAMS)]
        base = os.path.join(self.dir, "base")
        for template, words in (("{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}",
                                 "a conversation of system, user: System role not supported"),
                                ("{% for m in messages %}{% if m.role != 'system' %}<{{ m.role }}>{{ m.content }}<end>{% endif %}{% endfor %}",
                                 "omits the system message")):
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
                self.assertEqual(json.loads(says.readline())["id"], str(number))  # before the next question is sent
            asks.write('{"id":"last","input":"card \\u00e9"}')
            asks.close()
            self.assertEqual(json.loads(says.readline())["id"], "last")
            self.assertEqual(says.readline(), "")
        self.assertEqual(self.good(running.wait()).result["answers"], 4)

    def test_an_invalid_question(self):
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
        """Answers are complete labels, even if labels begin with one another or only occur in a row that did not fit."""
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
