/* SPDX-License-Identifier: Apache-2.0 */
/* kolm run: questions in, answers out, as a stream in constant memory. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/call.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/mark.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"
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

#define LOOK_MS 500 /* how often it is looked how long an answer takes */
#define ANSWER_SECONDS_MAX 604800
#define ANSWER_SECONDS 600 /* time enough to load a big model, and an end to a hanging one */

/* ---- Printing */

/* Answers for people have no ids: what was left out keeps its line among them, up to the line before `next`. */
static void fill_places(run_stream *s, uint64_t next) {
    if (!s->skip_bad || s->json) return;
    for (; s->place < next; s->place++)
        cli_print(((cli_context *)s->user), "(left out)\n");
}

static kit_status bad_answer(const run_stream *s, const char *what, kolm_error_t *err) {
    return kit_fail(err, KOLM_E_DATA_LOSS, "this is a fault of the backend; report it to its author",
                    "answer %llu of %s: %s", (unsigned long long)s->answers, s->backend, what);
}

/* Whether it is one, and was asked for. */
static kit_status check_answer(run_stream *s, const cJSON *answer, double *out_confidence, kolm_error_t *err) {
    const cJSON *output = kit_json_get(answer, "output");
    const char *id = NULL;
    char text[160];
    if (s->served && serve_error_read(answer, &s->served_exit, err)) return err->code;
    if (s->answers > s->asked) return bad_answer(s, "there are more answers than questions", err);
    if (!cJSON_IsString(output) && !cJSON_IsNull(output))
        return bad_answer(s, "expected text or null in \"output\"", err);
    if (!kit_json_get_number(answer, "confidence", out_confidence) || !(*out_confidence >= 0 && *out_confidence <= 1))
        return bad_answer(s, "expected a \"confidence\" from 0 to 1", err);
    if (!kit_json_get_string(answer, "id", &id)) return bad_answer(s, "expected the text \"id\"", err);
    if (run_ids_take(&s->ids, id)) return KOLM_OK;
    kit_format(text, sizeof text, "expected the id of question %llu, found %.64s: one answer per question, in order",
               (unsigned long long)s->answers, id);
    return bad_answer(s, text, err);
}

static kit_status read_answer(run_stream *s, const char *line, size_t length, cJSON **out, double *out_confidence,
                              kolm_error_t *err) {
    s->answers++;
    kit_status status = kit_json_parse(line, length, out, err);
    if (status == KOLM_E_INVALID_ARGUMENT) {
        char why[300];
        kit_copy(why, sizeof why, err->text);
        status = bad_answer(s, why, err);
    }
    if (status == KOLM_OK) status = check_answer(s, *out, out_confidence, err);
    if (status == KOLM_OK) return KOLM_OK;
    cJSON_Delete(*out);
    *out = NULL;
    s->answers--;
    return status;
}

static kit_status print_answer(run_stream *s, const char *line, size_t length, kolm_error_t *err) {
    cJSON *answer = NULL;
    const char *output = NULL, *best = NULL, *id = NULL;
    double confidence = 0;
    uint64_t number = 0;
    KIT_TRY(read_answer(s, line, length, &answer, &confidence, err));
    if (kit_json_get_string(answer, "id", &id) && kit_parse_u64(id, &number)) fill_places(s, number);
    s->place++;
    /* Not cli_safe: its buffers belong to the main thread, which may print a warning meanwhile. */
    kit_buf *shown = &s->shown;
    kit_buf_clear(shown);
    if (s->json) {
        cli_add_json(shown, line);
    } else if (kit_json_get_string(answer, "output", &output)) {
        kit_buf_escaped(shown, output, strlen(output));
        kit_buf_fmt(shown, "  %.3f", confidence);
    } else {
        if (!kit_json_get_string(answer, "best", &best)) best = "none";
        kit_buf_fmt(shown, "(withheld)  %.3f  best: ", confidence);
        kit_buf_escaped(shown, best, strlen(best));
    }
    cJSON_Delete(answer);
    KIT_TRY(kit_buf_ok(shown, err));
    cli_print(((cli_context *)s->user), "%s\n", kit_buf_text(shown));
    return KOLM_OK;
}

/* Before more is read: the next answer is waited for as long as the user wants to. */
static kit_status await_answer(void *user, kolm_error_t *err) {
    run_stream *s = user;
    struct pollfd from = {.fd = s->from_backend, .events = POLLIN};
    int64_t since = kit_now_ms();
    while (s->patience_ms > 0) {
        if (poll(&from, 1, LOOK_MS) > 0) return KOLM_OK;
        if (s->answers >= s->asked) since = kit_now_ms();
        if (kit_now_ms() - since > s->patience_ms)
            return kit_fail(
                err, KOLM_E_DEADLINE_EXCEEDED,
                "a greater --answer-timeout gives it more time; a backend that keeps its answers back until its "
                "questions end should flush them: report that to its author",
                "%s did not answer question %llu within %llu s", s->backend, (unsigned long long)s->answers + 1,
                (unsigned long long)(s->patience_ms / 1000));
    }
    return KOLM_OK;
}

static void *print_answers(void *user) {
    run_stream *s = user;
    kit_lines *lines = NULL;
    s->print_status = kit_lines_open(s->from_backend, RUN_LINE_MAX, &lines, &s->print_error);
    if (s->print_status == KOLM_OK) kit_lines_wait_with(lines, await_answer, s);
    while (s->print_status == KOLM_OK) {
        const char *line = NULL;
        size_t length = 0;
        s->print_status = kit_lines_next(lines, &line, &length, &s->print_error);
        if (s->print_status != KOLM_OK || line == NULL) break;
        s->print_status = print_answer(s, line, length, &s->print_error);
        if (!kit_lines_ready(lines)) cli_flush(((cli_context *)s->user));
        if (((cli_context *)s->user)->out_errno != 0)
            break; /* nobody reads them, or they cannot be kept: no need of more */
    }
    if (s->print_status != KOLM_OK) s->no_answer = 1;
    kit_lines_close(lines);
    kit_buf_free(&s->shown);
    if (s->served) shutdown(s->from_backend, SHUT_RDWR); /* the feeder holds the same socket, and must not wait there */
    close(s->from_backend);
    return NULL;
}

/* ---- Both */

/* The error of the line that ended the batch, with what was answered before it. */
static kit_status feeding_failed(const run_stream *s, kolm_error_t *err) {
    *err = s->feed_error;
    if (s->text_count > 0 || s->feed_status == KOLM_E_FAILED_PRECONDITION) return s->feed_status;
    size_t length = strlen(err->text);
    kit_format(err->text + length, sizeof err->text - length, "; %llu before it %s answered, nothing after it",
               (unsigned long long)s->answers, s->answers == 1 ? "was" : "were");
    bool skippable = s->feed_status == KOLM_E_INVALID_ARGUMENT || s->feed_status == KOLM_E_OUT_OF_RANGE;
    if (skippable && strstr(err->remedy, "--skip-bad") == NULL) {
        length = strlen(err->remedy);
        kit_format(err->remedy + length, sizeof err->remedy - length, "%s",
                   "; or leave such lines out with --skip-bad");
    }
    return s->feed_status;
}

static kit_status ask(run_stream *s, model_answering *answering, session_airgap airgap, int *out_exit,
                      kolm_error_t *err) {
    int question_read = -1, answer_write = -1;
    pthread_t feeder, printer;
    kit_copy(s->backend, sizeof s->backend, answering->choice->backend->name);
    KIT_TRY(kit_pipe(&question_read, &s->to_backend, err));
    KIT_TRY(kit_pipe(&s->from_backend, &answer_write, err));
    if (run_start_feeding(s, &feeder) != 0)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "cannot start a thread");
    if (pthread_create(&printer, NULL, print_answers, s) != 0) {
        close(question_read);
        pthread_join(feeder, NULL);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "cannot start a thread");
    }
    answering->stop = &s->no_answer;
    kit_status status = model_answering_run(s->session, answering, airgap, question_read, answer_write, out_exit, err);
    answering->stop = NULL;
    bool no_answer = s->no_answer != 0; /* said before its end: it was stopped for that. Half a line comes at its end */
    close(question_read);
    close(answer_write);
    pthread_join(printer, NULL);
    /* A feeder that waits for a line nobody will answer must not keep the command alive. */
    if ((status != KOLM_OK || ((cli_context *)s->user)->out_errno != 0) && s->text_count == 0)
        pthread_detach(feeder);
    else
        pthread_join(feeder, NULL);
    if (((cli_context *)s->user)->out_errno != 0)
        return KOLM_OK; /* cli_output_finish says it, unless it is no failure */
    if (status != KOLM_OK && no_answer && !cli_interrupted()) {
        *out_exit = SESSION_EXIT_BACKEND;
        *err = s->print_error;
        return s->print_status;
    }
    if (status != KOLM_OK) return status;
    *out_exit = s->feed_status == KOLM_E_FAILED_PRECONDITION ? SESSION_EXIT_USAGE : SESSION_EXIT_DATA;
    if (s->feed_status != KOLM_OK) return feeding_failed(s, err);
    *out_exit = SESSION_EXIT_BACKEND;
    if (s->print_status != KOLM_OK) *err = s->print_error;
    if (s->print_status == KOLM_OK && s->answers < s->asked)
        return kit_fail(err, KOLM_E_DATA_LOSS, "ask again, or try another backend with --backend",
                        "%s gave %llu of %llu answers and called that success", answering->choice->backend->name,
                        (unsigned long long)s->answers, (unsigned long long)s->asked);
    if (s->print_status == KOLM_OK) fleet_count_answers(s->session, s->backend, answering->result, s->answers);
    return s->print_status;
}

/* The same with a model that is warm already: one socket instead of two pipes. */
static kit_status ask_server(run_stream *s, int fd, int *out_exit, kolm_error_t *err) {
    pthread_t feeder;
    *out_exit = SESSION_EXIT_BACKEND;
    s->served = true;
    s->served_exit = SESSION_EXIT_BACKEND;
    s->from_backend = fd;
    s->to_backend = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (s->to_backend < 0 || run_start_feeding(s, &feeder) != 0)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "cannot start a thread");
    print_answers(s);
    /* As above: it may wait for a line that nobody will answer. */
    if (((cli_context *)s->user)->out_errno != 0 || (s->print_status != KOLM_OK && s->text_count == 0)) {
        pthread_detach(feeder);
        if (((cli_context *)s->user)->out_errno != 0) return KOLM_OK;
        *err = s->print_error;
        *out_exit = s->served_exit;
        return s->print_status;
    }
    pthread_join(feeder, NULL);
    if (s->feed_status != KOLM_OK) {
        *out_exit = s->feed_status == KOLM_E_FAILED_PRECONDITION ? SESSION_EXIT_USAGE : SESSION_EXIT_DATA;
        return feeding_failed(s, err);
    }
    if (s->print_status != KOLM_OK) {
        *err = s->print_error;
        *out_exit = s->served_exit;
    }
    if (s->print_status == KOLM_OK && s->answers < s->asked)
        return kit_fail(err, KOLM_E_UNAVAILABLE, "ask again; without a server kolm answers by itself",
                        "the server of this model ended after %llu of %llu answers", (unsigned long long)s->answers,
                        (unsigned long long)s->asked);
    return s->print_status;
}

typedef struct run_request {
    const char *backend, *base, *input;
    bool jsonl, serve, skip_bad, allow_pickle;
    session_airgap airgap;
    session_number idle, answer_timeout;
    char **words;
    size_t word_count, plain_words; /* plain_words: those before "--" */
} run_request;

static uint64_t answer_seconds(const run_request *r) {
    return r->answer_timeout.set ? r->answer_timeout.value : ANSWER_SECONDS;
}

/* Questions are put as the model was trained: its manifest says how. */
static kit_status learn_form(run_stream *s, const artifact *a, kolm_error_t *err) {
    const job_reader_options options = {.path = s->from, .inputs_only = true, .with_id = true};
    job_common_free(&s->common);
    KIT_TRY(job_common_get(kit_json_get(artifact_manifest(a), "options"), &s->common, err));
    return s->jsonl && s->reader == NULL ? job_reader_open_rows(&options, &s->reader, err) : KOLM_OK;
}

/* Whether somebody keeps this model warm, in the way that was asked for, and has digested this very file. */
typedef struct warm {
    cli_context *context;
    const run_request *request;
    model_served served;
} warm;

static bool find_warm(void *user, const artifact *a) {
    warm *w = user;
    const run_request *r = w->request;
    kit_buf mark = {0};
    if (r->serve) return false;
    model_serve_connect(&w->context->session, artifact_manifest_sha256(a), &w->served);
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
static kit_status open_input(const run_request *r, run_stream *s, int *out_exit, kolm_error_t *err) {
    struct stat info;
    *out_exit = SESSION_EXIT_DATA;
    if (r->input == NULL || strcmp(r->input, "-") == 0) return KOLM_OK;
    KIT_TRY(model_check_rows_path(r->input, "--input", err));
    s->from = r->input;
    s->input_fd = open(r->input, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (s->input_fd < 0) return kit_fail_errno(err, errno, "cannot open the questions %s", r->input);
    if (fstat(s->input_fd, &info) == 0 && S_ISDIR(info.st_mode))
        return kit_fail_errno(err, EISDIR, "cannot read the questions %s", r->input);
    return KOLM_OK;
}

static kit_status serve(cli_context *context, const run_request *r, model_handle *model, model_answering *answering,
                        run_stream *s, int *out_exit, kolm_error_t *err) {
    const model_serve_limits limits = {.idle_seconds = r->idle.value, .answer_seconds = answer_seconds(r)};
    s->serving = true;
    return model_serve(&context->session, model, answering, r->airgap, &limits, out_exit, err);
}

static kit_status run_cold(cli_context *context, const run_request *r, model_handle *model, run_stream *s,
                           int *out_exit, kolm_error_t *err) {
    model_answering answering = {.job = {.lock_fd = -1}};
    model->allow_pickle = r->allow_pickle;
    kit_status status =
        model_answering_begin(&context->session, model, r->backend, r->base, r->airgap, &answering, out_exit, err);
    if (status == KOLM_OK) status = learn_form(s, model->artifact, err);
    if (status == KOLM_OK && r->serve)
        status = serve(context, r, model, &answering, s, out_exit, err);
    else if (status == KOLM_OK)
        status = ask(s, &answering, r->airgap, out_exit, err);
    model_answering_end(&answering);
    return status;
}

/* Warm or cold, the model is judged here and now. */
static kit_status run_model(cli_context *context, const run_request *r, run_stream *s, int *out_exit,
                            kolm_error_t *err) {
    model_handle model;
    warm w = {.context = context, .request = r, .served = {.fd = -1}};
    const model_voucher voucher = {.knows = find_warm, .user = &w};
    KIT_TRY(open_input(r, s, out_exit, err));
    kit_status status =
        model_open_known(&context->session, r->words[0], MODEL_TRUST_CONTENT, &voucher, &model, out_exit, err);
    if (status == KOLM_OK) {
        *out_exit = SESSION_EXIT_VERIFY;
        status = model_may_run(&context->session, &model, err);
    }
    if (status == KOLM_OK && w.served.fd >= 0) {
        *out_exit = SESSION_EXIT_DATA;
        status = learn_form(s, model.artifact, err);
    }
    kit_copy(s->backend, sizeof s->backend, w.served.backend);
    if (status == KOLM_OK && w.served.fd >= 0)
        status = ask_server(s, w.served.fd, out_exit, err);
    else if (w.served.fd >= 0)
        close(w.served.fd);
    else if (status == KOLM_OK)
        status = run_cold(context, r, &model, s, out_exit, err);
    model_handle_close(&model);
    return status;
}

/* A file or a directory that somebody wants answered, and not its name. -1: each TEXT is a text. */
static int check_texts(cli_context *context, const cli_syntax *syntax, const run_request *r) {
    for (size_t i = 1; i < r->word_count && i < r->plain_words; i++) {
        const char *text = r->words[i], *shown = cli_safe(text);
        kolm_error_t err = KIT_ERROR_INIT;
        bool there = model_is_there(text);
        if (!there && !model_named_like_rows(text)) continue;
        if (model_looks_like_model(text) && !model_looks_like_model(r->words[0]))
            return cli_usage_error(context, syntax->command, "the model comes first: kolm run %s %s", shown,
                                   cli_safe(r->words[0]));
        if (model_looks_like_model(text))
            return cli_usage_error(context, syntax->command,
                                   "'%s' is a second compiled model, and one answers; run each by itself", shown);
        err.code =
            kit_fail(&err, KOLM_E_INVALID_ARGUMENT,
                     "for the lines of the file: --input FILE; for the words themselves: put -- before them",
                     "'%s' %s: is what it holds to be answered, or these words?", shown,
                     there ? "is the name of a file or directory" : "looks like the name of a file that is not there");
        return cli_error(context, SESSION_EXIT_USAGE, &err);
    }
    return -1;
}

/* Tables have columns, and packed files no lines: a line of them is no question. */
static int check_input(cli_context *context, const cli_syntax *syntax, run_request *r) {
    static const char *const no_lines[] = {".csv", ".tsv", ".gz", ".zst", ".bz2", ".xz"};
    size_t length = strlen(r->input);
    if (r->word_count > 1)
        return cli_usage_error(context, syntax->command, "--input takes the place of TEXT: give one");
    for (size_t i = 0; i < sizeof no_lines / sizeof *no_lines; i++) {
        size_t more = strlen(no_lines[i]);
        if (length > more && strcmp(r->input + length - more, no_lines[i]) == 0)
            return cli_usage_error(context, syntax->command,
                                   "--input %s: a %s file is not one question a line; give lines of text or JSON "
                                   "lines, or its lines as they stand on standard input",
                                   cli_safe(r->input), no_lines[i]);
    }
    if (!r->jsonl && length > 5 && strcmp(r->input + length - 5, ".json") == 0)
        return cli_usage_error(context, syntax->command,
                               "--input %s: a .json file is not one question a line; pass --jsonl if each of its lines "
                               "is a row",
                               cli_safe(r->input));
    r->jsonl = r->jsonl || (length > 6 && strcmp(r->input + length - 6, ".jsonl") == 0) ||
               (length > 7 && strcmp(r->input + length - 7, ".ndjson") == 0);
    return -1;
}

static int check_request(cli_context *context, const cli_syntax *syntax, run_request *r) {
    if (r->serve && (r->word_count > 1 || r->input != NULL))
        return cli_usage_error(context, syntax->command, "--serve takes no TEXT: ask with another `kolm run`");
    if (r->serve && r->skip_bad)
        return cli_usage_error(context, syntax->command,
                               "--skip-bad belongs to the `kolm run` that asks, not to --serve");
    if (r->answer_timeout.value > ANSWER_SECONDS_MAX)
        return cli_usage_error(context, syntax->command, "--answer-timeout: give 0 to %d seconds", ANSWER_SECONDS_MAX);
    if (r->idle.set && !r->serve) return cli_usage_error(context, syntax->command, "--idle needs --serve");
    /* A lone "-" is standard input, as everywhere. */
    if (r->input == NULL && r->word_count == 2 && r->plain_words == 2 && strcmp(r->words[1], "-") == 0)
        r->word_count = 1;
    if (r->input != NULL) return check_input(context, syntax, r);
    return check_texts(context, syntax, r);
}

/* What was left out, when the rest is printed. */
static void say_left_out(run_stream *s) {
    if (((cli_context *)s->user)->out_errno != 0) return;
    fill_places(s, s->lines + 1);
    for (uint64_t i = 0; i < s->bad && i < RUN_BAD_EXAMPLES; i++)
        cli_warn(((cli_context *)s->user), "left out: %s", cli_safe(s->bad_examples[i]));
    if (s->bad > 0)
        cli_warn(((cli_context *)s->user), "%llu of %llu %s left out, %llu answered", (unsigned long long)s->bad,
                 (unsigned long long)s->lines, s->text_count > 0 ? "texts" : "lines", (unsigned long long)s->answers);
}

static int answer(cli_context *context, const run_request *r) {
    int exit_code = SESSION_EXIT_INTERNAL;
    run_stream *s = calloc(1, sizeof *s);
    kolm_error_t err = KIT_ERROR_INIT;
    if (s == NULL) {
        kit_status status =
            kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
        return status == KOLM_OK ? SESSION_EXIT_OK : cli_error(context, SESSION_EXIT_INTERNAL, &err);
    }
    *s = (run_stream){.session = &context->session,
                      .stop = context->session.stop,
                      .user = context,
                      .texts = r->words + 1,
                      .text_count = r->word_count - 1,
                      .from = "standard input",
                      .input_fd = STDIN_FILENO,
                      .jsonl = r->jsonl,
                      .json = r->jsonl || context->json,
                      .skip_bad = r->skip_bad,
                      .place = 1,
                      .ids = RUN_IDS_NONE,
                      .patience_ms = (int64_t)answer_seconds(r) * 1000,
                      .holders = 1,
                      .to_backend = -1,
                      .from_backend = -1,
                      .feed_error = KIT_ERROR_INIT,
                      .print_error = KIT_ERROR_INIT};
    kit_status status = run_model(context, r, s, &exit_code, &err);
    if (status == KOLM_OK && !r->serve) say_left_out(s);
    /* A server that ended with an error had it before it was interrupted: that would have been no error. */
    bool interrupted = status == KOLM_E_CANCELLED || (cli_interrupted() && !s->serving);
    run_stream_drop(s);
    if (status == KOLM_OK) return SESSION_EXIT_OK;
    return cli_error(context, interrupted ? SESSION_EXIT_INTERRUPTED : exit_code, &err);
}

int cli_cmd_run(cli_context *context, int argc, char **argv) {
    run_request r = {.words = argv};
    const cli_option options[] = {
        {"input", 'i', CLI_STRING, &r.input, "FILE",
         "answer the lines of FILE; JSON lines when its name ends in .jsonl"},
        {"jsonl", 0, CLI_FLAG, &r.jsonl, NULL, "questions are JSON lines {\"id\", \"input\"}, answers too"},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "use this backend or none"},
        {"skip-bad", 0, CLI_FLAG, &r.skip_bad, NULL,
         "leave bad lines out, and say which, instead of stopping at the first"},
        {"serve", 0, CLI_FLAG, &r.serve, NULL,
         "keep the model loaded and answer other `kolm run`s of it, until Ctrl-C"},
        {"idle", 0, CLI_U64, &r.idle, "SECONDS", "with --serve: exit after being idle for so long"},
        {"answer-timeout", 0, CLI_U64, &r.answer_timeout, "SECONDS",
         "end with an error when the next answer takes longer; default 600; 0: never"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only files that you made"},
        {"airgap", 0, CLI_AIRGAP, &r.airgap, NULL, "no network for the backend, enforced (strict) or only requested"},
    };
    const cli_syntax syntax = {
        .command = "kolm run",
        .words = "FILE.kolm [TEXT...]",
        .summary = "Answers each TEXT with a compiled model; without one, each line of standard input.",
        .notes =
            "An answer is a label and a calibrated confidence: of those given with 0.8, about eight in ten are right.\n"
            "With --json or --jsonl each answer is one JSON line {\"id\", \"output\", \"confidence\"}; a withheld one "
            "has \"best\" instead of \"output\".\n"
            "A TEXT that is the name of a file is refused, lest the name be answered: --input reads the file. After "
            "--\n"
            "every word is a TEXT, also one that begins with '-' or is such a name.",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .min_words = 1,
        .max_words = SIZE_MAX,
        .words_out = argv,
        .word_count_out = &r.word_count,
        .plain_words_out = &r.plain_words,
    };
    context->json_lines = true; /* an error too, since answers may stand before it */
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    exit_code = check_request(context, &syntax, &r);
    if (exit_code >= 0) return exit_code;
    return answer(context, &r);
}
