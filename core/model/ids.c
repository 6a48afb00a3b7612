/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of questions without an answer: eight bytes each. */
#include "model/ids.h"

#include <stdlib.h>
#include <string.h>

/* FNV-1a. A collision only means that two ids are not told apart. */
static uint64_t digest(const char *id) {
    uint64_t sum = 14695981039346656037u;
    for (; *id; id++)
        sum = (sum ^ (unsigned char)*id) * 1099511628211u;
    return sum;
}

/* Under the lock: makes room for one more; if the array is moved, the queue moves to its front. */
static bool make_room(run_ids *ids) {
    if (ids->from + ids->count < ids->room) return true;
    size_t room = ids->count * 2 < 256 ? 256 : ids->count * 2;
    uint64_t *at = room < SIZE_MAX / sizeof *at ? malloc(room * sizeof *at) : NULL;
    if (at == NULL) return false;
    if (ids->count > 0) memcpy(at, ids->at + ids->from, ids->count * sizeof *at);
    free(ids->at);
    ids->at = at;
    ids->room = room;
    ids->from = 0;
    return true;
}

kit_status run_ids_put(run_ids *ids, const char *id, kolm_error_t *err) {
    pthread_mutex_lock(&ids->lock);
    bool good = make_room(ids);
    if (good) ids->at[ids->from + ids->count++] = digest(id);
    pthread_mutex_unlock(&ids->lock);
    return good ? KOLM_OK : kit_no_memory(err);
}

bool run_ids_take(run_ids *ids, const char *id) {
    pthread_mutex_lock(&ids->lock);
    bool next = ids->count > 0 && ids->at[ids->from] == digest(id);
    if (ids->count > 0) {
        ids->from++;
        ids->count--;
    }
    pthread_mutex_unlock(&ids->lock);
    return next;
}

void run_ids_free(run_ids *ids) {
    pthread_mutex_destroy(&ids->lock);
    free(ids->at);
}
