/* SPDX-License-Identifier: Apache-2.0 */
/* Checks whether an encoder with other weights gives the same answers to the held-out rows. */
#ifndef LOCAL_CPU_ENCODER_SAME_ANSWERS_H
#define LOCAL_CPU_ENCODER_SAME_ANSWERS_H

#include "choose.h"
#include "encoder/sentences.h"

typedef struct same_job {
    sentences *sentences;  /* with the original weights */
    const enc_file *other; /* replaces the encoder's file of this name */
    bool read_end;
    const char *rows_path; /* lines with an "input"; NULL: none */
    const char *linear_path, *head_path;
    uint32_t threads;
    const enc_kernels *kernels; /* NULL: the widest */
    choose_watch watch;
} same_job;

/* *out_same: every row gets the same label, confidence and abstention, so that the bytes of its answer are the same;
 * false without rows. Stops at the first batch with a difference. Memory: a batch of texts; the other file is in memory
 * already. */
kit_status same_answers(const same_job *job, bool *out_same, kolm_error_t *err) KIT_MUST_USE;

#endif
