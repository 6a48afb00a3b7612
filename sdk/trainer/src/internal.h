/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files of the trainer: one call of the child, and the path of its interpreter. Not installed. */
/* Sources: child.c and runtime.c. */
#ifndef KOLM_KIT_TRAINER_PARTS_H
#define KOLM_KIT_TRAINER_PARTS_H

#include "kolm/kit/json.h"
#include "kolm/kit/trainer.h"

#define TRAINER_PATH_MAX 4096
#define TRAINER_SAME 4

typedef struct trainer_call {
    const kolm_host_v1_t *host;
    const kit_trainer *trainer;
    uint32_t threads;   /* of all processes together */
    uint32_t processes; /* 0 and 1: one */
    const char *verb;
    const char *const *words; /* more arguments, NULL terminated */
    int pass[2];              /* descriptors that become 3 and 4 in the child; -1: none */
    int same[TRAINER_SAME];   /* descriptors that keep their number in the child, above 4; 0: none */
} trainer_call;

/* Runs the child until it exits. *out_result is the object of its result event, empty if it had none. */
kit_status trainer_run(const trainer_call *call, cJSON **out_result, kolm_error_t *err) KIT_MUST_USE;

/* "local-cuda" */
void trainer_backend(const kit_trainer *trainer, char *out, size_t capacity);

/* The two settings, checked without running anything; FAILED_PRECONDITION with a remedy if one is unusable. */
kit_status trainer_python(const kolm_host_v1_t *host, const kit_trainer *trainer, char out_path[TRAINER_PATH_MAX],
                          kolm_error_t *err) KIT_MUST_USE;
kit_status trainer_directory(const kolm_host_v1_t *host, char out_path[TRAINER_PATH_MAX],
                             kolm_error_t *err) KIT_MUST_USE;

#endif
