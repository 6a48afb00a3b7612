#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Regenerates the lock files in this directory, all or those named: make.py UV [NAME...]. Needs network access and uv
(https://docs.astral.sh/uv).

uv resolves the versions, once for each platform and Python. Names, sizes and hashes of the files come from PyPI's simple API (PEP 691),
those of files that are not on PyPI from pytorch-org.sha256.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
PYPI = "https://pypi.org/simple"
LOCAL_BYTES = 192_000_000  # approximate size of a torch+cpu wheel
TORCH, TRANSFORMERS, PEFT, DIRECTML = "2.13.0", "5.23.0", "0.21.2", "0.2.5.dev240914"
# pip itself, which setup installs first: that of Debian 12 (23.0.1) needs 1.6 GB of memory for the downloads, this one 0.6.
PIP = "pip==26.3"
COMMON = [PIP, "transformers==" + TRANSFORMERS, "peft==" + PEFT, "tokenizers", "safetensors", "numpy"]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
MAC, LINUX = ("darwin", "aarch64-apple-darwin"), ("linux", "x86_64-manylinux_2_36")

# The purpose of each lock and its direct requirements; uv resolves the rest. disk: bytes of a complete environment, measured or estimated.
LOCKS = {
    "local-cpu": {
        "summary": f"torch {TORCH} for processors, transformers {TRANSFORMERS}, peft {PEFT}",
        # torch+cpu has the same dependencies as torch on a Mac; uv cannot resolve it, because it is not on PyPI.
        "wants": [f"torch=={TORCH}", *COMMON], "platforms": [MAC], "local": ("torch", TORCH, "cpu"),
        "system": "linux darwin", "machine": "x86_64 aarch64 arm64", "index": [PYPI, "https://download.pytorch.org/whl/cpu"],
        "disk": 1_150_000_000,
    },
    "local-cuda": {
        "summary": f"torch {TORCH} with CUDA 13, transformers {TRANSFORMERS}, peft {PEFT}, bitsandbytes",
        "wants": [f"torch=={TORCH}", "bitsandbytes", *COMMON], "platforms": [LINUX],
        "system": "linux", "machine": "x86_64", "index": [PYPI], "disk": 7_500_000_000, "driver": 580,
        "notes": ["needs an NVIDIA driver for CUDA 13 (580 or newer)"],
    },
    "local-mps": {
        "summary": f"torch {TORCH} with Metal, transformers {TRANSFORMERS}, peft {PEFT}",
        "wants": [f"torch=={TORCH}", *COMMON], "platforms": [MAC],
        "system": "darwin", "machine": "arm64", "index": [PYPI], "disk": 1_000_000_000,
        "notes": ["never tried on a Mac"],
    },
    "local-mlx": {
        "summary": f"mlx 0.32.4, mlx-lm 0.32.2, transformers {TRANSFORMERS}",
        "wants": [PIP, "mlx==0.32.4", "mlx-cpu==0.32.4 ; sys_platform == 'linux'", "mlx-lm==0.32.2", "transformers==" + TRANSFORMERS, "safetensors", "numpy"],
        "platforms": [MAC, LINUX],
        "system": "linux darwin", "machine": "x86_64 aarch64 arm64", "index": [PYPI], "disk": 350_000_000,
        "notes": ["never tried on a Mac; on Linux this is mlx for processors and needs glibc 2.35"],
    },
    "local-directml": {
        "summary": f"torch-directml {DIRECTML} with torch 2.4.1, transformers 5.13.1, peft {PEFT}",
        # torch-directml requires exactly this torch; transformers 5.13.1 is the last version that works with it.
        "wants": [PIP, f"torch-directml=={DIRECTML}", "torch==2.4.1", "transformers==5.13.1", "peft==" + PEFT, "tokenizers", "safetensors", "numpy"],
        "platforms": [LINUX], "pythons": ("3.11", "3.12"),
        "system": "linux", "machine": "x86_64", "index": [PYPI], "disk": 6_000_000_000,
        "notes": ["for WSL2; tried without a DirectX device only, on a processor",
                  "most of the download is torch's CUDA, which its files for Linux on PyPI have in any case"],
    },
}


def not_on_pypi():
    """Returns {file name: SHA-256} of pytorch-org.sha256."""
    with open(os.path.join(HERE, "pytorch-org.sha256"), encoding="ascii") as lines:
        return {line.split()[1]: line.split()[0] for line in lines if not line.startswith("#")}


def resolve(uv, wants, platform, python):
    """Returns {name: version}."""
    with tempfile.TemporaryDirectory() as directory:
        wanted = os.path.join(directory, "wanted.in")
        with open(wanted, "w", encoding="ascii") as out:
            out.write("\n".join(wants) + "\n")
        said = subprocess.run([uv, "pip", "compile", "-q", "--python-platform", platform, "--python-version", python, "--default-index", PYPI,
                               "--no-header", "--no-annotate", "--only-binary", ":all:", wanted], check=True, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"}).stdout
    return dict(re.fullmatch(r"([a-z0-9-]+)(?:\[[a-z0-9,-]+\])?==([^ ;]+)", line).groups() for line in said.splitlines())


def pythons_of(lock):
    return lock.get("pythons", PYTHONS)


def marker_of(combinations, systems, known):
    """Returns the environment marker for these (system, Python) pairs, or "" if they are all that there are."""
    words = []
    wanted = sorted({system for system, _ in combinations})
    pythons = [p for p in known if any(p == python for _, python in combinations)]
    if len(combinations) != len(wanted) * len(pythons):
        sys.exit("a version depends on both system and Python: %s" % sorted(combinations))
    if wanted != sorted(systems):
        words.append(" or ".join("sys_platform == '%s'" % system for system in wanted))
    if tuple(pythons) != known:
        first, count = known.index(pythons[0]), len(pythons)
        if tuple(pythons) != known[first:first + count]:
            sys.exit("the Python versions are not consecutive: %s" % pythons)
        if first > 0:
            words.append("python_version >= '%s'" % pythons[0])
        if first + count < len(known):
            words.append("python_version < '%s'" % known[first + count])
    return " and ".join(words)


def pins_of(uv, lock):
    """Returns [(name, version, marker, systems)], one for each version of each package."""
    found, systems = {}, [system for system, _ in lock["platforms"]]
    for system, platform in lock["platforms"]:
        for python in pythons_of(lock):
            for name, version in resolve(uv, lock["wants"], platform, python).items():
                found.setdefault((name, version), set()).add((system, python))
    pins = []
    for (name, version), combinations in sorted(found.items()):
        if (name, version) == lock.get("local", ())[:2]:
            pins += [(name, version, "sys_platform == 'darwin'", {"darwin"}),
                     (name, version + "+" + lock["local"][2], "sys_platform == 'linux'", {"linux"})]
        else:
            here = set(lock["system"].split()) if len(systems) == 1 else {system for system, _ in combinations}
            pins.append((name, version, marker_of(combinations, systems, pythons_of(lock)), here))
    return pins


def tags_of(name):
    """Returns (python tags, abi tag, platform tags) from the file name of a wheel."""
    python, abi, platform = name[:-4].rsplit("-", 3)[1:]
    return python.split("."), abi, platform.split(".")


def fits(name, systems, machines, pythons):
    tags = tuple("cp" + version.replace(".", "") for version in pythons)
    python, abi, platforms = tags_of(name)
    if abi == "abi3":
        if not any(tag[:2] == "cp" and int(tag[3:] or 0) <= int(tags[-1][3:]) for tag in python):
            return False
    elif abi == "none":
        if not any(tag.startswith("py3") or tag in tags for tag in python):
            return False
    elif abi not in tags:
        return False
    for tag in platforms:
        if tag == "any":
            return True
        system = "linux" if tag.startswith(("manylinux", "linux")) else "darwin" if tag.startswith("macosx") else ""
        machine = next((m for m in ("x86_64", "aarch64", "arm64", "universal2") if tag.endswith(m)), "")
        if system in systems and (machine in machines or machine == "universal2"):
            # torch dropped Intel Macs in 2.3.
            return not (system == "darwin" and machine == "x86_64")
    return False


def files_of(name, version, cache={}):
    """Returns [(file name, SHA-256, size)] of the wheels on PyPI."""
    if name not in cache:
        request = urllib.request.Request(f"{PYPI}/{name}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            cache[name] = json.load(answer)["files"]
    wheel = re.sub(r"[-_.]+", "_", name) + "-" + version + "-"
    return [(f["filename"], f["hashes"]["sha256"], f.get("size") or 0) for f in cache[name]
            if re.sub(r"[-_.]+", "_", f["filename"].split("-")[0]).lower() + "-" + f["filename"].partition("-")[2].partition("-")[0] + "-" == wheel
            and f["filename"].endswith(".whl") and not f.get("yanked")]


def downloads(files):
    """Returns how many bytes a machine downloads: the size of the largest file, because it needs only one of them."""
    return max((size for _, _, size in files), default=0)


def write(name, lock, uv):
    machines = lock["machine"].split()
    elsewhere = not_on_pypi()
    body, total = [], 0
    for package, version, marker, systems in pins_of(uv, lock):
        if "+" in version:
            found = [(file, digest, LOCAL_BYTES) for file, digest in elsewhere.items() if file.startswith(f"{package}-{version}-")]
        else:
            found = [f for f in files_of(package, version) if fits(f[0], systems, machines, pythons_of(lock))]
        if not found:
            sys.exit(f"{name}: {package} {version} has no wheel that fits")
        # The sum is for Linux with the oldest Python, or for a Mac where there is no Linux.
        if ("linux" in systems or lock["system"] == "darwin") and ">=" not in marker:
            total += downloads(found)
        body.append(f"{package}=={version}" + (f" ; {marker}" if marker else "") + " \\\n" +
                    " \\\n".join("    --hash=sha256:" + digest for digest in sorted(digest for _, digest, _ in found)) + "\n")
    head = ["# SPDX-License-Identifier: Apache-2.0", f"# The Python runtime of {name}, made by make.py; docs/runtimes.md says what the lines mean."]
    if "local" in lock:
        head += ["# The hashes of torch on Linux are not from PyPI, which has no such files: pytorch-org.sha256 says where each comes from.",
                 "# The publisher's index could not be asked when this was written. All others are PyPI's own."]
    oldest, newest = pythons_of(lock)[0], int(pythons_of(lock)[-1].partition(".")[2])
    fields = [("summary", lock["summary"]), ("python", f">={oldest} <3.{newest + 1}"), ("system", lock["system"]), ("machine", lock["machine"])]
    fields += [("index-url", url) for url in lock["index"]]
    fields += [("download-bytes", total), ("disk-bytes", lock["disk"])] + [("note", note) for note in lock.get("notes", [])]
    fields += [("nvidia-driver", lock["driver"])] if "driver" in lock else []
    head += [f"# kolm: {key} {value}" for key, value in fields]
    with open(os.path.join(HERE, name + ".txt"), "w", encoding="ascii") as out:
        out.write("\n".join(head) + "\n" + "".join(body))
    print(f"{name}: {len(body)} packages, {total:,} bytes")


def main():
    for name in sys.argv[2:] or LOCKS:
        write(name, LOCKS[name], sys.argv[1])


if __name__ == "__main__":
    main()
