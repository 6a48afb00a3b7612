/* SPDX-License-Identifier: Apache-2.0 */
/* The lines between clients, server and backend, as texts, without sockets or processes. */
#ifndef KOLM_MODEL_SERVE_LINES_H
#define KOLM_MODEL_SERVE_LINES_H

#include "kolm/kit/file.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/mark.h"
#include "model/serve.h"

/* State for reading a question, and its parts until the next one is read; zero-initialise. */
typedef struct serve_question {
    kit_json_walk walk;
    kit_buf texts[2]; /* its id and its input */
    kit_buf rest;     /* ,"messages":[...],"tools":[...], if present */
} serve_question;

/* Parses the line of a client and appends the line for the backend, with `number` as its id. The client's own id is in
 * question->texts[0]. INVALID_ARGUMENT says what the line lacks; out is then unchanged. */
kit_status serve_question_read(serve_question *question, const char *line, size_t length, uint64_t number, kit_buf *out,
                               kolm_error_t *err) KIT_MUST_USE;
void serve_question_free(serve_question *question);

/* Appends the backend's answer to question `number`, with the client's own id. INTERNAL if it is not an answer,
 * DATA_LOSS if it answers another question, after which further answers cannot be attributed. out is unchanged in both
 * cases. */
kit_status serve_answer_pass(const char *line, size_t length, uint64_t number, const char *id, kit_buf *out,
                             kolm_error_t *err) KIT_MUST_USE;

/* Appends {"error":TEXT}. */
void serve_refusal_put(const char *text, kit_buf *out);
/* Appends {"error":TEXT,"remedy":TEXT,"exit":NUMBER}: the error and reason of a run without a server. */
void serve_verdict_put(const kolm_error_t *error, session_reason reason, kit_buf *out);
/* True for a line of either kind; *out_reason is unchanged if the line has none. */
bool serve_error_read(const cJSON *line, session_reason *out_reason, kolm_error_t *out_error);

/* Write and read the greeting. */
void serve_greeting_put(const char *backend, bool airgap, const char *manifest_sha256, const kit_file_mark *mark,
                        kit_buf *out);
bool serve_greeting_read(const char *line, size_t length, model_served *out_served);

#endif
