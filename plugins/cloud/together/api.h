/* SPDX-License-Identifier: Apache-2.0 */
/* Together AI's fine-tuning API: the functions in the backend's table. */
#ifndef KOLM_TOGETHER_API_H
#define KOLM_TOGETHER_API_H

#include "kolm/rent/queue_slots.h"

/* The request of a job; the private part of a task. */
typedef struct together_job {
    uint64_t rank, alpha, epochs, batch, max_length, dropout_micro, learning_rate_micro;
    char upload_url[2048]; /* presigned; "" once the rows are uploaded */
    bool checking;         /* the check of the rows was requested */
    size_t events_shown;
} together_job;

extern const kit_queue_provider together_queue;

kit_status together_check(kit_queue_task *task, char *about, size_t capacity, kolm_error_t *err);
kit_status together_begin(kit_queue_task *task, kolm_error_t *err);
kit_status together_row(kit_queue_task *task, const cJSON *row, kit_buf *out, kolm_error_t *err);
kit_status together_open(kit_queue_task *task, kolm_error_t *err);
kit_status together_answer(kit_queue_task *task, const cJSON *question, kit_buf *out, double *out_confidence,
                           kolm_error_t *err);
kit_status together_probe(kit_queue_task *task, char *note, size_t capacity, kolm_error_t *err);
kit_status together_list(kit_queue_task *task, kit_queue_tell tell, void *user, kolm_error_t *err);

#endif
