#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shipped backends: their table, and what each detect says of recorded machines and of doubles of their drivers."""
import json
import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))
import harness  # noqa: E402
from harness import Case  # noqa: E402

DOUBLES = os.path.join(os.path.dirname(os.path.dirname(harness.TEST_BACKENDS)), "tests", "plugins")

# name, kind, tier, trains, airgap, dollars an hour, cold start, vram, perf, auth: the table of the design.
TABLE = [
    ("local-cpu", "local", 1, True, "yes", 0, 0, None, 0.30, []),
    ("local-cuda", "local", 1, True, "yes", 0, 0, "own", 1.00, []),
    ("local-mps", "local", 1, True, "yes", 0, 0, "shared", 0.85, []),
    ("local-mlx", "local", 2, True, "yes", 0, 0, "shared", 0.90, []),
    ("local-rocm", "local", 2, True, "yes", 0, 0, "own", 0.85, []),
    ("local-directml", "local", 2, True, "yes", 0, 0, "own", 0.70, []),
    ("modal", "cloud-serverless", 1, True, "no", 2.50, 5, 80, 0.95, ["KOLM_MODAL_TOKEN"]),
    ("runpod", "cloud-serverless", 1, True, "no", 1.20, 60, 80, 0.92, ["KOLM_RUNPOD_TOKEN"]),
    ("vast", "cloud-marketplace", 1, True, "no", 0.50, 60, 80, 0.88, ["KOLM_VAST_TOKEN"]),
    ("together", "cloud-managed", 1, True, "no", None, 0, None, 0.85, ["KOLM_TOGETHER_TOKEN"]),
    ("lambda", "cloud-marketplace", 2, True, "no", 2.00, 90, 80, 0.90, ["KOLM_LAMBDA_TOKEN"]),
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
                return
        self.fail(name + " is not built")

    def detect(self, name, settings=None, env=None):
        """The detection of the backend with these settings: {"state", "reason", "remedy", "devices", ...}."""
        if not os.path.exists(os.path.join(self.plugins, name + ".so")):
            self.add(name)
        self.write_home("config.json", json.dumps({"backends": {name: settings or {}}}))
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
                token = "tok-0123456789-%s-wxyz" % name
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
        self.assertEqual(self.detect("local-cuda", {"nvml_library": "relative.so"})["state"], "broken")


class Amd(Plugins):
    def tree(self, *nodes, vram=True):
        """A recorded tree of sysfs: node 0 is the processor, as on every machine."""
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

    def test_an_apu_is_told_apart(self):
        self.assertEqual(self.amd(self.card(gfx=110003))["devices"][0]["memory"], "shared")
        self.assertEqual(self.amd(self.card(cpu_cores_count=8))["devices"][0]["memory"], "shared")

    def test_nothing_there(self):
        self.assertEqual(self.amd()["state"], "absent")
        self.assertEqual(self.detect("local-rocm", {"sysfs_root": os.path.join(self.dir, "nothing")})["state"], "absent")

    def test_memory_that_cannot_be_read(self):
        self.assertIsNone(self.amd(self.card(), vram=False)["devices"][0]["total_memory_bytes"])

    def test_garbage(self):
        self.assertEqual(self.amd("simd_count\nsimd_count x\n\0\xff simd_count 5000000000000000000000\n")["state"], "absent")

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
        self.assertEqual(found["devices"][0]["id"], "03:00.2")  # the second of those that ROCr lists is node 2's


class Others(Plugins):
    def test_what_is_of_another_system_is_absent(self):
        for name in ("local-mps", "local-mlx", "local-directml"):
            with self.subTest(backend=name):
                found = self.detect(name)
                self.assertIn(found["state"], ("absent", "available" if name == "local-directml" and os.path.exists("/dev/dxg") else "absent"))
                self.assertTrue(found["reason"])

    def test_mlx_that_the_user_names(self):
        self.assertEqual(self.detect("local-mlx", {"runtime": "/usr/bin/env"})["state"], "available")
        for wrong in ("/nowhere/python3", "python3", "/tmp"):
            self.assertEqual(self.detect("local-mlx", {"runtime": wrong})["state"], "broken", wrong)


if __name__ == "__main__":
    harness.main()
