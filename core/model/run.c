/* SPDX-License-Identifier: Apache-2.0 */
/* kolm run, the main thread and the one that reads answers: opens the model, chooses a backend, checks the answers. */
#include "model/run.h"

#include "fleet/call.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/mark.h"
#include "kolm/kit/process.h"
#include "kolm/kit/thread.h"
#include "model/model.h"
#include "model/path.h"
#include "model/serve_lines.h"
#include "model/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_MS 500 /* polling interval of the answer timeout */

/* ---- Answers */

static kit_status bad_answer(const run_stream *s, const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                    "answer %llu of %s: %s", (unsigned long long)s->answers, s->backend, what);
}

/* Checks that the answer is valid, and was requested. */
static kit_status check_answer(run_stream *s, const cJSON *answer, run_answer *out, kolm_error_t *err) {
    const cJSON *output = kit_json_get(answer, "output");
    char text[160];
    if (s->served && serve_error_read(answer, &s->served_reason, err)) return err->code;
    if (s->answers > s->asked) return bad_answer(s, "there are more answers than questions", err);
    if (!cJSON_IsString(output) && !cJSON_IsNull(output))
        return bad_answer(s, "expected text or null in \"output\"", err);
    if (!kit_json_get_number(answer, "confidence", &out->confidence) || !(out->confidence >= 0 && out->confidence <= 1))
        return bad_answer(s, "expected a \"confidence\" from 0 to 1", err);
    if (!kit_json_get_string(answer, "id", &out->id)) return bad_answer(s, "expected the text \"id\"", err);
    if (!kit_json_get_string(answer, "output", &out->output)) out->output = NULL;
    if (!kit_json_get_string(answer, "best", &out->best)) out->best = NULL;
    if (run_ids_take(&s->ids, out->id)) return KOLM_OK;
    kit_format(text, sizeof text, "expected the id of question %llu, found %.64s: one answer per question, in order",
               (unsigned long long)s->answers, out->id);
    return bad_answer(s, text, err);
}

static kit_status read_answer(run_stream *s, const char *line, size_t length, cJSON **out, run_answer *out_answer,
                              kolm_error_t *err) {
    s->answers++;
    kit_status status = kit_json_parse(line, length, out, err);
    if (status == KOLM_E_INVALID_ARGUMENT) {
        char why[300];
        kit_copy(why, sizeof why, err->text);
        status = bad_answer(s, why, err);
    }
    if (status == KOLM_OK) status = check_answer(s, *out, out_answer, err);
    if (status == KOLM_OK) return KOLM_OK;
    cJSON_Delete(*out);
    *out = NULL;
    s->answers--;
    return status;
}

static kit_status pass_answer(run_stream *s, const char *line, size_t length, kolm_error_t *err) {
    cJSON *answer = NULL;
    run_answer read = {.line = line};
    KIT_TRY(read_answer(s, line, length, &answer, &read, err));
    kit_status status = s->receiver.answer(s->receiver.user, &read, err);
    cJSON_Delete(answer);
    return status;
}

/* Before each read: waits for the next answer as long as the user allows. */
static kit_status await_answer(void *user, kolm_error_t *err) {
    run_stream *s = user;
    struct pollfd from = {.fd = s->from_backend, .events = POLLIN};
    int64_t since = kit_now_ms();
    while (s->patience_ms > 0) {
        if (poll(&from, 1, LOOK_MS) > 0) return KOLM_OK;
        if (s->answers >= s->asked) since = kit_now_ms();
        if (kit_now_ms() - since > s->patience_ms)
            return kit_fail(err, KOLM_E_DEADLINE_EXCEEDED,
                            "a greater --answer-timeout gives it more time; a backend that withholds its answers until "
                            "its questions end should flush them: report that to its author",
                            "%s did not answer question %llu within %llu s", s->backend,
                            (unsigned long long)s->answers + 1, (unsigned long long)(s->patience_ms / 1000));
    }
    return KOLM_OK;
}

static bool receiver_gone(const run_stream *s) {
    return s->receiver.gone(s->receiver.user);
}

static void *read_answers(void *user) {
    run_stream *s = user;
    kit_lines *lines = NULL;
    s->read_status = kit_lines_open(s->from_backend, RUN_LINE_MAX, &lines, &s->read_error);
    if (s->read_status == KOLM_OK) kit_lines_wait_with(lines, await_answer, s);
    while (s->read_status == KOLM_OK) {
        const char *line = NULL;
        size_t length = 0;
        s->read_status = kit_lines_next(lines, &line, &length, &s->read_error);
        if (s->read_status != KOLM_OK || line == NULL) break;
        s->read_status = pass_answer(s, line, length, &s->read_error);
        if (!kit_lines_ready(lines)) s->receiver.pause(s->receiver.user);
        if (receiver_gone(s)) break;
    }
    if (s->read_status != KOLM_OK) s->no_answer = 1;
    kit_lines_close(lines);
    if (s->served) shutdown(s->from_backend, SHUT_RDWR); /* the feeder holds the same socket, and must not wait there */
    close(s->from_backend);
    return NULL;
}

/* ---- Both */

/* The error of the line that ended the batch, with the number of answers before it. */
static kit_status feeding_failed(const run_stream *s, session_reason *out_reason, kolm_error_t *err) {
    *out_reason = s->feed_status == KOLM_E_FAILED_PRECONDITION ? SESSION_REASON_USAGE : SESSION_REASON_DATA;
    *err = s->feed_error;
    if (s->text_count > 0 || s->feed_status == KOLM_E_FAILED_PRECONDITION) return s->feed_status;
    size_t length = strlen(err->text);
    kit_format(err->text + length, sizeof err->text - length, "; %llu before it %s answered, nothing after it",
               (unsigned long long)s->answers, s->answers == 1 ? "was" : "were");
    bool skippable = s->feed_status == KOLM_E_INVALID_ARGUMENT || s->feed_status == KOLM_E_OUT_OF_RANGE;
    if (skippable && !s->skip_named) {
        length = strlen(err->remedy);
        kit_format(err->remedy + length, sizeof err->remedy - length, "%s",
                   "; or leave such lines out with --skip-bad");
    }
    return s->feed_status;
}

static kit_status no_thread(kolm_error_t *err) {
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "cannot start a thread");
}

static kit_status ask(run_stream *s, model_answering *answering, session_airgap airgap, session_reason *out_reason,
                      kolm_error_t *err) {
    int question_read = -1, answer_write = -1;
    pthread_t feeder, reader;
    kit_copy(s->backend, sizeof s->backend, answering->choice->backend->name);
    KIT_TRY(kit_pipe(&question_read, &s->to_backend, err));
    KIT_TRY(kit_pipe(&s->from_backend, &answer_write, err));
    if (run_start_feeding(s, &feeder) != 0) return no_thread(err);
    if (kit_thread_start(&reader, 0, read_answers, s) != 0) {
        close(question_read);
        pthread_join(feeder, NULL);
        return no_thread(err);
    }
    answering->stop = &s->no_answer;
    kit_status status =
        model_answering_run(s->session, answering, airgap, question_read, answer_write, out_reason, err);
    answering->stop = NULL;
    bool no_answer = s->no_answer != 0; /* before the backend's output ends, which may leave half a line */
    close(question_read);
    close(answer_write);
    pthread_join(reader, NULL);
    /* A feeder that waits for a line that will not be answered must not keep the command alive. */
    if ((status != KOLM_OK || receiver_gone(s)) && s->text_count == 0)
        pthread_detach(feeder);
    else
        pthread_join(feeder, NULL);
    if (receiver_gone(s)) return KOLM_OK;
    if (status != KOLM_OK && no_answer && !session_stopped(s->session)) {
        *out_reason = SESSION_REASON_BACKEND;
        *err = s->read_error;
        return s->read_status;
    }
    if (status != KOLM_OK) return status;
    if (s->feed_status != KOLM_OK) return feeding_failed(s, out_reason, err);
    *out_reason = SESSION_REASON_BACKEND;
    if (s->read_status != KOLM_OK) *err = s->read_error;
    if (s->read_status == KOLM_OK && s->answers < s->asked)
        return kit_fail(err, KOLM_E_DATA_LOSS, "ask again, or try another backend with --backend",
                        "%s gave %llu of %llu answers and reported success", answering->choice->backend->name,
                        (unsigned long long)s->answers, (unsigned long long)s->asked);
    if (s->read_status == KOLM_OK) fleet_count_answers(s->session, s->backend, answering->result, s->answers);
    return s->read_status;
}

/* The same with a warm model: one socket instead of two pipes. */
static kit_status ask_server(run_stream *s, int fd, session_reason *out_reason, kolm_error_t *err) {
    pthread_t feeder;
    *out_reason = SESSION_REASON_BACKEND;
    s->served = true;
    s->served_reason = SESSION_REASON_BACKEND;
    s->from_backend = fd;
    s->to_backend = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (s->to_backend < 0 || run_start_feeding(s, &feeder) != 0) return no_thread(err);
    read_answers(s);
    /* As above: it may wait for a line that will not be answered. */
    if (receiver_gone(s) || (s->read_status != KOLM_OK && s->text_count == 0)) {
        pthread_detach(feeder);
        if (receiver_gone(s)) return KOLM_OK;
        *err = s->read_error;
        *out_reason = s->served_reason;
        return s->read_status;
    }
    pthread_join(feeder, NULL);
    if (s->feed_status != KOLM_OK) return feeding_failed(s, out_reason, err);
    if (s->read_status != KOLM_OK) {
        *err = s->read_error;
        *out_reason = s->served_reason;
    }
    if (s->read_status == KOLM_OK && s->answers < s->asked)
        return kit_fail(err, KOLM_E_UNAVAILABLE, "ask again; without a server kolm answers by itself",
                        "the server of this model ended after %llu of %llu answers", (unsigned long long)s->answers,
                        (unsigned long long)s->asked);
    return s->read_status;
}

/* ---- The model */

/* Questions are formatted as in training, according to the manifest. */
static kit_status learn_form(run_stream *s, const artifact *a, kolm_error_t *err) {
    const job_reader_options options = {.path = s->from, .inputs_only = true, .with_id = true};
    job_common_free(&s->common);
    KIT_TRY(job_common_get(kit_json_get(artifact_manifest(a), "options"), &s->common, err));
    return s->jsonl && s->reader == NULL ? job_reader_open_rows(&options, &s->reader, err) : KOLM_OK;
}

/* A server that keeps this model warm with the requested options, and has digested the same file. */
typedef struct warm {
    kolm_session *session;
    const run_request *request;
    model_served served;
} warm;

static bool find_warm(void *user, const artifact *a) {
    warm *w = user;
    const run_request *r = w->request;
    kit_buf mark = {0};
    if (r->serve || r->base != NULL) return false; /* a server uses the base that it found */
    model_serve_connect(w->session, artifact_manifest_sha256(a), &w->served);
    bool fits = w->served.fd >= 0 && strcmp(w->served.model, artifact_manifest_sha256(a)) == 0 &&
                (!r->airgap || w->served.airgap) && (r->backend == NULL || strcmp(r->backend, w->served.backend) == 0);
    if (!fits && w->served.fd >= 0) {
        close(w->served.fd);
        w->served.fd = -1;
    }
    kit_file_mark_put(artifact_mark(a), &mark);
    bool knows = fits && !mark.failed && strcmp(mark.data, w->served.file) == 0;
    kit_buf_free(&mark);
    return knows;
}

/* --input by its name, standard input otherwise. */
static kit_status open_input(const run_request *r, run_stream *s, session_reason *out_reason, kolm_error_t *err) {
    struct stat info;
    *out_reason = SESSION_REASON_DATA;
    if (r->input == NULL || strcmp(r->input, "-") == 0) return KOLM_OK;
    KIT_TRY(model_check_rows_path(r->input, "--input", err));
    s->from = r->input;
    s->input_fd = open(r->input, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (s->input_fd < 0) return kit_fail_errno(err, errno, "cannot open the questions %s", r->input);
    if (fstat(s->input_fd, &info) == 0 && S_ISDIR(info.st_mode))
        return kit_fail_errno(err, EISDIR, "cannot read the questions %s", r->input);
    return KOLM_OK;
}

static kit_status serve(kolm_session *session, const run_request *r, model_handle *model, model_answering *answering,
                        run_stream *s, session_reason *out_reason, kolm_error_t *err) {
    const model_serve_limits limits = {.idle_seconds = r->idle_seconds, .answer_seconds = r->answer_seconds};
    s->serving = true;
    return model_serve(session, model, answering, r->airgap, &limits, out_reason, err);
}

static kit_status run_cold(kolm_session *session, const run_request *r, model_handle *model, run_stream *s,
                           session_reason *out_reason, kolm_error_t *err) {
    model_answering answering = {.job = {.lock_fd = -1}};
    model->allow_pickle = r->allow_pickle;
    kit_status status =
        model_answering_begin(session, model, r->backend, r->base, r->airgap, &answering, out_reason, err);
    if (status == KOLM_OK) status = learn_form(s, model->artifact, err);
    if (status == KOLM_OK && r->serve)
        status = serve(session, r, model, &answering, s, out_reason, err);
    else if (status == KOLM_OK)
        status = ask(s, &answering, r->airgap, out_reason, err);
    model_answering_end(&answering);
    return status;
}

/* Warm or cold, the model is verified now. */
static kit_status run_stream_through(kolm_session *session, const run_request *r, run_stream *s,
                                     session_reason *out_reason, kolm_error_t *err) {
    model_handle model;
    warm w = {.session = session, .request = r, .served = {.fd = -1}};
    const model_voucher voucher = {.knows = find_warm, .user = &w};
    KIT_TRY(open_input(r, s, out_reason, err));
    kit_status status = model_open_known(session, r->model, MODEL_TRUST_CONTENT, &voucher, &model, out_reason, err);
    if (status == KOLM_OK) {
        *out_reason = SESSION_REASON_VERIFY;
        status = model_may_run(session, &model, err);
    }
    if (status == KOLM_OK && w.served.fd >= 0) {
        *out_reason = SESSION_REASON_DATA;
        status = learn_form(s, model.artifact, err);
    }
    kit_copy(s->backend, sizeof s->backend, w.served.backend);
    if (status == KOLM_OK && w.served.fd >= 0)
        status = ask_server(s, w.served.fd, out_reason, err);
    else if (w.served.fd >= 0)
        close(w.served.fd);
    else if (status == KOLM_OK)
        status = run_cold(session, r, &model, s, out_reason, err);
    model_handle_close(&model);
    return status;
}

kit_status run_model(kolm_session *session, const run_request *r, const run_receiver *receiver, run_tally *out_tally,
                     session_reason *out_reason, kolm_error_t *err) {
    run_stream *s = calloc(1, sizeof *s);
    *out_reason = SESSION_REASON_INTERNAL;
    if (s == NULL) return kit_no_memory(err);
    *s = (run_stream){.session = session,
                      .stop = session->stop,
                      .receiver = *receiver,
                      .texts = r->texts,
                      .text_count = r->text_count,
                      .from = "standard input",
                      .input_fd = STDIN_FILENO,
                      .jsonl = r->jsonl,
                      .skip_bad = r->skip_bad,
                      .ids = RUN_IDS_NONE,
                      .patience_ms = (int64_t)r->answer_seconds * 1000,
                      .holders = 1,
                      .to_backend = -1,
                      .from_backend = -1,
                      .feed_error = KIT_ERROR_INIT,
                      .read_error = KIT_ERROR_INIT};
    kit_status status = run_stream_through(session, r, s, out_reason, err);
    *out_tally = (run_tally){0};
    if (status == KOLM_OK && !receiver_gone(s)) { /* else the feeder may still be running */
        *out_tally = (run_tally){.lines = s->lines, .bad = s->bad, .answers = s->answers};
        memcpy(out_tally->bad_examples, s->bad_examples, sizeof s->bad_examples);
    }
    /* Interrupting a server is not an error: if it ended with one, that came before the interruption. */
    if (status == KOLM_E_CANCELLED || (status != KOLM_OK && session_stopped(session) && !s->serving))
        *out_reason = SESSION_REASON_INTERRUPTED;
    run_stream_drop(s);
    return status;
}
