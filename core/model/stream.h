/* SPDX-License-Identifier: Apache-2.0 */
/* Shared state of `kolm run`: the thread that feeds questions, the one that reads answers, and the main thread. */
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
    kolm_session *session;             /* of the main thread, which may end before the feeder */
    const volatile sig_atomic_t *stop; /* of the session; lasts as long as the process */
    run_receiver receiver;
    char **texts; /* given on the command line; else lines */
    size_t text_count;
    const char *from; /* the file of the lines as the user named it, or "standard input" */
    int input_fd;
    bool jsonl;
    bool skip_bad;
    /* Format of questions: they include what the training rows had in common. Used by the feeder only. */
    job_common common;
    job_reader *reader; /* with jsonl */
    bool skip_named;    /* the remedy of feed_error already offers --skip-bad */
    kit_buf seen, before, input;
    uint64_t lines, bad; /* read; skipped with skip_bad */
    char bad_examples[RUN_BAD_EXAMPLES][256];
    int to_backend, from_backend;
    kit_status feed_status, read_status;
    kolm_error_t feed_error, read_error;
    run_ids ids;            /* questions that are not answered yet */
    _Atomic uint64_t asked; /* counted before sending, so that there are never more answers */
    int64_t patience_ms;    /* timeout of the next answer; 0: none */
    uint64_t answers;
    char backend[64];                /* the one that answers */
    volatile sig_atomic_t no_answer; /* an invalid answer arrived: stop */
    session_reason served_reason;    /* meaning of an error from the server */
    bool serving;                    /* --serve, and it accepted questions */
    bool served;                     /* to_backend is a socket: shutdown() signals the end */
    atomic_int holders; /* references: the main thread, and the feeder, which may still be waiting for a line */
} run_stream;

/* Starts the feeder; returns 0, or the error of kit_thread_start. The feeder closes to_backend at its end, and drops the
 * stream. */
int run_start_feeding(run_stream *s, pthread_t *out_thread) KIT_MUST_USE;
/* Drops one reference; the last one frees the stream. */
void run_stream_drop(run_stream *s);

#endif
