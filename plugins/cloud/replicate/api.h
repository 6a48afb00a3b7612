/* SPDX-License-Identifier: Apache-2.0 */
/* Replicate's trainings, predictions and files: the functions in the backend's table. */
#ifndef KOLM_REPLICATE_API_H
#define KOLM_REPLICATE_API_H

#include "kolm/rent/queue_slots.h"

/* The request of a job, and the pending answer; the private part of a task. */
typedef struct replicate_job {
    char trainer[KIT_QUEUE_TEXT]; /* OWNER/NAME:VERSION */
    char trainer_version[KIT_QUEUE_TEXT];
    char data_field[64], prompt_field[64];
    char data_url[1024]; /* the address of the uploaded rows */
    char weights[2048];  /* the address of the trained weights, "" if there is none */
    cJSON *input;        /* additional input of the trainer; NULL: none */
    size_t logs_shown;
    const char *question; /* borrowed */
    kit_buf *answer;      /* borrowed */
} replicate_job;

extern const kit_queue_provider replicate_queue;

kit_status replicate_check(kit_queue_task *task, char *about, size_t capacity, kolm_error_t *err);
kit_status replicate_begin(kit_queue_task *task, kolm_error_t *err);
kit_status replicate_row(kit_queue_task *task, const cJSON *row, kit_buf *out, kolm_error_t *err);
kit_status replicate_open(kit_queue_task *task, kolm_error_t *err);
kit_status replicate_answer(kit_queue_task *task, const cJSON *question, kit_buf *out, double *out_confidence,
                            kolm_error_t *err);
kit_status replicate_probe(kit_queue_task *task, char *note, size_t capacity, kolm_error_t *err);
kit_status replicate_list(kit_queue_task *task, kit_queue_tell tell, void *user, kolm_error_t *err);
void replicate_close(kit_queue_task *task);

#endif
