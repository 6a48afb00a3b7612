/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the slots of a queue: a task, its files, its model. */
#ifndef KOLM_RENT_QUEUE_TASK_H
#define KOLM_RENT_QUEUE_TASK_H

#include "kolm/kit/file.h"
#include "kolm/kit/lines.h"
#include "kolm/rent/queue_slots.h"

#define QUEUE_LINE_MAX (64u << 20)

/* job_dir NULL: no job. Close it in every case. */
kit_status queue_task_open(const kit_queue_backend *backend, const kolm_host_v1_t *host, const char *job_dir,
                           kit_queue_task *out, kolm_error_t *err) KIT_MUST_USE;
void queue_task_close(kit_queue_task *task);
bool queue_task_stopped(const kit_queue_task *task);
/* Monotonic milliseconds. */
int64_t queue_now(void);
/* Waits until due_ms; stoppable: or until the user asks to stop. */
void queue_wait(const kit_queue_task *task, int64_t due_ms, bool stoppable);
/* The plan of every state machine of this task, without name, what and deadline. */
kit_status queue_plan_of(const kit_queue_task *task, kit_queue_plan *out, kolm_error_t *err) KIT_MUST_USE;

/* The setting poll_seconds, in milliseconds. */
kit_status queue_poll_of(const kit_queue_task *task, uint64_t fallback_ms, uint64_t *out_ms,
                         kolm_error_t *err) KIT_MUST_USE;

/* rows.c: checks train.jsonl, and writes the upload into the scratch directory. */
kit_status queue_rows_write(kit_queue_task *task, kolm_error_t *err) KIT_MUST_USE;
kit_status queue_rows_open(kit_queue_task *task, const char *path, kolm_error_t *err) KIT_MUST_USE;
/* Calls row for each line, and before_wait, if not NULL, before reading more from fd. */
typedef kit_status (*queue_row_fn)(void *user, const cJSON *row, kolm_error_t *err);
kit_status queue_rows_each(const kit_queue_task *task, const char *path, queue_row_fn row,
                           kit_status (*before_wait)(void *user, int fd, kolm_error_t *err), void *user,
                           kolm_error_t *err) KIT_MUST_USE;

/* model.c */
kit_status queue_model_write(const kit_queue_task *task, const char *path, kolm_error_t *err) KIT_MUST_USE;
kit_status queue_model_read(kit_queue_task *task, const char *text, size_t length, kolm_error_t *err) KIT_MUST_USE;
kit_status queue_result_write(const kit_queue_task *task, char *out_toolchain, size_t capacity,
                              kolm_error_t *err) KIT_MUST_USE;

/* train.c: uploads a few rows, queries the price, and removes them; *out_left: something may be left of them. begin()
 * must have been called. */
kit_status queue_rehearse(kit_queue_task *task, char *note, size_t capacity, bool *out_left,
                          kolm_error_t *err) KIT_MUST_USE;

#endif
