/* SPDX-License-Identifier: Apache-2.0 */
/* fal's queue and prices: the functions in the backend's table. */
#ifndef KOLM_FAL_API_H
#define KOLM_FAL_API_H

#include "kolm/rent/queue_slots.h"

/* The current request and its endpoint; the private part of a task. */
typedef struct fal_request {
    char input_field[64], output_field[64];
    char status_url[512], response_url[512], cancel_url[512];
    const char *question; /* borrowed */
    kit_buf *answer;      /* borrowed */
} fal_request;

kit_status fal_check(kit_queue_task *task, char *about, size_t capacity, kolm_error_t *err);
kit_status fal_open(kit_queue_task *task, kolm_error_t *err);
kit_status fal_answer(kit_queue_task *task, const cJSON *question, kit_buf *out, double *out_confidence,
                      kolm_error_t *err);

#endif
