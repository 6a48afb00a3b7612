# SPDX-License-Identifier: Apache-2.0
"""One table of what differs between devices: their names in torch, data types, memory, and whether results are reproducible."""

import os

from .errors import FAILED_PRECONDITION, INVALID_ARGUMENT, TrainerError


class Device:
    """name: that of kolm. torch: the argument of torch.device(). auto_dtypes: tried in order, the last always works.
    four_bit: bitsandbytes has kernels for it. repeats: torch documents a mode in which two runs give the same bits.
    missing: the remedy if torch does not find the device."""

    def __init__(self, name, torch, auto_dtypes, four_bit, repeats, missing):
        self.name, self.torch, self.auto_dtypes = name, torch, auto_dtypes
        self.four_bit, self.repeats, self.missing = four_bit, repeats, missing


# bf16 is never the default of a processor: without AVX512_BF16 or AMX it is a hundred times slower than fp32.
TABLE = {
    "cpu": Device("cpu", "cpu", ("fp32",), False, True, ""),
    "cuda": Device("cuda", "cuda", ("bf16", "fp16"), True, True,
                   "install a torch that was built for CUDA and is not newer than the driver (kolm compute setup)"),
    "rocm": Device("rocm", "cuda", ("bf16", "fp16"), False, False,
                   "install a torch that was built for ROCm, and add your user to the groups render and video"),
    "mps": Device("mps", "mps", ("fp32",), False, False, "use macOS 13 or later with torch for arm64"),
    "directml": Device("directml", None, ("fp32",), False, False, "install torch-directml with the torch that it requires; under WSL2, update WSL"),
    "mlx": Device("mlx", None, ("base",), False, False, "install mlx and mlx-lm: on Linux mlx[cpu] or mlx[cuda12]"),
}


def find(name):
    if name not in TABLE:
        raise TrainerError(INVALID_ARGUMENT, f"the trainer has no device '{name}'", "use one of " + ", ".join(TABLE))
    return TABLE[name]


class Unit:
    """A device in use: a torch.device, the dtype, and how much of its memory is free."""

    def __init__(self, device, dtype_name, deterministic, threads, rank=0):
        import torch

        self.device, self.deterministic, self.rank = device, deterministic, rank
        torch.set_num_threads(max(1, threads))
        self.threads = threads
        self.torch = self._open(torch)
        self.dtype_name = self._dtype(torch, dtype_name)
        self.dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.dtype_name]
        if deterministic:
            self._be_deterministic(torch)

    def _open(self, torch):
        name = self.device.name
        if name == "cpu":
            return torch.device("cpu")
        if name == "directml":
            try:
                import torch_directml
            except (ImportError, OSError) as e:  # OSError: it is installed, but Windows's libraries are missing
                raise self._absent(str(e)) from None
            return torch_directml.device()
        if name == "mps":
            if not torch.backends.mps.is_available():
                raise self._absent("torch reports no Metal device")
            return torch.device("mps")
        hip = getattr(torch.version, "hip", None)
        if (name == "rocm") != (hip is not None):
            built = f"ROCm {hip}" if hip else f"CUDA {torch.version.cuda}" if torch.version.cuda else "processors only"
            raise self._absent(f"torch {torch.__version__} was built for {built}")
        if not torch.cuda.is_available() or torch.cuda.device_count() == 0:
            raise self._absent(f"torch {torch.__version__} reports no device")
        index = int(os.environ.get("LOCAL_RANK", "0"))
        torch.cuda.set_device(index)
        return torch.device("cuda", index)

    def _absent(self, why):
        return TrainerError(FAILED_PRECONDITION, f"the runtime's torch cannot use the {self.device.name} device: {why}",
                            self.device.missing)

    def _dtype(self, torch, asked):
        if asked != "auto":
            return asked
        for name in self.device.auto_dtypes:
            if name != "bf16" or torch.cuda.is_bf16_supported():
                return name
        return self.device.auto_dtypes[-1]

    def _be_deterministic(self, torch):
        """Follows PyTorch's notes on reproducibility. Nothing is promised for devices without such a mode (repeats)."""
        torch.use_deterministic_algorithms(True, warn_only=not self.device.repeats)
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        if self.device.name in ("cuda", "rocm"):
            # cuDNN's attention has no deterministic backward pass; on ROCm only the math kernel has one for certain (pytorch#197771).
            torch.backends.cuda.enable_cudnn_sdp(False)
            if self.device.name == "rocm":
                torch.backends.cuda.enable_flash_sdp(False)
                torch.backends.cuda.enable_mem_efficient_sdp(False)

    def describe(self):
        import torch

        if self.device.name in ("cuda", "rocm"):
            return torch.cuda.get_device_name(self.torch)
        if self.device.name == "cpu":
            return f"{processor()} ({self.threads} thread{'s' if self.threads != 1 else ''})"
        return {"mps": "Apple GPU through Metal", "directml": "DirectX 12 device"}[self.device.name]

    def without_gradients(self):
        """The context manager for inference. Tensors of torch-directml fail in inference mode (microsoft/DirectML#602)."""
        import torch

        return torch.no_grad() if self.device.name == "directml" else torch.inference_mode()

    def toolchain_words(self):
        """What the bits of a result depend on apart from versions."""
        if self.device.name == "cpu":
            import torch

            return f"cpu {torch.backends.cpu.get_cpu_capability()} x{self.threads}"
        return f"{self.device.name} {self.describe()}"

    def free_bytes(self):
        import torch

        if self.device.name in ("cuda", "rocm"):
            free, _ = torch.cuda.mem_get_info(self.torch)
            return free + torch.cuda.memory_reserved(self.torch) - torch.cuda.memory_allocated(self.torch)
        if self.device.name == "mps":
            return max(0, torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
        return free_memory()

    def peak_bytes(self):
        import torch

        if self.device.name in ("cuda", "rocm"):
            return torch.cuda.max_memory_allocated(self.torch)
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if os.uname().sysname == "Darwin" else peak * 1024

    def give_back(self):
        """Frees what the allocator caches, so that a retry with less has all memory available."""
        import gc
        import torch

        gc.collect()
        if self.device.name in ("cuda", "rocm"):
            torch.cuda.empty_cache()
        elif self.device.name == "mps":
            torch.mps.empty_cache()


def out_of_memory(failure):
    """True if the exception means that the device, or the machine, is out of memory."""
    if isinstance(failure, MemoryError):
        return True
    name = type(failure).__name__
    text = str(failure)
    return name == "OutOfMemoryError" or (isinstance(failure, RuntimeError) and (
        "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text))


def processor():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    import platform

    return platform.processor() or platform.machine()


def free_memory():
    """Returns the memory that this process may still allocate: what the machine has available, less if its cgroup or rlimit
    allows less."""
    free = 1 << 62
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    free = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            group = next(line.split(":", 2)[2].strip() for line in file if line.startswith("0::"))
        with open(f"/sys/fs/cgroup{group}/memory.max", encoding="ascii") as most:
            with open(f"/sys/fs/cgroup{group}/memory.current", encoding="ascii") as now:
                free = min(free, max(0, int(most.read()) - int(now.read())))
    except (OSError, ValueError, StopIteration):
        pass
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit != resource.RLIM_INFINITY:
            with open("/proc/self/statm", encoding="ascii") as file:
                free = min(free, max(0, limit - int(file.read().split()[0]) * resource.getpagesize()))
    except (OSError, ValueError):
        pass
    return free
