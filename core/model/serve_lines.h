/* SPDX-License-Identifier: Apache-2.0 */
/* The lines between clients, server and backend, as texts: no socket, no process. */
#ifndef KOLM_MODEL_SERVE_LINES_H
#define KOLM_MODEL_SERVE_LINES_H

#include "kolm/kit/file.h"
#include "kolm/kit/json_walk.h"
#include "kolm/kit/mark.h"
#include "model/serve.h"

/* What reading a question needs, and its parts until the next one is read; zero-initialise. */
typedef struct serve_question {
    kit_json_walk walk;
    kit_buf texts[2]; /* its id and its input */
    kit_buf rest;     /* ,"messages":[...],"tools":[...] as far as it has them */
} serve_question;

/* Reads the line of a client and appends the line that the backend gets in its place: it sees our number for an id. The
 * client's own is in question->texts[0]. INVALID_ARGUMENT says what the line lacks; out is unchanged then. */
kit_status serve_question_read(serve_question *question, const char *line, size_t length, uint64_t number, kit_buf *out,
                               kolm_error_t *err) KIT_MUST_USE;
void serve_question_free(serve_question *question);

/* Appends the line of the backend's answer to question `number` with the client's own id in it. INTERNAL when it is no
 * answer, DATA_LOSS when it is one to another question: later answers cannot be attributed then. out is unchanged in
 * both cases. */
kit_status serve_answer_pass(const char *line, size_t length, uint64_t number, const char *id, kit_buf *out,
                             kolm_error_t *err) KIT_MUST_USE;

/* Appends {"error":TEXT}. */
void serve_refusal_put(const char *text, kit_buf *out);
/* Appends {"error":TEXT,"remedy":TEXT,"exit":NUMBER}: what a run without a server says and ends with. */
void serve_verdict_put(const kolm_error_t *error, session_reason reason, kit_buf *out);
/* True for a line of either kind; *out_reason is unchanged if the line has none. */
bool serve_error_read(const cJSON *line, session_reason *out_reason, kolm_error_t *out_error);

/* The greeting, written and read. */
void serve_greeting_put(const char *backend, bool airgap, const char *manifest_sha256, const kit_file_mark *mark,
                        kit_buf *out);
bool serve_greeting_read(const char *line, size_t length, model_served *out_served);

#endif
