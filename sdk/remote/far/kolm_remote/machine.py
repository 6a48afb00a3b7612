# SPDX-License-Identifier: Apache-2.0
"""Facts about this machine."""
import os
import re
import shutil
import subprocess
import sys
import time

from fields import to_text


def output_of(command, seconds=5):
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              timeout=seconds, env=dict(os.environ, LC_ALL="C"))
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""


def first_line(path):
    try:
        with open(path, "rb") as file:
            return file.readline().decode("utf-8", "replace").strip()
    except OSError:
        return ""


def nvidia_cards():
    program = shutil.which("nvidia-smi") or next(
        (p for p in ("/usr/bin/nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi", "/opt/bin/nvidia-smi") if os.path.exists(p)), None)
    cards = []
    for line in output_of([program, "--query-gpu=uuid,name,memory.total,memory.free,driver_version,compute_cap",
                           "--format=csv,noheader,nounits"]).splitlines() if program else []:
        words = [word.strip() for word in line.split(",")]
        if len(words) < 5:
            continue
        memory = [int(word) << 20 if word.isdigit() else None for word in words[2:4]]
        cards.append({"kind": "cuda", "id": words[0], "name": words[1], "total": memory[0], "free": memory[1],
                      "driver": "NVIDIA " + words[4]})
    return cards


def amd_cards():
    cards = []
    try:
        names = sorted(name for name in os.listdir("/sys/class/drm") if re.match(r"card\d+\Z", name))
    except OSError:
        names = []
    for name in names:
        device = os.path.join("/sys/class/drm", name, "device")
        total, used = (first_line(os.path.join(device, "mem_info_vram_" + word)) for word in ("total", "used"))
        if first_line(os.path.join(device, "vendor")) != "0x1002" or not total.isdigit():
            continue
        cards.append({"kind": "rocm", "id": os.path.basename(os.path.realpath(device)), "total": int(total),
                      "name": first_line(os.path.join(device, "product_name")) or "AMD GPU",
                      "free": int(total) - int(used) if used.isdigit() else None,
                      "driver": ("amdgpu " + first_line("/sys/module/amdgpu/version")).strip()})
    return cards


def processor():
    try:
        with open("/proc/cpuinfo", "rb") as file:
            for line in file:
                key, _, value = line.decode("utf-8", "replace").partition(":")
                if key.strip() in ("model name", "Model", "cpu"):
                    return value.strip()
    except OSError:
        pass
    return output_of(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]).strip() or os.uname().machine


def memory_bytes():
    total = free = None
    try:
        with open("/proc/meminfo", "rb") as file:
            for line in file:
                words = line.split()
                total = int(words[1]) << 10 if words[0] == b"MemTotal:" else total
                free = int(words[1]) << 10 if words[0] == b"MemAvailable:" else free
    except (OSError, ValueError, IndexError):
        pass
    return total, free


def package_dirs(python):
    """Returns the package directories of an interpreter, from the layout of its installation, without starting it."""
    real = os.path.dirname(os.path.dirname(os.path.abspath(python)))
    prefixes = [real]
    if real in ("/usr", "/"):
        prefixes = ["/usr/local", "/usr"]
    elif "include-system-site-packages = true" in (open(os.path.join(real, "pyvenv.cfg")).read()
                                                  if os.path.exists(os.path.join(real, "pyvenv.cfg")) else ""):
        prefixes += ["/usr/local", "/usr"]
    version = re.match(r"python3\.\d+", os.path.basename(os.path.realpath(python)))
    found = []
    for prefix in prefixes:
        for lib in ("lib", "lib64"):
            try:
                names = sorted(os.listdir(os.path.join(prefix, lib)))
            except OSError:
                continue
            for name in names:
                if name == "python3" or (re.match(r"python3\.\d+\Z", name) and (not version or name == version.group())):
                    found += [os.path.join(prefix, lib, name, leaf) for leaf in ("site-packages", "dist-packages")]
    return [path for path in found if os.path.isdir(path)]


def packages_of(python):
    wanted = ("torch", "transformers", "peft", "unsloth")
    found = {}
    for path in package_dirs(python):
        try:
            names = os.listdir(path)
        except OSError:
            continue
        for name in names:
            match = re.match(r"(.+?)-([^-]+)\.(?:dist|egg)-info\Z", name)
            if match and match.group(1).lower() in wanted:
                found.setdefault(match.group(1).lower(), match.group(2))
    return found


def kolm_here(named):
    path = named or shutil.which("kolm") or next(
        (p for p in (os.path.expanduser("~/.local/bin/kolm"), "/usr/local/bin/kolm", "/usr/bin/kolm") if os.path.exists(p)), "")
    if not path:
        return None
    match = re.search(r"\d+\.\d+[^\s]*", output_of([path, "--version"]))
    return {"path": to_text(path), "version": match.group() if match else ""}


def probe(base, python, kolm, cards):
    """Collects everything that kolm needs to know of a machine before it sends work there."""
    total, free = memory_bytes()
    disk = os.statvfs(base)
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    if python and not os.access(python, os.X_OK):
        interpreter = {"path": to_text(python), "version": "", "packages": {}, "missing": True}
    else:
        path = python or sys.executable or shutil.which("python3") or ""
        version = "%d.%d.%d" % sys.version_info[:3] if not python else output_of([path, "--version"]).strip().rpartition(" ")[2]
        interpreter = {"path": to_text(path), "version": version, "packages": packages_of(path)}
    system = os.uname()
    libc = ""
    try:
        libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError, AttributeError):
        pass
    return {"system": system.sysname, "release": system.release, "machine": system.machine, "libc": libc,
            "host": system.nodename, "processor": processor(), "cores": cores, "memory_total": total, "memory_free": free,
            "disk_free": disk.f_bavail * disk.f_frsize, "gpus": nvidia_cards() + amd_cards() if cards else [], "python": interpreter,
            "kolm": kolm_here(kolm), "time": int(time.time())}
