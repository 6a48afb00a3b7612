/* SPDX-License-Identifier: Apache-2.0 */
/* What `kolm run` shares between the thread that feeds questions, the one that reads answers, and the main one. */
#ifndef KOLM_MODEL_STREAM_H
#define KOLM_MODEL_STREAM_H

#include "job/common.h"
#include "model/ids.h"
#include "model/run.h"
#include "session/session.h"

#include <pthread.h>
#include <stdatomic.h>

#define RUN_LINE_MAX (16u << 20) /* bytes of a question, and of an answer */

/* Two threads move text while the main thread waits for the backend: one feeds questions, one reads answers. */
typedef struct run_stream {
    kolm_session *session;             /* of the main thread: it may be gone before the one that feeds */
    const volatile sig_atomic_t *stop; /* of the session; lasts as long as the process */
    run_receiver receiver;
    char **texts; /* given on the command line; else lines */
    size_t text_count;
    const char *from; /* the file of the lines as the user named it, or "standard input" */
    int input_fd;
    bool jsonl;
    bool skip_bad;
    /* How a question is put: what the rows of training had in common is part of it. Of the thread that feeds. */
    job_common common;
    job_reader *reader; /* with jsonl */
    bool skip_named;    /* the remedy of feed_error offers --skip-bad already */
    kit_buf seen, before, input;
    uint64_t lines, bad; /* read; left out with skip_bad */
    char bad_examples[RUN_BAD_EXAMPLES][256];
    int to_backend, from_backend;
    kit_status feed_status, read_status;
    kolm_error_t feed_error, read_error;
    run_ids ids;            /* of what is asked and not answered yet */
    _Atomic uint64_t asked; /* counted before they are sent: there are never more answers */
    int64_t patience_ms;    /* in which the next answer is to come; 0: no matter */
    uint64_t answers;
    char backend[64];                /* who answers */
    volatile sig_atomic_t no_answer; /* an invalid answer arrived: stop */
    session_reason served_reason;    /* what an error of the server means */
    bool serving;                    /* --serve, and questions of others were taken */
    bool served;                     /* to_backend is a socket: shutdown() signals the end */
    atomic_int holders; /* the main thread, and the one that feeds: it may wait for a line longer than this is wanted */
} run_stream;

/* Starts the thread that feeds; 0, or what pthread_create said. It closes to_backend at its end, and drops the stream.
 */
int run_start_feeding(run_stream *s, pthread_t *out_thread) KIT_MUST_USE;
/* For each of holders once: the last one frees. */
void run_stream_drop(run_stream *s);

#endif
