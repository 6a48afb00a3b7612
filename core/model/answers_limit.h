/* SPDX-License-Identifier: Apache-2.0 */
/* A bound on the file of answers while a backend writes it: without one it could fill the disk. */
#ifndef KOLM_MODEL_ANSWERS_LIMIT_H
#define KOLM_MODEL_ANSWERS_LIMIT_H

#include "kolm/kit/status.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Far above the size of valid answers to the given rows. */
#define MODEL_ANSWER_BYTES (256u << 10)
#define MODEL_ANSWERS_LEAST (64u << 20)

typedef struct model_answers_limit {
    char *path; /* JOB/predictions.jsonl */
    uint64_t rows, most;
    volatile sig_atomic_t reached; /* for host_call_options.cancel_too */
    bool ended;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t end;
} model_answers_limit;

/* Starts a thread that watches the amount of output for the given number of rows; limit must not be moved. */
kit_status model_answers_limit_begin(const char *job_dir, uint64_t rows, model_answers_limit *limit,
                                     kolm_error_t *err) KIT_MUST_USE;
/* Call after a successful begin. status: the result of the call; if it was stopped by the limit, returns DATA_LOSS,
 * naming the backend. */
kit_status model_answers_limit_end(model_answers_limit *limit, const char *backend, kit_status status,
                                   kolm_error_t *err) KIT_MUST_USE;

#endif
