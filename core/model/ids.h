/* SPDX-License-Identifier: Apache-2.0 */
/* The question that the next answer must belong to. */
#ifndef KOLM_MODEL_IDS_H
#define KOLM_MODEL_IDS_H

#include "kolm/kit/buf.h"

#include <pthread.h>

/* One thread puts, another takes. */
typedef struct run_ids {
    pthread_mutex_t lock;
    uint64_t *at;
    size_t room, from, count;
} run_ids;
#define RUN_IDS_NONE ((run_ids){.lock = PTHREAD_MUTEX_INITIALIZER})

kit_status run_ids_put(run_ids *ids, const char *id, kolm_error_t *err) KIT_MUST_USE;
/* Takes the next one; false if it has a different id, or there is none. */
bool run_ids_take(run_ids *ids, const char *id);
void run_ids_free(run_ids *ids);

#endif
