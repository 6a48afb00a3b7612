/* SPDX-License-Identifier: Apache-2.0 */
/* The slots of a backend that trains language models on this machine: kolm's Python trainer, run as a child process. */
/* Sources: job.c and runtime.c. */
#ifndef KOLM_KIT_TRAINER_H
#define KOLM_KIT_TRAINER_H

#include "kolm/kit/status.h"
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The trainer is a directory with a __main__.py; the interpreter is the user's own or that of a virtual environment.
 * kolm passes both as settings of the backend: runtime.python and runtime.trainer, absolute paths. It is started as
 *
 *     PYTHON -s -B TRAINER VERB --device D --threads N ...        VERB: probe, train, infer, selftest
 *
 * without a shell, in its own process group, with its own environment: no user site, no PYTHONPATH, no token, caches
 * inside the scratch directory, no telemetry of any library, no downloads. (-s rather than -I, which would also ignore
 * PYTHONHASHSEED, so that the order of sets would differ from run to run.) It writes the events of job-protocol.md to
 * its standard output; they go to host->log, progress and metric. A line that is not an event is reported and skipped.
 *
 * How it ends. An error event becomes out_error. Without a result: an error with the last lines of its standard error.
 * If the user stops it or the deadline passes: SIGTERM to its group, SIGKILL eight seconds later, and CANCELLED or
 * DEADLINE_EXCEEDED; it writes a checkpoint before it exits, and a later run in the same job directory continues from
 * there. Without a runtime: FAILED_PRECONDITION.
 *
 * All functions must be called on the thread of the slot and return after the child has exited.
 */
typedef struct kit_trainer {
    const char *device;     /* cpu, cuda, rocm, mps, directml or mlx */
    uint32_t processes;     /* for training, one per device; more than 1 under torch.distributed.run. 0 and 1: one */
    const char *const *env; /* added to what every trainer gets, NULL terminated: "NAME=VALUE", or "NAME" to pass on the
                               value in this process, if it is set. NULL: nothing */
    const char *backend;    /* its name, for remedies; NULL: "local-" and the device */
    uint32_t steps_before;  /* test: number of steps that the backend has already reported */
} kit_trainer;

#define KIT_TRAINER_RUNTIME 128
#define KIT_TRAINER_MISSING 256

/* Determines what would run a job, without starting Python: out_runtime, "torch 2.13.0, transformers 5.2.0, peft
 * 0.21.2", is taken from the names of the *.dist-info directories of the interpreter (PREFIX/bin/python,
 * PREFIX/lib/python3.X/site-packages); "PATH, versions unknown" if the layout is unknown. Returns true if nothing is
 * known to be missing; otherwise out_missing says what is, in one sentence without a full stop, and out_remedy (also
 * 256 bytes) what to do. Each is "" if it does not apply. */
bool kit_trainer_runtime(const kolm_host_v1_t *host, const kit_trainer *trainer, char out_runtime[KIT_TRAINER_RUNTIME],
                         char out_missing[KIT_TRAINER_MISSING], char out_remedy[KIT_TRAINER_MISSING]);

/* Fills the result of detect for a device that was found: AVAILABLE with reason and runtime if the runtime is complete;
 * otherwise ABSENT with reason, what is missing, and the remedy. */
int32_t kit_trainer_detected(const kolm_host_v1_t *host, const kit_trainer *trainer, const char *reason,
                             kolm_detect_result_t *out_result);

/* The train slot. Bills nothing. Any recipe but lora is UNIMPLEMENTED here and in infer. */
int32_t kit_trainer_train(const kolm_host_v1_t *host, const kit_trainer *trainer, const kolm_train_args_t *args,
                          kolm_train_result_t *out_result, kolm_error_t *out_error);
/* The infer slot. A path may name a descriptor of this process (/proc/self/fd/N, /dev/fd/N), which is passed on to the
 * child. */
int32_t kit_trainer_infer(const kolm_host_v1_t *host, const kit_trainer *trainer, const kolm_infer_args_t *args,
                          kolm_infer_result_t *out_result, kolm_error_t *out_error);
/* Writes the model of an infer job, with the adapter merged into the base weights, into the empty directory target,
 * which transformers can then load. Usable by any caller with a host table, such as kolm itself. */
int32_t kit_trainer_merge(const kolm_host_v1_t *host, const kit_trainer *trainer, const char *job_dir,
                          const char *target, uint32_t threads, kolm_error_t *out_error);
/* The test slot, in four steps: the runtime (Python is not started), the device (probe), a dry run (selftest: a tiny
 * model, trained twice), and the answers of that model. The metric test.reproducible.lora is 1 if both runs produced
 * the same bytes. */
int32_t kit_trainer_test(const kolm_host_v1_t *host, const kit_trainer *trainer, const kolm_test_args_t *args,
                         kolm_test_result_t *out_result, kolm_error_t *out_error);

#ifdef __cplusplus
}
#endif
#endif
