#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the trainer refuses about a language model, its data and its job, and with which messages."""
import json
import os
import shutil
import sys
import types

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import real  # noqa: E402

if __name__ == "__main__":
    real.enter()

import tinybase  # noqa: E402
import torch  # noqa: E402
from causal_case import NEW_TEAMS, QUICK, TEAMS, setUpModule  # noqa: E402,F401
from safetensors.torch import load_file, save_file  # noqa: E402


class Refusals(real.Case):
    """Bad input: each kind has its code and message, and the job can be started again."""

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
        # A higher limit is suggested only if the base allows more than the limit that was exceeded.
        (said,) = [text for text in job.done.logs() if "1 rows are longer than 128 tokens" in text]
        self.assertIn("the context of the base is 128 tokens", said)
        self.assertNotIn("max_length=", said)
        said = "; ".join(self.trained(rows, max_length="64", **QUICK).done.logs())
        self.assertIn("--set max_length=128 includes all that fit the context of the base", said)
        done = self.refused(self.job(rows[-1:] * 5, labels=0, **QUICK).train(), 3, "all 5 are longer than 128 tokens")
        self.assertNotIn("max_length=", done.error["remedy"])
        self.refused(self.job(rows, max_length="129").train(), 3, "more than the 128 tokens of the base")
        # A question that does not fit is answered from its beginning, and this is reported.
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
        """One entry is used; of several the default is used, as in transformers; without a default it is an error."""
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

    def test_an_adapter_next_to_the_base(self):
        """transformers would apply it to the base; here it is ignored, and this is reported. Merging works."""
        plain = self.trained(TEAMS, **QUICK)
        base = self.changed_base()
        for name in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copy(plain.path("model", name), base)
        path = os.path.join(base, "adapter_config.json")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        real.write_json(path, {**config, "base_model_name_or_path": "somewhere/else"})
        job = self.trained(TEAMS, base=base, **QUICK)
        self.assertTrue(any("also contains an adapter" in text for text in job.done.logs()), job.done.logs())
        self.assertEqual(job.model(), plain.model())
        self.assertEqual(job.infer(["refund please"])[1], plain.infer(["refund please"])[1])
        wholes = []
        for name, one in (("a", plain), ("b", job)):
            target = os.path.join(self.dir, name)
            self.good(one.merge(target))
            self.assertNotIn("adapter_config.json", os.listdir(target))
            wholes.append(load_file(os.path.join(target, "model.safetensors")))
        self.assertTrue(all(torch.equal(tensor, wholes[1][name]) for name, tensor in wholes[0].items()))

    def test_a_stale_index_next_to_the_weights(self):
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
        self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "do not match its config.json")
        base = self.changed_base()
        path = os.path.join(base, "model.safetensors")
        tensors = {n: t.clone() for n, t in load_file(path).items() if n != "model.layers.1.mlp.up_proj.weight"}
        save_file(tensors, path, metadata={"format": "pt"})
        self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "lacks 1 of its tensors; the first is model.layers.1.mlp.up_proj.weight")

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
        else:  # the version of local-directml, with which transformers reads no pickles
            self.refused(self.job(TEAMS, base=base, allow_pickle="true", **QUICK).train(), 3, "torch to at least v2.6")

    def test_an_unknown_architecture(self):
        self.refused(self.job(TEAMS, base=self.changed_base(model_type="unheard_of"), **QUICK).train(), 3, "cannot be loaded")

    def test_an_invalid_tokenizer(self):
        base = self.changed_base()
        real.write_json(os.path.join(base, "tokenizer.json"), {"version": "1.0"})
        self.refused(self.job(TEAMS, base=base, **QUICK).train(), 3, "tokenizer")

    def test_targets_that_are_not_there(self):
        self.refused(self.job(TEAMS, targets="q_projection", **QUICK).train(), 3, "LoRA cannot be added to this base")
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
                self.refused(self.job(TEAMS, device=device, **QUICK).train(), 9, f"cannot use the {device} device")
        self.refused(real.Running(["probe", "--device", "cuda"]).wait(), 9, "cannot use the cuda device")

    def test_directml_without_the_libraries_of_windows(self):
        def hook():
            class Finder:
                def find_spec(name, path=None, target=None):
                    if name == "torch_directml":
                        raise OSError("libd3d12.so: cannot open shared object file")
                    return None

            sys.meta_path.insert(0, Finder)

        done = self.refused(self.job(TEAMS, device="directml", **QUICK).train(hook), 9, "libd3d12.so")
        self.assertIn("cannot use the directml device", done.error["text"])
        self.assertIn("update WSL", done.error["remedy"])

    def test_four_bits_on_a_processor(self):
        self.refused(self.job(TEAMS, method="qlora", **QUICK).train(), 9, "4-bit arithmetic is not available")

    def test_a_loss_that_is_no_number(self):
        self.refused(self.job(TEAMS, method="full", learning_rate="1", max_grad_norm="0", epochs="40", schedule="constant",
                              warmup="0", patience="0", valid="0").train(self.infinite), 3, "the loss is not finite")

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
        """What the trainer does differently for DirectML, tested on a processor: no inference mode, no fused optimizer."""
        def hook():
            def inference_mode(*_):
                raise RuntimeError("Cannot set version_counter for inference tensor")  # torch-directml's error

            sys.modules["torch_directml"] = types.ModuleType("torch_directml")
            sys.modules["torch_directml"].device = lambda: torch.device("cpu")
            torch.inference_mode = inference_mode

        for device, status in (("cpu", 1), ("directml", 0)):  # the first one shows that the hook has an effect
            with self.subTest(device):
                job = self.job(TEAMS, device=device, **QUICK)
                self.assertEqual(job.train(hook).status, status)
        done, answers = job.infer([row["input"] for row in NEW_TEAMS[:8]], hook=hook)
        self.good(done)
        self.assertTrue(all(answer["output"] in job.report()["labels"] for answer in answers))
        self.assertIn("DirectX", done.result["device"])


if __name__ == "__main__":
    real.main()
