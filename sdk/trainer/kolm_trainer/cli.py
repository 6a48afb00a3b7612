# SPDX-License-Identifier: Apache-2.0
"""The verbs of the trainer, and the mapping of exceptions to error events with a remedy."""

import argparse
import os
import sys

from . import devices, events
from .errors import FAILED_PRECONDITION, INTERNAL, INVALID_ARGUMENT, RESOURCE_EXHAUSTED, TrainerError
from .job import Job

# Libraries must not download anything or send telemetry. What is not on this disk is an error.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
                "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1", "WANDB_DISABLED": "true", "WANDB_MODE": "disabled",
                "UNSLOTH_DISABLE_STATISTICS": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error",
                # The workspace that cuBLAS needs for deterministic results; must be set before CUDA is first used.
                "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def _parser():
    parser = argparse.ArgumentParser(prog="kolm_trainer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, needs in (("probe", ()), ("train", ("job",)), ("infer", ("job", "input", "output")), ("selftest", ("dir",)),
                        ("merge", ("job", "to"))):
        verb = verbs.add_parser(name)
        verb.add_argument("--device", required=True, choices=sorted(devices.TABLE))
        verb.add_argument("--threads", type=int, default=1)
        for need in needs:
            verb.add_argument("--" + need, required=True)
    return parser


def _probe(arguments):
    import importlib.metadata

    versions = {}
    for package in ("torch", "torch-directml", "transformers", "peft", "safetensors", "tokenizers", "bitsandbytes", "unsloth", "mlx", "mlx-lm"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pass
    if arguments.device == "mlx":
        from . import mlx_engine

        return {**versions, **mlx_engine.probe()}
    unit = devices.Unit(devices.find(arguments.device), "auto", False, arguments.threads)
    return {**versions, "device": unit.describe(), "free_bytes": unit.free_bytes(), "dtype": unit.dtype_name}


def _do(arguments):
    mlx = arguments.device == "mlx"
    if arguments.verb == "probe":
        events.result(_probe(arguments))
    elif arguments.verb == "train":
        if mlx:
            from .mlx_engine import train as run
        else:
            from .train import run
        run(Job(arguments.job), arguments.device, arguments.threads)
    elif arguments.verb == "infer":
        if mlx:
            from .mlx_engine import answer as run
        else:
            from .answer import run
        run(Job(arguments.job), arguments.device, arguments.threads, arguments.input, arguments.output)
    elif arguments.verb == "merge":
        from .merge import run

        run(Job(arguments.job), arguments.device, arguments.threads, arguments.to)
    else:
        from .selftest import run

        run(arguments.device, arguments.threads, arguments.dir)


def _explain(failure):
    """Converts any exception to a TrainerError."""
    if isinstance(failure, TrainerError):
        return failure
    if devices.out_of_memory(failure):
        return TrainerError(RESOURCE_EXHAUSTED, "out of memory while loading the base",
                            "use a smaller base, --set method=qlora, or a backend with more memory (kolm compute pick --min-vram)")
    if isinstance(failure, ModuleNotFoundError):
        return TrainerError(FAILED_PRECONDITION, f"the runtime has no package {failure.name}",
                            "run `kolm compute setup`, which makes a complete runtime; or install the package in yours")
    if isinstance(failure, ImportError):
        return TrainerError(FAILED_PRECONDITION, f"the runtime's package {failure.name or 'of an unknown name'} cannot be loaded: "
                            f"{str(failure).splitlines()[0] if str(failure) else ''}", "run `kolm compute setup`, which makes a complete runtime; or repair yours")
    if isinstance(failure, OSError) and failure.filename is not None:
        code = RESOURCE_EXHAUSTED if failure.errno in (28, 122) else INVALID_ARGUMENT
        return TrainerError(code, f"{failure.filename}: {failure.strerror}", "free disk space, or make the file accessible")
    import traceback

    traceback.print_exc()
    return TrainerError(INTERNAL, f"the trainer failed: {type(failure).__name__}: {str(failure).splitlines()[0] if str(failure) else ''}",
                        "please report it with the traceback above and the versions that `kolm compute info` shows")


def main(words):
    arguments = _parser().parse_args(words)
    os.environ.update(_ENVIRONMENT)
    events.open_stream(muted=os.environ.get("RANK", "0") != "0")
    try:
        _do(arguments)
        return 0
    except KeyboardInterrupt:
        return 1
    except Exception as e:  # every failure must become an event
        events.error(_explain(e))
        return 1
    finally:
        sys.stderr.flush()
