/* SPDX-License-Identifier: Apache-2.0 */
/* A driver for developers of the engine: trains and evaluates on JSON lines and prints accuracy, time and memory. */
#include "kolm/kit/buf.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/process.h"
#include "kolm/kit/text.h"
#include "train.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(const kolm_error_t *err) {
    fprintf(stderr, "kolm-linear-bench: %s\n%s\n", err->text, err->remedy);
    return 1;
}

static double peak_mib(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static int usage(void) {
    fprintf(
        stderr,
        "usage: kolm-linear-bench train ROWS.jsonl MODEL [quick|normal|high] [THREADS] [SEED] [ENCODER [plain|LANES]]\n"
        "       kolm-linear-bench eval ROWS.jsonl MODEL\n");
    return 2;
}

static uint64_t count_lines(const char *path) {
    uint64_t n = 0;
    FILE *f = fopen(path, "rb");
    for (int c; f != NULL && (c = getc(f)) != EOF;)
        n += c == '\n';
    if (f != NULL) fclose(f);
    return n;
}

/* With an encoder the other files are placed next to the model. */
static bool read_encoder(int argc, char **argv, const char *scratch, train_encoder *out) {
    static char model_dir[4096];
    uint64_t lanes = 0;
    const char *slash = strrchr(argv[3], '/');
    (void)kit_format(model_dir, sizeof model_dir, "%.*s", slash != NULL ? (int)(slash - argv[3]) : 1,
                     slash != NULL ? argv[3] : ".");
    *out = (train_encoder){
        .base = argv[7], .base_name = "", .engine = "", .model_dir = model_dir, .checkpoint_dir = scratch};
    if (argc < 9) return true;
    if (strcmp(argv[8], "plain") != 0 && !kit_parse_u64(argv[8], &lanes)) return false;
    out->kernels = lanes == 0 ? enc_kernels_plain() : enc_kernels_find((uint32_t)lanes);
    return out->kernels != NULL;
}

static int train_main(int argc, char **argv) {
    uint64_t threads = 2, seed = 1;
    train_encoder encoder;
    const char *effort = argc > 4 ? argv[4] : "normal";
    if ((argc > 5 && !kit_parse_u64(argv[5], &threads)) || (argc > 6 && !kit_parse_u64(argv[6], &seed))) return usage();
    char scratch[] = "/tmp/kolm-linear-XXXXXX";
    if (mkdtemp(scratch) == NULL) return 1;
    train_request request = {.rows_path = argv[2],
                             .model_path = argv[3],
                             .scratch_dir = scratch,
                             .rows = count_lines(argv[2]),
                             .seed = seed,
                             .threads = (uint32_t)threads,
                             .target_accuracy_micro = 0,
                             .effort = strcmp(effort, "quick") == 0  ? EFFORT_QUICK
                                       : strcmp(effort, "high") == 0 ? EFFORT_HIGH
                                                                     : EFFORT_NORMAL};
    train_report report;
    kolm_error_t err = KIT_ERROR_INIT;
    if (argc > 7 && !read_encoder(argc, argv, scratch, &encoder)) return usage();
    if (argc > 7) request.encoder = &encoder;
    int64_t start = kit_now_ms();
    kit_status status = train_run(&request, &report, &err);
    int64_t ms = kit_now_ms() - start;
    if (kit_remove_tree(scratch, NULL) != KOLM_OK) fprintf(stderr, "%s is left behind\n", scratch);
    if (status != KOLM_OK) return fail(&err);
    for (uint32_t i = 0; i < report.result.candidates; i++) {
        const choose_candidate *c = &report.result.candidate[i];
        printf("%c %-60s %.2f%% of %llu\n", i == report.result.chosen ? '*' : ' ', c->name,
               c->rows ? 100.0 * (double)c->correct / (double)c->rows : 0.0, (unsigned long long)c->rows);
    }
    for (uint32_t i = 0; i < report.head.candidates; i++) {
        const head_candidate *c = &report.head.candidate[i];
        printf("%c lambda %.3f cost %.1f: %.2f%%, behind %.2f +- %.2f\n", i == report.head.chosen ? '*' : ' ',
               (double)c->lambda, (double)c->cost, (double)c->merit / 1e4, (double)c->behind_micro / 1e4,
               (double)c->error_micro / 1e4);
    }
    struct stat info;
    printf("rows %llu, labels %u, temperature %.4f, out-of-fold ECE %.4f, %.2f s, peak %.1f MiB, model %.2f MB\n",
           (unsigned long long)report.rows, report.label_count,
           (double)report.result.calibration.temperature_micro / 1e6, (double)report.result.ece_micro / 1e6,
           (double)ms / 1e3, peak_mib(), stat(argv[3], &info) == 0 ? (double)info.st_size / 1e6 : 0.0);
    train_report_free(&report);
    return 0;
}

typedef struct tally {
    uint64_t rows, right, bin_rows[15], bin_right[15], bin_sure[15];
} tally;

static kit_status evaluate(model *m, kit_lines *lines, tally *t, kolm_error_t *err) {
    for (;;) {
        const char *line, *input, *output;
        size_t length;
        cJSON *row;
        model_answer answer;
        uint32_t label_length;
        KIT_TRY(kit_lines_next(lines, &line, &length, err));
        if (line == NULL) return KOLM_OK;
        KIT_TRY(kit_json_parse(line, length, &row, err));
        if (!kit_json_get_string(row, "input", &input) || !kit_json_get_string(row, "output", &output)) {
            cJSON_Delete(row);
            return kit_fail(err, KOLM_E_INVALID_ARGUMENT, "", "a row lacks input or output");
        }
        kit_status status = model_answer_text(m, input, strlen(input), &answer, err);
        if (status == KOLM_OK) {
            const char *label = model_label(m, answer.label, &label_length);
            bool right = strlen(output) == label_length && memcmp(label, output, label_length) == 0;
            uint32_t bin = (uint32_t)((uint64_t)answer.confidence_micro * 15 / 1000001);
            t->rows++;
            t->right += right;
            t->bin_rows[bin]++;
            t->bin_right[bin] += right;
            t->bin_sure[bin] += answer.confidence_micro;
        }
        cJSON_Delete(row);
        KIT_TRY(status);
    }
}

static int eval_main(char **argv) {
    kolm_error_t err = KIT_ERROR_INIT;
    struct stat info;
    model *m = NULL;
    kit_lines *lines = NULL;
    tally t = {0};
    int64_t start = kit_now_ms();
    if (stat(argv[3], &info) != 0) return usage();
    kit_status status = model_open(argv[3], 0, (uint64_t)info.st_size, &m, &err);
    int fd = open(argv[2], O_RDONLY);
    if (status == KOLM_OK) status = kit_lines_open(fd, 1u << 28, &lines, &err);
    if (status == KOLM_OK) status = evaluate(m, lines, &t, &err);
    if (status != KOLM_OK) return fail(&err);
    double ece = 0, ms = (double)(kit_now_ms() - start);
    for (int b = 0; b < 15; b++) {
        double gap = (double)t.bin_sure[b] / 1e6 - (double)t.bin_right[b];
        ece += (gap < 0 ? -gap : gap) / (double)t.rows;
    }
    printf("rows %llu, accuracy %.2f%%, ECE %.4f, %.1f us a row, peak %.1f MiB\n", (unsigned long long)t.rows,
           100.0 * (double)t.right / (double)t.rows, ece, ms * 1e3 / (double)t.rows, peak_mib());
    kit_lines_close(lines);
    model_close(m);
    close(fd);
    return 0;
}

int main(int argc, char **argv) {
    if (argc >= 4 && strcmp(argv[1], "train") == 0) return train_main(argc, argv);
    if (argc == 4 && strcmp(argv[1], "eval") == 0) return eval_main(argv);
    return usage();
}
