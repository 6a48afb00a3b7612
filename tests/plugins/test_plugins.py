#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shipped backends: their table, and the detections of recorded machines and of fakes of their drivers."""
import json
import os
import shutil
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import Case  # noqa: E402

DOUBLES = os.path.join(os.path.dirname(os.path.dirname(harness.TEST_BACKENDS)), "tests", "plugins")

# name, kind, tier, trains, airgap, dollars per hour, cold start, vram, perf, auth: as in the design.
TABLE = [
    ("local-cpu", "local", 1, True, "yes", 0, 0, None, 0.30, []),
    ("local-cuda", "local", 1, True, "yes", 0, 0, "own", 1.00, []),
    ("local-mps", "local", 1, True, "yes", 0, 0, "shared", 0.85, []),
    ("local-mlx", "local", 2, True, "yes", 0, 0, "shared", 0.90, []),
    ("local-rocm", "local", 2, True, "yes", 0, 0, "own", 0.85, []),
    ("local-directml", "local", 2, True, "yes", 0, 0, "own", 0.70, []),
    ("modal", "cloud-serverless", 1, True, "no", 2.50, 5, 192, 0.95, ["KOLM_MODAL_TOKEN"]),  # 80 in the design; a B200 has 192
    ("runpod", "cloud-serverless", 1, True, "no", 1.20, 60, 192, 0.92, ["KOLM_RUNPOD_TOKEN"]),  # 80 in the design, as for the next two
    ("vast", "cloud-marketplace", 1, True, "no", 0.50, 60, 192, 0.88, ["KOLM_VAST_TOKEN"]),
    ("together", "cloud-managed", 1, True, "no", None, 0, None, 0.85, ["KOLM_TOGETHER_TOKEN"]),
    ("lambda", "cloud-marketplace", 2, True, "no", 2.00, 90, 180, 0.90, ["KOLM_LAMBDA_TOKEN"]),
    ("replicate", "cloud-serverless", 2, True, "no", None, 60, 80, 0.80, ["KOLM_REPLICATE_TOKEN"]),
    ("fal", "cloud-serverless", 2, False, "no", None, 5, None, 0.60, ["KOLM_FAL_TOKEN"]),
    ("remote-ssh", "self-hosted", 1, True, "depends", 0, 0, "own", 0.85, ["KOLM_REMOTE_HOST"]),
]
GIB = 1 << 30


def setUpModule():
    harness.set_up_tree()


class Plugins(Case):
    backends = ()

    def setUp(self):
        super().setUp()
        self.env["PATH"] = "/usr/bin:/bin"

    def add(self, name):
        for folder, _, files in os.walk(harness.BUILT_PLUGINS):
            if name + ".so" in files:
                for suffix in (".so", ".json"):
                    shutil.copy(os.path.join(folder, name + suffix), self.plugins)
                    os.chmod(os.path.join(self.plugins, name + suffix), 0o755)
                self.kolm("backend", "grant", name)  # they are not in the installed directory
                return
        self.fail(name + " is not built")

    def interpreter(self, *packages, closed=True):
        """Makes a virtual environment that has only names: an interpreter that is never started, and packages as NAME-VERSION."""
        root = os.path.join(self.dir, "venv")
        shutil.rmtree(root, True)
        for folder in ["bin"] + ["lib/python3.11/site-packages/%s.dist-info" % p for p in packages]:
            os.makedirs(os.path.join(root, folder))
        python = os.path.join(root, "bin", "python")
        with open(python, "w") as out:
            out.write("#!/nothing\n")
        os.chmod(python, 0o755)
        if closed:
            with open(os.path.join(root, "pyvenv.cfg"), "w") as out:
                out.write("home = /usr/bin\n")
        return python

    TORCH = ("torch-2.13.0", "transformers-5.23.0", "peft-0.21.2")

    def detect(self, name, settings=None, env=None, python="whole"):
        """The detection of the backend with these settings: {"state", "reason", "remedy", "devices", ...}. Its runtime is complete, unless
        another one, or None, is passed."""
        if python == "whole":
            python = self.interpreter(*(self.TORCH + ("torch_directml-0.2.5", "mlx-0.31.0", "mlx_lm-0.29.0")))
        if not os.path.exists(os.path.join(self.plugins, name + ".so")):
            self.add(name)
        runtimes = {name: python} if python else {}
        self.write_home("config.json", json.dumps({"backends": {name: settings or {}}, "runtimes": runtimes}))
        report = json.loads(self.kolm("compute", "detect", "--refresh", "--json", env=env, code=None).out)
        found = [b for b in report["backends"] if b["name"] == name][0]
        return found.get("detection", found)

    def test_the_table(self):
        for name, kind, tier, trains, airgap, price, cold, vram, perf, auth in TABLE:
            with self.subTest(backend=name):
                self.add(name)
                with open(os.path.join(self.plugins, name + ".json")) as f:
                    m = json.load(f)
                self.assertEqual((m["name"], m["kind"], m["tier"], m["train"], m["infer"], m["airgap"]), (name, kind, tier, trains, True, airgap))
                self.assertEqual((m["cost_per_hour_usd"], m["cold_start_seconds"], m["vram_cap_gb"], m["perf"], m["auth"]),
                                 (price, cold, vram, perf, auth))
        self.assertEqual(len(self.json("compute", "list")["backends"]), 14)


class Tokens(Plugins):
    TOKENS = {row[0]: row[-1][0] for row in TABLE if row[1].startswith("cloud")}

    def test_a_token_makes_it_available_and_is_not_shown(self):
        for name, variable in self.TOKENS.items():
            with self.subTest(backend=name):
                self.assertEqual(self.detect(name)["state"], "absent")
                with open(os.path.join(self.plugins, name + ".json"), encoding="utf-8") as file:
                    settings = [one["key"] for one in json.load(file)["settings"]]
                if "api" in settings:  # requests go to this closed port: no token of a test is sent to a provider
                    self.write_home("config.json", json.dumps({"backends": {name: {"api": "http://127.0.0.1:9"}}}))
                token = "tok-0123456789-%s:id-wxyz" % name
                found = self.detect(name, env={variable: token})
                self.assertEqual(found["state"], "available", found)
                self.assertNotIn("0123456789", json.dumps(found))
                found = self.detect(name, env={variable: "has blanks in it"})
                self.assertEqual(found["state"], "broken", found)
                self.assertNotIn("has blanks", json.dumps(found))


class Ssh(Plugins):
    GOOD = ("box", "ana@gpu.example.org", "gpu.example.org:2222", "ana@[2001:db8::1]:22", "[fe80::1%eth0]", "10.0.0.7")
    BAD = ("-oProxyCommand=x", "ana@-box", "a b", "box:0", "box:65536", "box:ssh", "@box", "[::1", "[not-an-address]:22", "box;reboot", "$(id)", "a" * 300)

    def test_addresses(self):
        for address in self.GOOD:
            with self.subTest(address=address):
                self.assertEqual(self.detect("remote-ssh", env={"KOLM_REMOTE_HOST": address})["state"], "available")
        for address in self.BAD:
            with self.subTest(address=address):
                found = self.detect("remote-ssh", env={"KOLM_REMOTE_HOST": address})
                self.assertEqual(found["state"], "broken", found)
                self.assertTrue(found["remedy"])
        self.assertEqual(self.detect("remote-ssh")["state"], "absent")


class Nvidia(Plugins):
    def nvml(self, double, env=None):
        return self.detect("local-cuda", {"nvml_library": os.path.join(DOUBLES, "fake-nvml-%s.so" % double)}, env)

    def names(self, found):
        return [d["name"] for d in found["devices"]]

    def test_a_card(self):
        found = self.nvml("one")
        self.assertEqual(found["state"], "available", found)
        card = found["devices"][0]
        self.assertEqual((card["total_memory_bytes"], card["free_memory_bytes"], card["memory"]), (80 * GIB, 70 * GIB, "own"))
        self.assertEqual(card["driver"], "NVIDIA 535.104.05")
        self.assertNotIn("\x1b", card["name"])

    def test_no_card(self):
        self.assertEqual(self.nvml("none")["state"], "absent")
        self.assertEqual(self.nvml("not-loaded")["state"], "absent")

    def test_what_is_broken_says_what_to_do(self):
        for double, word in (("mismatch", "reboot"), ("no-permission", "group"), ("strange", "nvidia-smi"), ("old", "450"), ("empty-mig", "mig")):
            with self.subTest(double=double):
                found = self.nvml(double)
                self.assertEqual(found["state"], "broken", found)
                self.assertIn(word, found["remedy"])

    def test_memory_that_cannot_be_read(self):
        card = self.nvml("no-memory")["devices"][0]
        self.assertIsNone(card["total_memory_bytes"])
        self.assertIsNone(card["free_memory_bytes"])

    def test_a_driver_that_hangs(self):
        self.assertEqual(self.nvml("hangs")["state"], "timed out")

    def test_slices(self):
        found = self.nvml("mig")
        self.assertEqual(len(found["devices"]), 4)  # three slices of card 0, and card 1
        self.assertEqual([d["total_memory_bytes"] for d in found["devices"]], [10 * GIB] * 3 + [80 * GIB])
        self.assertTrue(found["devices"][0]["id"].startswith("MIG-"))

    def test_visible_devices(self):
        for visible, count in (("0", 1), ("1,0", 2), ("", 0), ("-1", 0), ("7", 0), ("GPU-0000abc2", 1), ("gpu-0000ABC1", 0), ("0,x,1", 1), ("GPU-ffff", 0)):
            with self.subTest(visible=visible):
                found = self.nvml("two", {"CUDA_VISIBLE_DEVICES": visible})
                self.assertEqual(len(found["devices"]), count, found)
                self.assertEqual(found["state"], "available" if count else "absent")
        for visible, count in (("MIG-0000ac25-0000", 1), ("4294967295", 0), ("9", 0)):
            with self.subTest(slices=visible):
                self.assertEqual(len(self.nvml("mig", {"CUDA_VISIBLE_DEVICES": visible})["devices"]), count)

    def test_a_library_that_is_not_there(self):
        self.assertEqual(self.detect("local-cuda", {"nvml_library": "/nowhere/libnvidia-ml.so.1"})["state"], "broken")
        self.write_home("config.json", json.dumps({"backends": {"local-cuda": {"nvml_library": "relative.so"}}}))
        refused = json.loads(self.kolm("compute", "list", "--json").out)["refused"]
        self.assertIn("local-cuda.nvml_library: expected a path from / or ~ on", refused[0]["why"])

    def test_a_library_in_the_home_directory(self):
        os.symlink(os.path.join(DOUBLES, "fake-nvml-one.so"), os.path.join(self.dir, "nvml.so"))
        for path in ("~/nvml.so", "${HOME}/nvml.so", "${FIRST}/${SECOND}.so"):
            found = self.detect("local-cuda", {"nvml_library": path}, env={"HOME": self.dir, "FIRST": self.dir, "SECOND": "nvml"})
            self.assertEqual(found["state"], "available", (path, found))
        found = self.detect("local-cuda", {"nvml_library": "${NOT_SET}/nvml.so"})
        self.assertEqual(found["state"], "broken", found)


    def test_a_container_without_the_device(self):
        proc = os.path.join(self.dir, "version")
        open(proc, "w").close()
        library = os.path.join(DOUBLES, "fake-nvml-not-loaded.so")
        found = self.detect("local-cuda", {"nvml_library": library, "nvidia_proc": proc})
        self.assertEqual(found["state"], "broken", found)
        self.assertIn("--gpus", found["remedy"])
        os.remove(proc)
        self.assertEqual(self.detect("local-cuda", {"nvml_library": library, "nvidia_proc": proc})["state"], "absent")


class Amd(Plugins):
    def tree(self, *nodes, vram=True):
        """Makes a recorded sysfs tree: node 0 is the CPU, as on every machine."""
        root = os.path.join(self.dir, "sys")
        shutil.rmtree(root, True)
        for number, properties in enumerate(({"cpu_cores_count": 16, "simd_count": 0},) + nodes):
            node = os.path.join(root, "class/kfd/kfd/topology/nodes", str(number))
            os.makedirs(node)
            text = properties if isinstance(properties, str) else "".join("%s %d\n" % item for item in properties.items())
            with open(os.path.join(node, "properties"), "w") as out:
                out.write(text)
            if vram and isinstance(properties, dict) and "drm_render_minor" in properties:
                device = os.path.join(root, "class/drm/renderD%d/device" % properties["drm_render_minor"])
                os.makedirs(device)
                for name, value in (("mem_info_vram_total", 24 * GIB), ("mem_info_vram_used", GIB)):
                    with open(os.path.join(device, name), "w") as out:
                        out.write("%d\n" % value)
        kfd = os.path.join(self.dir, "kfd")
        open(kfd, "w").close()
        return {"sysfs_root": root, "kfd": kfd}

    @staticmethod
    def card(number=0, gfx=110000, **more):
        return dict({"cpu_cores_count": 0, "simd_count": 384, "gfx_target_version": gfx, "location_id": 768 + number, "drm_render_minor": 128 + number,
                     "unique_id": 0xA0 + number}, **more)

    def amd(self, *nodes, env=None, **more):
        return self.detect("local-rocm", self.tree(*nodes, **more), env)

    def test_a_card(self):
        found = self.amd(self.card())
        self.assertEqual(found["state"], "available", found)
        card = found["devices"][0]
        self.assertEqual((card["total_memory_bytes"], card["free_memory_bytes"], card["memory"], card["units"]), (24 * GIB, 23 * GIB, "own", 96))
        self.assertEqual(card["name"], "AMD gfx1100")

    def test_an_apu_is_distinguished(self):
        self.assertEqual(self.amd(self.card(gfx=110003))["devices"][0]["memory"], "shared")
        self.assertEqual(self.amd(self.card(cpu_cores_count=8))["devices"][0]["memory"], "shared")

    def test_nothing_there(self):
        self.assertEqual(self.amd()["state"], "absent")
        self.assertEqual(self.detect("local-rocm", {"sysfs_root": os.path.join(self.dir, "nothing")})["state"], "absent")

    def test_memory_that_cannot_be_read(self):
        self.assertIsNone(self.amd(self.card(), vram=False)["devices"][0]["total_memory_bytes"])

    def test_garbage(self):
        self.assertEqual(self.amd("simd_count\nsimd_count x\n\0\xff simd_count 5000000000000000000000\n")["state"], "absent")

    @unittest.skipIf(os.geteuid() == 0, "root may open every node")
    def test_no_permission_on_the_node(self):
        settings = self.tree(self.card())
        os.chmod(settings["kfd"], 0o400)
        found = self.detect("local-rocm", settings)
        self.assertEqual(found["state"], "broken", found)
        self.assertIn("render", found["remedy"])

    def test_a_kernel_that_does_not_answer(self):
        settings = self.tree(self.card())
        node = os.path.join(settings["sysfs_root"], "class/kfd/kfd/topology/nodes/1/properties")
        os.remove(node)
        os.mkfifo(node)  # it never gets a writer
        self.assertIn(self.detect("local-rocm", settings)["state"], ("absent", "timed out"))

    def test_a_torch_for_another_card(self):
        found = self.detect("local-rocm", self.tree(self.card()), python=self.interpreter("torch-2.13.0+cu126", *self.TORCH[1:]))
        self.assertEqual(found["state"], "absent", found)
        self.assertIn("AMD gfx1100", found["reason"])
        self.assertIn("built for NVIDIA's cards", found["reason"])
        self.assertEqual(self.detect("local-rocm", self.tree(self.card()), python=None)["state"], "absent")

    def test_a_container_without_the_device(self):
        settings = self.tree(self.card())
        settings["kfd"] = os.path.join(self.dir, "not-passed-in")
        found = self.detect("local-rocm", settings)
        self.assertEqual(found["state"], "broken")
        self.assertIn("--device", found["remedy"])

    def test_visible_devices(self):
        cards = [self.card(i) for i in range(3)]
        for env, ids in (({"HIP_VISIBLE_DEVICES": "2,0"}, 2), ({"ROCR_VISIBLE_DEVICES": "1"}, 1), ({"ROCR_VISIBLE_DEVICES": "GPU-00000000000000a2"}, 1),
                         ({"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "1"}, 1), ({"CUDA_VISIBLE_DEVICES": "0"}, 1),
                         ({"HIP_VISIBLE_DEVICES": "-1"}, 0)):
            with self.subTest(env=env):
                found = self.amd(*cards, env=env)
                self.assertEqual(len(found["devices"]), ids, found)
        found = self.amd(*cards, env={"ROCR_VISIBLE_DEVICES": "1,2", "HIP_VISIBLE_DEVICES": "1"})
        self.assertEqual(found["devices"][0]["id"], "03:00.2")  # the second of those that ROCr lists is node 2


class Wsl(Plugins):
    """DirectML under WSL2: a device node and a library that Windows mounts."""

    def dxg(self, device="dxg", library="libd3d12.so", **more):
        for name in ("dxg", "libd3d12.so"):
            open(os.path.join(self.dir, name), "w").close()
        settings = {"dxg": os.path.join(self.dir, device), "d3d12_library": os.path.join(self.dir, library)}
        return self.detect("local-directml", settings, **more)

    def test_a_device(self):
        found = self.dxg()
        self.assertEqual(found["state"], "available", found)
        self.assertEqual((found["devices"][0]["memory"], found["devices"][0]["total_memory_bytes"]), ("shared", None))
        self.assertIn("torch-directml 0.2.5", found["runtime"])

    def test_no_device(self):
        self.assertEqual(self.dxg(device="nothing", library="nothing.so")["state"], "absent")

    def test_a_container_without_the_device(self):
        found = self.dxg(device="nothing")
        self.assertEqual(found["state"], "absent", found)
        self.assertIn("--device /dev/dxg", found["remedy"])

    def test_no_runtime(self):
        found = self.dxg(python=self.interpreter(*self.TORCH))
        self.assertEqual(found["state"], "absent", found)
        self.assertIn("lacks torch-directml", found["reason"])

    def test_a_driver_without_its_library(self):
        found = self.dxg(library="nothing.so")
        self.assertEqual(found["state"], "broken", found)
        self.assertIn("wsl --update", found["remedy"])

    @unittest.skipIf(os.geteuid() == 0, "root may open every node")
    def test_no_permission_on_the_node(self):
        self.dxg()
        os.chmod(os.path.join(self.dir, "dxg"), 0)
        found = self.detect("local-directml", {"dxg": os.path.join(self.dir, "dxg")})
        self.assertEqual(found["state"], "broken", found)
        self.assertIn("permission", found["reason"])


class Runtimes(Plugins):
    """Missing packages are reported with the command that installs them; Python is never started."""

    def card(self, python, name="local-cuda"):
        return self.detect(name, {"nvml_library": os.path.join(DOUBLES, "fake-nvml-one.so")}, python=python)

    def test_none(self):
        found = self.card(None)
        self.assertEqual(found["state"], "absent", found)
        self.assertIn("NVIDIA Fake 1", found["reason"])
        self.assertIn("no Python runtime", found["reason"])
        self.assertIn("kolm compute setup local-cuda", found["remedy"])
        self.assertEqual(len(found["devices"]), 1)

    def test_versions(self):
        found = self.card(self.interpreter(*self.TORCH))
        self.assertEqual((found["state"], found["runtime"]), ("available", "torch 2.13.0, transformers 5.23.0, peft 0.21.2"))
        self.assertEqual(found["devices"][0]["runtime"], found["runtime"])

    def test_half_made(self):
        found = self.card(self.interpreter("torch-2.13.0"))
        self.assertEqual(found["state"], "absent", found)
        self.assertIn("lacks transformers, peft", found["reason"])
        self.assertIn("kolm compute setup local-cuda", found["remedy"])

    def test_a_layout_that_is_not_known(self):
        found = self.card(self.interpreter("nothing-1", closed=False))
        self.assertEqual(found["state"], "available", found)
        self.assertIn("versions unknown", found["runtime"])

    def test_a_torch_that_was_built_for_another_device(self):
        found = self.card(self.interpreter("torch-2.13.0+cpu", *self.TORCH[1:]))
        self.assertEqual(found["state"], "absent", found)
        self.assertIn("built for processors only", found["reason"])
        self.assertIn("kolm compute setup local-cuda", found["remedy"])

    def test_an_interpreter_that_cannot_be_run(self):
        found = self.card("/nowhere/python3")
        self.assertEqual(found["state"], "absent")
        self.assertIn("runtimes.local-cuda", found["remedy"])
        for wrong, why in (("python3", "python3 is not an absolute path"), ("/tmp", "/tmp is not a regular file")):
            self.write_home("config.json", json.dumps({"runtimes": {"local-cuda": wrong}}))
            refused = json.loads(self.kolm("compute", "detect", "--refresh", "--json", code=None).out)["refused"]
            self.assertEqual([row["name"] for row in refused], ["local-cuda"])
            self.assertIn("config.json: runtimes.local-cuda: " + why, refused[0]["why"])

    def test_the_processor_needs_none(self):
        found = self.detect("local-cpu", python=None)
        self.assertEqual(found["state"], "available", found)
        self.assertEqual(found["runtime"], "embedded linear 1; lora: needs `kolm compute setup local-cpu`")
        found = self.detect("local-cpu", python=self.interpreter("torch-2.13.0"))
        self.assertEqual((found["state"], "a package is missing" in found["runtime"]), ("available", True))
        self.assertIn("; torch 2.13.0, ", self.detect("local-cpu")["runtime"])

    def test_mlx_on_linux(self):
        if sys.platform == "darwin":
            self.skipTest("there it is Metal's")
        found = self.detect("local-mlx", python=None)
        self.assertEqual(found["state"], "absent", found)
        self.assertIn("kolm compute setup local-mlx", found["remedy"])
        self.assertEqual(self.detect("local-mlx", python=self.interpreter(*self.TORCH))["state"], "absent")
        found = self.detect("local-mlx")
        self.assertEqual((found["state"], found["devices"][0]["name"], found["runtime"]), ("available", "mlx on CPU", "mlx 0.31.0, mlx-lm 0.29.0"))
        found = self.detect("local-mlx", python=self.interpreter("mlx-0.31.0", "mlx_lm-0.29.0", "mlx_cuda_12-0.31.0"))
        self.assertEqual(found["devices"][0]["name"], "mlx on CUDA")


class Others(Plugins):
    def test_what_is_of_another_system_is_absent(self):
        for name in ("local-mps", "local-mlx", "local-directml"):
            with self.subTest(backend=name):
                found = self.detect(name, python=None)
                self.assertIn(found["state"], ("absent", "available" if name == "local-directml" and os.path.exists("/dev/dxg") else "absent"))
                self.assertTrue(found["reason"])


if __name__ == "__main__":
    harness.main()
