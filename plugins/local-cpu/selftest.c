/* SPDX-License-Identifier: Apache-2.0 */
/* The test slot: proves arithmetic, training and answering on this machine in well under a second. */
#include "backend.h"
#include "infer.h"
#include "kolm/kit/file.h"
#include "kolm/kit/process.h"
#include "numeric.h"
#include "train.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STEPS 4u
/* If the trainer has a runtime, its own steps follow. */
#define TRAINER_STEPS 4u
/* Bits of num_exp(1), num_log(10) and two lanes of num_exp4, from the reference build. */
#define SELFTEST_EXP 0x4005BF0A8B14576Aull
#define SELFTEST_LOG 0x40026BB1BBB55515ull
#define SELFTEST_EXP4_0 0x3EBC5AB2u
#define SELFTEST_EXP4_3 0x4DE75844u

typedef struct bench {
    const kolm_host_v1_t *host;
    uint32_t threads;
    char *rows, *model, *again, *input, *output;
} bench;

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* Small and unambiguous: a few phrases with three labels, with a number to distinguish rows. */
static void put_rows(kit_buf *out) {
    static const char *const phrase[3][4] = {
        {"the invoice is wrong", "charged twice this month", "please refund the payment", "update the credit card"},
        {"the app crashes on start", "error when saving a file", "the screen stays black", "login page does not load"},
        {"where is my parcel", "the package arrived broken", "change the delivery address", "courier did not come"},
    };
    static const char *const label[3] = {"billing", "technical", "shipping"};
    for (int i = 0; i < 72; i++)
        kit_buf_fmt(out, "{\"id\":\"%d\",\"input\":\"%s, case %d\",\"output\":\"%s\"}\n", i, phrase[i % 3][i / 3 % 4],
                    i, label[i % 3]);
}

/* The results that every machine must reproduce: the arithmetic behind identical bytes everywhere. */
static kit_status check_arithmetic(bench *b, kolm_error_t *err) {
    (void)b;
    union {
        double d;
        uint64_t u;
    } e = {.d = num_exp(1.0)}, l = {.d = num_log(10.0)};
    num_v4 four = num_exp4((num_v4){-1.0f, 0.0f, 1.0f, 20.0f});
    uint32_t bits[4];
    memcpy(bits, &four, sizeof bits);
    if (e.u != SELFTEST_EXP || l.u != SELFTEST_LOG || bits[0] != SELFTEST_EXP4_0 || bits[1] != 0x3F800000u ||
        bits[3] != SELFTEST_EXP4_3)
        return kit_fail(err, KOLM_E_INTERNAL,
                        "rebuild kolm with its own build files; they forbid fused and excess-precision arithmetic",
                        "this build's arithmetic differs from the reference, so its models would differ too");
    return KOLM_OK;
}

static kit_status check_auth(bench *b, kolm_error_t *err) {
    (void)b;
    (void)err;
    return KOLM_OK;
}

static kit_status train_once(const bench *b, const char *model_path, uint32_t threads, kolm_error_t *err) {
    train_report report = {0};
    const train_request request = {.rows_path = b->rows,
                                   .model_path = model_path,
                                   .scratch_dir = b->host->scratch_dir,
                                   .rows = 72,
                                   .effort = EFFORT_NORMAL,
                                   .seed = 1,
                                   .threads = threads};
    kit_status status = train_run(&request, &report, err);
    train_report_free(&report);
    return status;
}

static kit_status dry_run(bench *b, kolm_error_t *err) {
    kit_buf text = {0}, other = {0};
    put_rows(&text);
    kit_status status = kit_buf_ok(&text, err);
    if (status == KOLM_OK) status = kit_write_file(b->rows, 0600, text.data, text.length, err);
    if (status == KOLM_OK) status = train_once(b, b->model, 1, err);
    if (status == KOLM_OK) status = train_once(b, b->again, b->threads < 2 ? 2 : b->threads, err);
    kit_buf_clear(&text);
    if (status == KOLM_OK) status = kit_read_file(b->model, 1u << 26, &text, err);
    if (status == KOLM_OK) status = kit_read_file(b->again, 1u << 26, &other, err);
    if (status == KOLM_OK && (text.length != other.length || memcmp(text.data, other.data, text.length) != 0))
        status = kit_fail(err, KOLM_E_INTERNAL, "report this with the name of your processor and compiler",
                          "the same rows gave two different models");
    if (status == KOLM_OK) b->host->metric(b->host->user, "test.reproducible.linear", 1);
    kit_buf_free(&text);
    kit_buf_free(&other);
    return status;
}

static kit_status answer_round_trip(bench *b, kolm_error_t *err) {
    static const char question[] = "{\"id\":\"q1\",\"input\":\"please refund the payment of the invoice\"}\n";
    static const char wanted[] = "{\"id\":\"q1\",\"output\":\"billing\",";
    const infer_watch watch = {0};
    kit_buf text = {0};
    model *m = NULL;
    uint64_t answers = 0;
    int input = -1, output = -1;
    kit_status status = kit_read_file(b->model, 1u << 26, &text, err);
    if (status == KOLM_OK) status = model_open(b->model, 0, text.length, &m, err);
    if (status == KOLM_OK) status = kit_write_file(b->input, 0600, question, sizeof question - 1, err);
    if (status != KOLM_OK) goto out;
    input = open(b->input, O_RDONLY | O_CLOEXEC);
    output = open(b->output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if ((status = infer_run(m, input, output, &watch, &answers, err)) != KOLM_OK) goto out;
    kit_buf_clear(&text);
    if ((status = kit_read_file(b->output, 4096, &text, err)) != KOLM_OK) goto out;
    if (answers != 1 || strncmp(kit_buf_text(&text), wanted, sizeof wanted - 1) != 0)
        status = kit_fail(err, KOLM_E_INTERNAL, "report this", "the trained model did not give the expected answer");
out:
    if (input >= 0) close(input);
    if (output >= 0) close(output);
    model_close(m);
    kit_buf_free(&text);
    return status;
}

static kit_status open_bench(bench *b, const kolm_host_v1_t *host, uint32_t threads, kolm_error_t *err) {
    const char *dir = host->scratch_dir;
    b->host = host;
    b->threads = threads;
    KIT_TRY(kit_path_join(dir, "train.jsonl", &b->rows, err));
    KIT_TRY(kit_path_join(dir, "one.bin", &b->model, err));
    KIT_TRY(kit_path_join(dir, "two.bin", &b->again, err));
    KIT_TRY(kit_path_join(dir, "input.jsonl", &b->input, err));
    return kit_path_join(dir, "output.jsonl", &b->output, err);
}

int32_t local_cpu_test(const kolm_host_v1_t *host, const kolm_test_args_t *args, kolm_test_result_t *out,
                       kolm_error_t *err) {
    static const struct {
        const char *title, *note;
        kit_status (*run)(bench *b, kolm_error_t *err);
    } steps[STEPS] = {
        {"auth check", "none needed", check_auth},
        {"engine self check", "", check_arithmetic},
        {"trainer dry run (72 rows, twice)", "", dry_run},
        {"answer round-trip", "", answer_round_trip},
    };
    char runtime[KIT_TRAINER_RUNTIME], missing[KIT_TRAINER_MISSING], remedy[KIT_TRAINER_MISSING];
    bool trainer = kit_trainer_runtime(host, &local_cpu_trainer, runtime, missing, remedy);
    bench b = {0};
    kit_status status = open_bench(&b, host, args->threads, err);
    for (uint32_t i = 0; i < STEPS && status == KOLM_OK; i++) {
        uint64_t start = now_us();
        status = steps[i].run(&b, err);
        const kolm_test_step_t step = {.struct_size = (uint32_t)sizeof step,
                                       .outcome = status == KOLM_OK ? KOLM_STEP_OK : KOLM_STEP_FAILED,
                                       .number = i + 1,
                                       .total = STEPS + (trainer ? TRAINER_STEPS : 0),
                                       .duration_us = now_us() - start,
                                       .title = steps[i].title,
                                       .note = status == KOLM_OK || err == NULL ? steps[i].note : err->text};
        host->test_step(host->user, &step);
    }
    out->passed = status == KOLM_OK;
    (void)kit_copy(out->summary, sizeof out->summary,
                   status == KOLM_OK ? "local-cpu is ready for kolm compile" : "local-cpu failed its own test");
    char *const paths[] = {b.rows, b.model, b.again, b.input, b.output};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        free(paths[i]);
    if (status != KOLM_OK || !trainer) return status;
    kit_trainer after = local_cpu_trainer;
    after.steps_before = STEPS;
    return kit_trainer_test(host, &after, args, out, err);
}
