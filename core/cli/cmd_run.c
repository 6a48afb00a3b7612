/* SPDX-License-Identifier: Apache-2.0 */
/* kolm run: its options, and the answers as they arrive. */
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/output.h"
#include "fleet/reap.h"
#include "kolm/kit/text.h"
#include "model/path.h"
#include "model/run.h"

#include <string.h>

#define ANSWER_SECONDS_MAX 604800
#define ANSWER_SECONDS 600 /* long enough to load a big model, but ends a hanging one */

/* ---- Printing */

typedef struct printing {
    cli_context *context;
    bool json;      /* JSON lines */
    bool with_gaps; /* the text form has no ids, so a row that was left out still prints a line */
    uint64_t place; /* number of the line to be answered next */
    kit_buf shown;  /* not cli_safe: its buffers belong to the main thread, which may print a warning at the same
                       time */
} printing;

/* Up to the line before `next`. */
static void fill_places(printing *p, uint64_t next) {
    for (; p->with_gaps && p->place < next; p->place++)
        cli_print(p->context, "(left out)\n");
}

static kit_status print_answer(void *user, const run_answer *answer, kolm_error_t *err) {
    printing *p = user;
    kit_buf *shown = &p->shown;
    uint64_t number = 0;
    if (kit_parse_u64(answer->id, &number)) fill_places(p, number);
    p->place++;
    kit_buf_clear(shown);
    if (p->json) {
        cli_add_json(shown, answer->line);
    } else if (answer->output != NULL) {
        kit_buf_escaped(shown, answer->output, strlen(answer->output));
        kit_buf_fmt(shown, "  %.3f", answer->confidence);
    } else {
        const char *best = answer->best != NULL ? answer->best : "none";
        kit_buf_fmt(shown, "(withheld)  %.3f  best: ", answer->confidence);
        kit_buf_escaped(shown, best, strlen(best));
    }
    KIT_TRY(kit_buf_ok(shown, err));
    cli_print(p->context, "%s\n", kit_buf_text(shown));
    return KOLM_OK;
}

static void show(void *user) {
    cli_flush(((printing *)user)->context);
}

static bool nobody_reads(void *user) { /* cli_output_finish reports it if it is a failure */
    return ((printing *)user)->context->out_errno != 0;
}

/* Reports what was left out, after the answers. */
static void print_left_out(printing *p, const run_request *r, const run_tally *tally) {
    if (nobody_reads(p)) return;
    fill_places(p, tally->lines + 1);
    for (uint64_t i = 0; i < tally->bad && i < RUN_BAD_EXAMPLES; i++)
        cli_warn(p->context, "left out: %s", cli_safe(tally->bad_examples[i]));
    if (tally->bad > 0)
        cli_warn(p->context, "%llu of %llu %s left out, %llu answered", (unsigned long long)tally->bad,
                 (unsigned long long)tally->lines, r->text_count > 0 ? "texts" : "lines",
                 (unsigned long long)tally->answers);
}

static int answer(cli_context *context, const run_request *r) {
    const bool json = r->jsonl || context->json;
    printing p = {.context = context, .json = json, .with_gaps = r->skip_bad && !json, .place = 1};
    const run_receiver receiver = {.answer = print_answer, .pause = show, .gone = nobody_reads, .user = &p};
    run_tally tally;
    session_reason reason = SESSION_REASON_NONE;
    kolm_error_t err = KIT_ERROR_INIT;
    kit_status status = run_model(&context->session, r, &receiver, &tally, &reason, &err);
    if (status == KOLM_OK && !r->serve) print_left_out(&p, r, &tally);
    kit_buf_free(&p.shown);
    return status == KOLM_OK ? CLI_EXIT_OK : cli_fail(context, reason, &err);
}

/* ---- Arguments */

typedef struct given {
    session_number idle, answer_timeout;
    char **words;
    size_t word_count, plain_words; /* plain_words: those before "--" */
} given;

/* Rejects a TEXT that names a file or directory. Returns -1 if all are texts. */
static int check_texts(cli_context *context, const cli_syntax *syntax, const given *g) {
    for (size_t i = 1; i < g->word_count && i < g->plain_words; i++) {
        const char *text = g->words[i], *shown = cli_safe(text);
        kolm_error_t err = KIT_ERROR_INIT;
        if (*text == '\0')
            return cli_usage_error(context, syntax->command,
                                   "a TEXT is empty: is a shell variable not set? (after -- it is answered)");
        bool there = model_is_there(text);
        if (!there && !model_named_like_rows(text)) continue;
        if (model_looks_like_model(text) && !model_looks_like_model(g->words[0]))
            return cli_usage_error(context, syntax->command, "the model comes first: kolm run %s %s", shown,
                                   cli_safe(g->words[0]));
        if (model_looks_like_model(text))
            return cli_usage_error(context, syntax->command,
                                   "'%s' is a second compiled model, but only one can answer; run each separately",
                                   shown);
        err.code = kit_fail(&err, KOLM_E_INVALID_ARGUMENT,
                            "for the lines of the file: --input FILE; for the words themselves: put -- before them",
                            "'%s' %s: should its contents be answered, or this text?", shown,
                            there ? "is the name of a file or directory"
                                  : "looks like the name of a file that does not exist");
        return cli_error(context, CLI_EXIT_USAGE, &err);
    }
    return -1;
}

/* A line of a table or of a compressed file is not a question. */
static int check_input(cli_context *context, const cli_syntax *syntax, given *g, run_request *r) {
    static const char *const no_lines[] = {".csv", ".tsv", ".gz", ".zst", ".bz2", ".xz"};
    size_t length = strlen(r->input);
    if (g->word_count > 1) return cli_usage_error(context, syntax->command, "--input replaces TEXT: use one of them");
    for (size_t i = 0; i < sizeof no_lines / sizeof *no_lines; i++) {
        size_t more = strlen(no_lines[i]);
        if (length > more && strcmp(r->input + length - more, no_lines[i]) == 0)
            return cli_usage_error(context, syntax->command,
                                   "--input %s: a %s file is not one question a line; use lines of text or JSON lines, "
                                   "or send its lines to standard input as they are",
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

static int check_request(cli_context *context, const cli_syntax *syntax, given *g, run_request *r) {
    if (r->serve && (g->word_count > 1 || r->input != NULL))
        return cli_usage_error(context, syntax->command, "--serve takes no TEXT: ask with another `kolm run`");
    if (r->serve && r->skip_bad)
        return cli_usage_error(context, syntax->command,
                               "--skip-bad belongs to the `kolm run` that asks, not to --serve");
    if (g->answer_timeout.value > ANSWER_SECONDS_MAX)
        return cli_usage_error(context, syntax->command, "--answer-timeout: use 0 to %d seconds", ANSWER_SECONDS_MAX);
    if (g->idle.set && !r->serve) return cli_usage_error(context, syntax->command, "--idle needs --serve");
    /* A lone "-" is standard input, as everywhere. */
    if (r->input == NULL && g->word_count == 2 && g->plain_words == 2 && strcmp(g->words[1], "-") == 0)
        g->word_count = 1;
    if (r->input != NULL) return check_input(context, syntax, g, r);
    return check_texts(context, syntax, g);
}

int cli_cmd_run(cli_context *context, int argc, char **argv) {
    given g = {.words = argv};
    run_request r = {0};
    const cli_option options[] = {
        {"input", 'i', CLI_STRING, &r.input, "FILE", "answer the lines of FILE; JSON lines if its name ends in .jsonl"},
        {"jsonl", 0, CLI_FLAG, &r.jsonl, NULL, "questions are JSON lines {\"id\", \"input\"}, answers too"},
        {"backend", 0, CLI_STRING, &r.backend, "NAME", "use this backend or fail"},
        {"skip-bad", 0, CLI_FLAG, &r.skip_bad, NULL,
         "skip bad lines, and report them, instead of stopping at the first"},
        {"serve", 0, CLI_FLAG, &r.serve, NULL,
         "keep the model loaded and answer other `kolm run`s of it, until Ctrl-C"},
        {"idle", 0, CLI_U64, &g.idle, "SECONDS", "with --serve: exit after being idle for this long"},
        {"answer-timeout", 0, CLI_U64, &g.answer_timeout, "SECONDS",
         "fail if the next answer takes longer; default 600; 0: never"},
        {"base", 0, CLI_STRING, &r.base, "DIR", "where the base model is; found by its digest otherwise"},
        {"allow-pickle", 0, CLI_FLAG, &r.allow_pickle, NULL,
         "load a base whose weights are pickles, which can run any program: only for files that you made"},
        {"airgap", 0, CLI_AIRGAP, &r.airgap, NULL, "no network for the backend, enforced (strict) or only requested"},
    };
    const cli_syntax syntax = {
        .command = "kolm run",
        .words = "FILE.kolm [TEXT...]",
        .summary = "Answers each TEXT with a compiled model; without one, each line of standard input.",
        .notes = "An answer is a label and a calibrated confidence: of those given with 0.8, about eight in ten are "
                 "right.\nWith --json or --jsonl each answer is one JSON line {\"id\", \"output\", \"confidence\"}; of "
                 "a withheld one \"output\" is null and \"best\" is what it would have been.\nA TEXT that is the name "
                 "of a file is refused, to avoid answering the name: --input reads the file. After --\nevery word is a "
                 "TEXT, also one that begins with '-' or is such a name.",
        CLI_ROWS(options),
        .min_words = 1,
        .max_words = SIZE_MAX,
        .word_count_out = &g.word_count,
        .plain_words_out = &g.plain_words,
    };
    context->json_lines = true; /* also on an error, because answers may precede it */
    int exit_code = cli_options_parse(context, &syntax, argc, argv);
    if (exit_code >= 0) return exit_code;
    exit_code = check_request(context, &syntax, &g, &r);
    if (exit_code >= 0) return exit_code;
    r.model = g.words[0];
    r.texts = g.words + 1;
    r.text_count = g.word_count - 1;
    r.idle_seconds = g.idle.value;
    r.answer_seconds = g.answer_timeout.set ? g.answer_timeout.value : ANSWER_SECONDS;
    fleet_reap_start(&context->session, r.airgap);
    return answer(context, &r);
}
