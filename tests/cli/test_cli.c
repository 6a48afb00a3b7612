/* SPDX-License-Identifier: Apache-2.0 */
/* The small parts that all verbs use: options, nearest names, progress. */
#include "cli/options.h"

#include "../suite.h"
#include "cli/output.h"
#include "kolm/kit/text.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* The documented codes (docs/rooms/cli.md), independent of the numbers of the reasons. */
START_TEST(each_reason_has_its_exit_code) {
    static const struct {
        session_reason reason;
        int code;
    } cases[] = {{SESSION_REASON_NONE, 0},         {SESSION_REASON_INTERNAL, 1}, {SESSION_REASON_USAGE, 2},
                 {SESSION_REASON_NOTHING, 3},      {SESSION_REASON_GATE, 4},     {SESSION_REASON_BACKEND, 5},
                 {SESSION_REASON_DATA, 6},         {SESSION_REASON_VERIFY, 7},   {SESSION_REASON_UNJUDGED, 8},
                 {SESSION_REASON_INTERRUPTED, 130}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ck_assert_int_eq(cli_exit_of(cases[i].reason), cases[i].code);
    ck_assert_int_eq(cli_exit_of(session_reason_of(KOLM_E_CANCELLED)), 130);
    ck_assert_int_eq(cli_exit_of(session_reason_of(KOLM_E_RESOURCE_EXHAUSTED)), 1);
    ck_assert_int_eq(cli_exit_of(session_reason_of(KOLM_E_FAILED_PRECONDITION)), 2);
    ck_assert_int_eq(cli_exit_of(session_reason_of(KOLM_E_UNIMPLEMENTED)), 5);
    ck_assert_int_eq(cli_exit_of(session_reason_of(KOLM_E_NOT_FOUND)), 6);
}
END_TEST

START_TEST(nearest_names) {
    static const char *const names[] = {"local-cpu", "local-cuda", "modal", NULL, "vast"};
    static const struct {
        const char *word, *near;
    } cases[] = {
        {"local-cup", "local-cpu"},
        {"lcoal-cpu", "local-cpu"},
        {"modl", "modal"},
        {"MODAL", "modal"},
        {"cuda", "local-cuda"},
        {"vsat", "vast"},
        {"zebra", NULL},
        {"", NULL},
        {"x", NULL},
        {"local-cud", "local-cuda"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *near = kit_nearest(cases[i].word, names, 5);
        if (!cases[i].near)
            ck_assert_msg(!near, "%s gave %s", cases[i].word, near ? near : "");
        else
            ck_assert_msg(near && strcmp(near, cases[i].near) == 0, "%s gave %s", cases[i].word,
                          near ? near : "nothing");
    }
    char long_word[400];
    memset(long_word, 'a', sizeof long_word - 1);
    long_word[sizeof long_word - 1] = '\0';
    ck_assert_ptr_null(kit_nearest(long_word, names, 5));
}
END_TEST

/* Writes what fn prints to a file, and counts its lines; the last one is copied to out. */
static size_t lines_of(void (*fn)(cli_context *, cli_progress *), cli_context *context, char *out, size_t capacity) {
    FILE *file = tmpfile();
    char line[300];
    size_t count = 0;
    ck_assert_ptr_nonnull(file);
    fflush(stderr);
    int before = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(fileno(file), STDERR_FILENO), 0);
    cli_progress progress = {.label = "[trainer]"};
    fn(context, &progress);
    cli_progress_end(context, &progress);
    fflush(stderr);
    ck_assert_int_ge(dup2(before, STDERR_FILENO), 0);
    close(before);
    rewind(file);
    out[0] = '\0';
    while (fgets(line, sizeof line, file)) {
        kit_copy(out, capacity, line);
        count += strchr(line, '\n') != NULL;
    }
    fclose(file);
    return count;
}

static kolm_progress_t step_of(const char *phase, uint64_t step, uint64_t total) {
    return (kolm_progress_t){.struct_size = (uint32_t)sizeof(kolm_progress_t),
                             .step = step,
                             .total = total,
                             .loss = NAN,
                             .tokens_per_second = NAN,
                             .phase = phase};
}

/* Fifteen steps a second for a minute; the phase changes all the time, and most steps are the last of their phase. */
static void many_steps(cli_context *context, cli_progress *progress) {
    static const char *const phases[] = {"training", "checking", "saving"};
    for (uint64_t i = 0; i < 900; i++) {
        kolm_progress_t report = step_of(phases[i % 3], i % 2 ? i + 1 : 899, 900);
        if (i % 5 == 0) report.total = report.step;
        if (i % 7 == 0) report.total = KOLM_UNKNOWN_COUNT;
        cli_progress_at(context, progress, &report, 1000 + (int64_t)i * 1000 / 15);
    }
    kolm_progress_t last = step_of("training", 900, 900);
    cli_progress_at(context, progress, &last, 61001);
}

static void one_step(cli_context *context, cli_progress *progress) {
    kolm_progress_t report = step_of("answering", 1, 1);
    cli_progress_at(context, progress, &report, 1);
}

static void step_of_no_phase(cli_context *context, cli_progress *progress) {
    kolm_progress_t report = step_of("", 3, 10);
    cli_progress_at(context, progress, &report, 1);
}

static void step_of_no_phase_and_total(cli_context *context, cli_progress *progress) {
    kolm_progress_t report = step_of("", 3, KOLM_UNKNOWN_COUNT);
    cli_progress_at(context, progress, &report, 1);
}

static void three_calls(cli_context *context, cli_progress *progress) {
    for (int64_t call = 0; call < 3; call++) {
        many_steps(context, progress);
        cli_progress_end(context, progress);
    }
}

START_TEST(progress_on_a_pipe_is_a_line_now_and_then) {
    cli_context context = {0};
    char last[300];
    /* at 0, 5, ..., 60 seconds; the last was printed at that time */
    ck_assert_uint_eq(lines_of(many_steps, &context, last, sizeof last), 13);
    ck_assert_str_eq(last, "[trainer]     training 900/900 (100%)\n");
    ck_assert_uint_eq(lines_of(one_step, &context, last, sizeof last), 1);
    ck_assert_str_eq(last, "[trainer]     answering 1/1 (100%)\n");
    ck_assert_uint_eq(lines_of(step_of_no_phase, &context, last, sizeof last), 1);
    ck_assert_str_eq(last, "[trainer]     3/10 (30%)\n");
    ck_assert_uint_eq(lines_of(step_of_no_phase_and_total, &context, last, sizeof last), 1);
    ck_assert_str_eq(last, "[trainer]     3\n");
    ck_assert_uint_le(lines_of(three_calls, &context, last, sizeof last), 3 * 14);
    context.json = true;
    ck_assert_uint_eq(lines_of(many_steps, &context, last, sizeof last), 0);
}
END_TEST

START_TEST(progress_on_a_terminal_is_one_line) {
    cli_context context = {.err_tty = true};
    char last[300];
    ck_assert_uint_eq(lines_of(many_steps, &context, last, sizeof last), 1);
    ck_assert(!context.progress_open);
}
END_TEST

typedef struct parsed {
    bool flag;
    const char *text;
    session_number usd, gb, count, fraction;
    session_words names;
    cli_mode mode;
    size_t words;
} parsed;

static int parse(parsed *p, int argc, char **argv) {
    cli_context context;
    cli_context_init(&context, "kolm");
    const cli_option options[] = {
        {"flag", 'f', CLI_FLAG, &p->flag, NULL, "a flag"}, {"text", 't', CLI_STRING, &p->text, "TEXT", "a text"},
        {"usd", 0, CLI_USD, &p->usd, "USD", "dollars"},    {"gb", 0, CLI_GB, &p->gb, "GB", "gigabytes"},
        {"count", 0, CLI_U64, &p->count, "N", "a count"},  {"fraction", 0, CLI_FRACTION, &p->fraction, "P", "0 to 1"},
        {"name", 0, CLI_LIST, &p->names, "NAME", "names"}, {"mode", 0, CLI_MODE, &p->mode, "on|advisory", "a mode"},
    };
    const cli_syntax syntax = {.command = "kolm x",
                               .words = "[WORD...]",
                               .summary = "X.",
                               .options = options,
                               .option_count = 8,
                               .max_words = 3,
                               .words_out = argv,
                               .word_count_out = &p->words};
    int result = cli_options_parse(&context, &syntax, argc, argv);
    cli_context_free(&context);
    return result;
}

#define PARSE(p, ...)                                                                                                  \
    char *words_[] = {(char[]){"x"}, __VA_ARGS__, NULL};                                                               \
    int result = parse(p, (int)(sizeof words_ / sizeof *words_) - 1, words_)
#define W(text) ((char[]){text})

START_TEST(options_of_every_kind) {
    parsed p = {0};
    PARSE(&p, W("-f"), W("--text=a b"), W("one"), W("--usd"), W("2.50"), W("--gb=80"), W("--count"), W("7"),
          W("--fraction"), W("0.85"), W("--name"), W("a,b"), W("--name=c"), W("--mode"), W("two"), W("--"),
          W("--flag"));
    ck_assert_int_eq(result, -1);
    ck_assert(p.flag);
    ck_assert_str_eq(p.text, "a b");
    ck_assert_uint_eq(p.usd.value, 2500000);
    ck_assert_uint_eq(p.gb.value * 1000, 80000000000ull);
    ck_assert_uint_eq(p.count.value, 7);
    ck_assert_uint_eq(p.fraction.value, 850000);
    ck_assert_uint_eq(p.names.count, 3);
    ck_assert_str_eq(p.names.items[1], "b");
    ck_assert(p.mode.set && !p.mode.word);
    ck_assert_uint_eq(p.words, 3);
    ck_assert_str_eq(words_[0], "one");
    ck_assert_str_eq(words_[2], "--flag");
    cli_list_free(&p.names);
}
END_TEST

START_TEST(a_mode_with_a_word) {
    parsed p = {0};
    PARSE(&p, W("--mode=advisory"), W("-"));
    ck_assert_int_eq(result, -1);
    ck_assert_str_eq(p.mode.word, "advisory");
    ck_assert_str_eq(words_[0], "-");
}
END_TEST

START_TEST(bad_options_are_usage_errors) {
    static const char *const bad[][2] = {
        {"--mode=maybe", NULL}, {"--flag=1", NULL},     {"--text", NULL},
        {"--text", "--flag"},   {"--text", "-f"},       {"--text=", NULL},
        {"--usd", "-1"},        {"--usd", "1e3"},       {"--usd", "1.1234567"},
        {"--usd", "0x10"},      {"--usd", " 1"},        {"--usd", "1 "},
        {"--usd", "+1"},        {"--usd", "inf"},       {"--gb", "99999999999999999999"},
        {"--count", "1.5"},     {"--fraction", "1.01"}, {"--name", "a,,b"},
        {"--name", ",a"},       {"--nmae", "a"},        {"-q", NULL},
        {"-ff", NULL},          {"---", NULL},          {"--fla", NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        parsed p = {0};
        char first[64] = "", second[64] = "";
        snprintf(first, sizeof first, "%s", bad[i][0]);
        if (bad[i][1]) snprintf(second, sizeof second, "%s", bad[i][1]);
        char name[] = "x";
        char *argv[] = {name, first, bad[i][1] ? second : NULL, NULL};
        ck_assert_msg(parse(&p, bad[i][1] ? 3 : 2, argv) == 2, "%s %s was taken", bad[i][0], second);
        cli_list_free(&p.names);
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("cli");
    TCase *tests = tcase_create("cli");
    tcase_add_test(tests, each_reason_has_its_exit_code);
    tcase_add_test(tests, nearest_names);
    tcase_add_test(tests, progress_on_a_pipe_is_a_line_now_and_then);
    tcase_add_test(tests, progress_on_a_terminal_is_one_line);
    tcase_add_test(tests, options_of_every_kind);
    tcase_add_test(tests, a_mode_with_a_word);
    tcase_add_test(tests, bad_options_are_usage_errors);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
