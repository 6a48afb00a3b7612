/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that limits how much a backend writes. */
#include "model/answers_limit.h"

#include "kolm/kit/file.h"
#include "kolm/kit/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#define LOOK_MS 100

static struct timespec soon(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += LOOK_MS * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000L;
    at.tv_nsec %= 1000000000L;
    return at;
}

static void *look(void *user) {
    model_answers_limit *limit = user;
    pthread_mutex_lock(&limit->lock);
    while (!limit->ended && !limit->reached) {
        struct stat info;
        struct timespec next = soon();
        if (lstat(limit->path, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size > limit->most)
            limit->reached = 1;
        else
            (void)pthread_cond_timedwait(&limit->end, &limit->lock, &next);
    }
    pthread_mutex_unlock(&limit->lock);
    return NULL;
}

static void free_limit(model_answers_limit *limit) {
    pthread_cond_destroy(&limit->end);
    pthread_mutex_destroy(&limit->lock);
    free(limit->path);
    limit->path = NULL;
}

kit_status model_answers_limit_begin(const char *job_dir, uint64_t rows, model_answers_limit *limit,
                                     kolm_error_t *err) {
    pthread_condattr_t monotonic;
    *limit = (model_answers_limit){.rows = rows, .most = MODEL_ANSWERS_LEAST + rows * MODEL_ANSWER_BYTES};
    KIT_TRY(kit_path_join(job_dir, "predictions.jsonl", &limit->path, err));
    pthread_mutex_init(&limit->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&limit->end, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (kit_thread_start(&limit->thread, 0, look, limit) == 0) return KOLM_OK;
    free_limit(limit);
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "cannot start a thread");
}

kit_status model_answers_limit_end(model_answers_limit *limit, const char *backend, kit_status status,
                                   kolm_error_t *err) {
    pthread_mutex_lock(&limit->lock);
    limit->ended = true;
    pthread_cond_signal(&limit->end);
    pthread_mutex_unlock(&limit->lock);
    pthread_join(limit->thread, NULL);
    unsigned long long most = limit->most, rows = limit->rows;
    bool stopped = limit->reached != 0; /* even if the backend treated the stop as its normal end */
    free_limit(limit);
    if (!stopped) return status;
    return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                    "%s was stopped: it wrote more than %llu MiB in answer to %llu rows", backend, most >> 20, rows);
}
