/* SPDX-License-Identifier: Apache-2.0 */
/* kolm run: questions in, answers out, as a stream in constant memory. */
#include "cli/cli.h"
#include "cli/model.h"
#include "cli/options.h"
#include "cli/serve.h"
#include "kolm/kit/process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define INPUT_MAX (16u << 20)

/* Two threads move text while the main thread waits for the backend: one feeds questions, one prints answers. */
typedef struct stream {
    cli_context *context;
    char **texts; /* given on the command line; else standard input */
    size_t text_count;
    bool jsonl;
    bool json; /* print JSON lines */
    int to_backend, from_backend;
    kit_status feed_status, print_status;
    kolm_error_t feed_error, print_error;
    kit_buf shown; /* of the thread that prints */
    uint64_t asked, answers;
    bool served;      /* to_backend is a socket: its end is said by shutting it */
    bool feeder_left; /* it still waits for a line, and uses this */
} stream;

/* ---- Feeding */

static kit_status put_question(kit_buf *out, const char *id, const char *input, size_t length, kolm_error_t *err) {
    kit_buf_str(out, "{\"id\":");
    kit_json_string(out, id, strlen(id));
    kit_buf_str(out, ",\"input\":");
    kit_json_string(out, input, length);
    kit_buf_str(out, "}\n");
    return kit_buf_ok(out, err);
}

#define ROW_REMEDY                                                                                                     \
    "each line must be one JSON object with the text \"input\", and \"id\" as text or a whole number if at all"

/* The id of a row comes back with its answer, so what cannot come back as it was is refused. Without one: the line
 * number. */
static bool id_of(const cJSON *object, char *number, size_t capacity, const char **out_id) {
    const cJSON *item = kit_json_get(object, "id");
    uint64_t numeric = 0;
    *out_id = number;
    if (item == NULL || cJSON_IsNull(item) || kit_json_get_string(object, "id", out_id)) return true;
    if (!kit_json_get_u64(object, "id", &numeric)) return false;
    kit_format(number, capacity, "%llu", (unsigned long long)numeric);
    return true;
}

static kit_status json_question(const char *line, size_t length, unsigned long long number, kit_buf *out,
                                kolm_error_t *err) {
    cJSON *object = NULL;
    const char *id = NULL, *input = NULL;
    char own_id[32];
    kolm_error_t inner = KIT_ERROR_INIT;
    if (kit_json_parse(line, length, &object, &inner) != KOLM_OK) {
        /* A row is one line: the parser's own "line 1" would contradict ours. */
        const char *why = strncmp(inner.text, "line 1, ", 8) == 0 ? inner.text + 8 : inner.text;
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, ROW_REMEDY, "standard input, line %llu, %s", number, why);
    }
    kit_status status = KOLM_OK;
    kit_format(own_id, sizeof own_id, "%llu", number);
    if (!id_of(object, own_id, sizeof own_id, &id))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, ROW_REMEDY,
                          "standard input, line %llu: \"id\" is neither text nor a whole number", number);
    else if (!kit_json_get_string(object, "input", &input) && !kit_json_get_string(object, "prompt", &input))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, ROW_REMEDY,
                          "standard input, line %llu: expected the key \"input\" with text", number);
    else
        status = put_question(out, id, input, strlen(input), err);
    cJSON_Delete(object);
    return status;
}

/* where: "standard input, line" or "TEXT", which the number follows. */
static kit_status plain_question(const char *where, const char *line, size_t length, unsigned long long number,
                                 kit_buf *out, kolm_error_t *err) {
    char id[32];
    size_t valid = kit_utf8_valid(line, length);
    if (valid == length && memchr(line, '\0', length) != NULL) valid = strlen(line);
    if (valid != length)
        return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "give UTF-8 text", "%s %llu, column %zu: expected UTF-8 text",
                        where, number, valid + 1);
    kit_format(id, sizeof id, "%llu", number);
    return put_question(out, id, line, length, err);
}

/* The backend may stop reading before the end (it failed, or the user stopped it): that is told by its verdict. */
static kit_status send_questions(stream *s, kit_buf *out, bool *out_gone) {
    kolm_error_t err = KIT_ERROR_INIT;
    for (size_t i = 0; i < out->length; i++)
        s->asked += out->data[i] == '\n';
    if (kit_write_all(s->to_backend, kit_buf_text(out), out->length, &err) != KOLM_OK) *out_gone = true;
    kit_buf_clear(out);
    return KOLM_OK;
}

static kit_status feed_lines(stream *s, kit_buf *out) {
    kit_lines *lines = NULL;
    bool gone = false;
    KIT_TRY(kit_lines_open(STDIN_FILENO, INPUT_MAX, &lines, &s->feed_error));
    kit_status status = KOLM_OK;
    while (status == KOLM_OK && !gone && !cli_interrupted()) {
        const char *line = NULL;
        size_t length = 0;
        status = kit_lines_next(lines, &line, &length, &s->feed_error);
        if (status != KOLM_OK) {
            if (s->feed_error.remedy[0] == '\0')
                kit_copy(s->feed_error.remedy, sizeof s->feed_error.remedy,
                         "a question is one line; make it shorter, or one JSON line with --jsonl");
            kit_fail_context(&s->feed_error, "standard input");
        }
        if (status != KOLM_OK || line == NULL) break;
        unsigned long long number = (unsigned long long)kit_lines_number(lines);
        bool blank = strspn(line, " \t") == length;
        if (!(s->jsonl && blank))
            status = s->jsonl ? json_question(line, length, number, out, &s->feed_error)
                              : plain_question("standard input, line", line, length, number, out, &s->feed_error);
        /* Whole batches while there is more to read at once; what is there, when the next line has to be waited for. */
        if (out->length > 32768 || !kit_lines_ready(lines)) {
            kit_status sent = send_questions(s, out, &gone);
            (void)sent;
        }
    }
    if (!gone) status = send_questions(s, out, &gone) == KOLM_OK ? status : KOLM_E_UNKNOWN;
    kit_lines_close(lines);
    return status;
}

static void *feed(void *user) {
    stream *s = user;
    kit_buf out = {0};
    bool gone = false;
    if (s->text_count > 0) {
        for (size_t i = 0; i < s->text_count && s->feed_status == KOLM_OK; i++)
            s->feed_status = plain_question("TEXT", s->texts[i], strlen(s->texts[i]), i + 1, &out, &s->feed_error);
        kit_status sent = send_questions(s, &out, &gone);
        (void)sent;
    } else {
        s->feed_status = feed_lines(s, &out);
    }
    kit_buf_free(&out);
    if (s->served) shutdown(s->to_backend, SHUT_WR);
    close(s->to_backend);
    return NULL;
}

/* ---- Printing */

static kit_status print_answer(stream *s, const char *line, size_t length, kolm_error_t *err) {
    cJSON *answer = NULL;
    const char *output = NULL, *best = NULL;
    double confidence = 0;
    KIT_TRY(kit_json_parse(line, length, &answer, err));
    s->answers++;
    if (!kit_json_get_number(answer, "confidence", &confidence)) confidence = 0;
    /* Not cli_safe: its buffers belong to the main thread, which may print a warning meanwhile. */
    kit_buf *shown = &s->shown;
    kit_buf_clear(shown);
    if (s->json) {
        cli_add_json(shown, line);
        cli_print(s->context, "%s\n", kit_buf_text(shown));
    } else if (kit_json_get_string(answer, "output", &output)) {
        kit_buf_escaped(shown, output, strlen(output));
        cli_print(s->context, "%s  %.3f\n", kit_buf_text(shown), confidence);
    } else {
        if (!kit_json_get_string(answer, "best", &best)) best = "none";
        kit_buf_escaped(shown, best, strlen(best));
        cli_print(s->context, "(withheld)  %.3f  best: %s\n", confidence, kit_buf_text(shown));
    }
    cJSON_Delete(answer);
    return KOLM_OK;
}

static void *print_answers(void *user) {
    stream *s = user;
    kit_lines *lines = NULL;
    s->print_status = kit_lines_open(s->from_backend, INPUT_MAX, &lines, &s->print_error);
    while (s->print_status == KOLM_OK) {
        const char *line = NULL;
        size_t length = 0;
        s->print_status = kit_lines_next(lines, &line, &length, &s->print_error);
        if (s->print_status != KOLM_OK || line == NULL) break;
        s->print_status = print_answer(s, line, length, &s->print_error);
        if (!kit_lines_ready(lines)) fflush(stdout);
    }
    kit_lines_close(lines);
    kit_buf_free(&s->shown);
    close(s->from_backend);
    return NULL;
}

/* ---- Both */

static kit_status ask(stream *s, cli_answering *answering, bool airgap, int *out_exit, kolm_error_t *err) {
    int question_read = -1, answer_write = -1;
    pthread_t feeder, printer;
    KIT_TRY(kit_pipe(&question_read, &s->to_backend, err));
    KIT_TRY(kit_pipe(&s->from_backend, &answer_write, err));
    if (pthread_create(&feeder, NULL, feed, s) != 0)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "cannot start a thread");
    if (pthread_create(&printer, NULL, print_answers, s) != 0) {
        close(question_read);
        pthread_join(feeder, NULL);
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "cannot start a thread");
    }
    kit_status status = cli_answering_run(s->context, answering, airgap, question_read, answer_write, out_exit, err);
    close(question_read);
    close(answer_write);
    pthread_join(printer, NULL);
    /* A feeder that waits for a line nobody will answer must not keep the command alive. */
    s->feeder_left = status != KOLM_OK && s->text_count == 0;
    if (s->feeder_left)
        pthread_detach(feeder);
    else
        pthread_join(feeder, NULL);
    if (status != KOLM_OK) return status;
    *out_exit = CLI_EXIT_DATA;
    if (s->feed_status != KOLM_OK) {
        *err = s->feed_error;
        return s->feed_status;
    }
    *out_exit = CLI_EXIT_BACKEND;
    if (s->print_status != KOLM_OK) *err = s->print_error;
    return s->print_status;
}

/* The same with a model that is warm already: one socket instead of two pipes. */
static kit_status ask_server(stream *s, int fd, int *out_exit, kolm_error_t *err) {
    pthread_t feeder;
    *out_exit = CLI_EXIT_BACKEND;
    s->served = true;
    s->from_backend = fd;
    s->to_backend = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (s->to_backend < 0 || pthread_create(&feeder, NULL, feed, s) != 0)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit",
                        "cannot start a thread");
    print_answers(s);
    pthread_join(feeder, NULL);
    if (s->feed_status != KOLM_OK) {
        *out_exit = CLI_EXIT_DATA;
        *err = s->feed_error;
        return s->feed_status;
    }
    if (s->print_status != KOLM_OK) *err = s->print_error;
    if (s->print_status == KOLM_OK && s->answers < s->asked)
        return kit_fail(err, KOLM_E_UNAVAILABLE, "ask again; without a server kolm answers by itself",
                        "the server of this model ended after %llu of %llu answers", (unsigned long long)s->answers,
                        (unsigned long long)s->asked);
    return s->print_status;
}

typedef struct run_request {
    const char *backend, *base;
    bool jsonl, airgap, serve;
    cli_number idle;
    char **words;
    size_t word_count;
} run_request;

static void say_ready(cli_context *context, const char *socket_path) {
    cli_print(context, "[serve]       %s\n", cli_safe(socket_path));
    fflush(stdout);
}

/* Whether somebody keeps this model warm, in the way that was asked for: then the question goes there. */
static bool ask_warm(cli_context *context, const run_request *r, stream *s, kit_status *out_status, int *out_exit,
                     kolm_error_t *err) {
    artifact *a = NULL;
    cli_served served = {.fd = -1};
    if (r->serve || artifact_open(r->words[0], &a, NULL) != KOLM_OK) return false;
    cli_serve_connect(context, artifact_manifest_sha256(a), &served);
    artifact_close(a);
    bool fits = served.fd >= 0 && (!r->airgap || served.airgap) &&
                (r->backend == NULL || strcmp(r->backend, served.backend) == 0);
    if (fits) *out_status = ask_server(s, served.fd, out_exit, err);
    if (!fits && served.fd >= 0) close(served.fd);
    return fits;
}

static kit_status run_model(cli_context *context, const run_request *r, stream *s, int *out_exit, kolm_error_t *err) {
    cli_model model;
    cli_answering answering = {.job = {.lock_fd = -1}};
    kit_status status = KOLM_OK;
    if (ask_warm(context, r, s, &status, out_exit, err)) return status;
    status = cli_model_open(context, r->words[0], CLI_TRUST_CONTENT, &model, out_exit, err);
    if (status == KOLM_OK) {
        *out_exit = CLI_EXIT_VERIFY;
        status = cli_model_may_run(context, &model, err);
    }
    if (status == KOLM_OK)
        status = cli_answering_begin(context, &model, r->backend, r->base, r->airgap, &answering, out_exit, err);
    if (status == KOLM_OK && r->serve)
        status = cli_serve(context, &model, &answering, r->airgap, r->idle.value, say_ready, out_exit, err);
    else if (status == KOLM_OK)
        status = ask(s, &answering, r->airgap, out_exit, err);
    cli_answering_end(&answering);
    cli_model_close(&model);
    return status;
}

int cli_cmd_run(cli_context *context, int argc, char **argv) {
    run_request r = {.words = argv};
    const cli_option options[] = {
        {"jsonl", 0, CLI_FLAG, &r.jsonl, NULL, "questions are JSON lines {\"id\", \"input\"}, answers too"},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "use this backend or none"},
        {"serve", 0, CLI_FLAG, &r.serve, NULL,
         "keep the model loaded and answer other `kolm run`s of it, until Ctrl-C"},
        {"idle", 0, CLI_U64, &r.idle, "SECONDS", "with --serve: end when nobody asked for so long"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"airgap", 0, CLI_FLAG, &r.airgap, NULL, "no network for the backend, enforced by the kernel"},
    };
    const cli_syntax syntax = {
        .command = "kolm run",
        .words = "FILE.kolm [TEXT...]",
        .summary = "Answers each TEXT with a compiled model; without one, each line of standard input.",
        .notes =
            "An answer is a label and a calibrated confidence: of those given with 0.8, about eight in ten are right.\n"
            "With --json or --jsonl each answer is one JSON line {\"id\", \"output\", \"confidence\"}; a withheld one "
            "has \"best\" instead of \"output\".",
        .options = options,
        .option_count = sizeof options / sizeof *options,
        .min_words = 1,
        .max_words = SIZE_MAX,
        .words_out = argv,
        .word_count_out = &r.word_count,
    };
    context->json_lines = true; /* an error too, since answers may stand before it */
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    if (r.serve && r.word_count > 1)
        return cli_usage_error(context, syntax.command, "--serve takes no TEXT: ask with another `kolm run`");
    if (r.idle.set && !r.serve) return cli_usage_error(context, syntax.command, "--idle needs --serve");
    /* The feeder may outlive this function when it waits for a terminal: what it uses must too. */
    stream *s = calloc(1, sizeof *s);
    kolm_error_t err = KIT_ERROR_INIT;
    if (s == NULL) {
        kit_status status =
            kit_fail(&err, KOLM_E_RESOURCE_EXHAUSTED, "close other programs or raise the limit", "out of memory");
        return status == KOLM_OK ? CLI_EXIT_OK : cli_error(context, CLI_EXIT_INTERNAL, &err);
    }
    *s = (stream){.context = context,
                  .texts = r.words + 1,
                  .text_count = r.word_count - 1,
                  .jsonl = r.jsonl,
                  .json = r.jsonl || context->json,
                  .to_backend = -1,
                  .from_backend = -1,
                  .feed_error = KIT_ERROR_INIT,
                  .print_error = KIT_ERROR_INIT};
    kit_status status = run_model(context, &r, s, &exit_code, &err);
    if (!s->feeder_left) free(s);
    if (status == KOLM_OK) return CLI_EXIT_OK;
    return cli_error(context, status == KOLM_E_CANCELLED || cli_interrupted() ? CLI_EXIT_INTERRUPTED : exit_code, &err);
}
