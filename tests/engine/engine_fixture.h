/* SPDX-License-Identifier: Apache-2.0 */
/* Generated rows, trainings on them, and how good a model is. */
#ifndef KOLM_TESTS_ENGINE_FIXTURE_H
#define KOLM_TESTS_ENGINE_FIXTURE_H

#include "../suite.h"
#include "infer.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/process.h"
#include "made_data.h"
#include "train.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char base[64], rows_path[96], model_path[96], other_path[96];
static kolm_error_t err;
static kit_buf data;

static inline void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    kit_copy(base, sizeof base, "/tmp/kolm-engine-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(base));
    kit_format(rows_path, sizeof rows_path, "%s/train.jsonl", base);
    kit_format(model_path, sizeof model_path, "%s/one.bin", base);
    kit_format(other_path, sizeof other_path, "%s/two.bin", base);
    memset(&data, 0, sizeof data);
}

static inline void teardown(void) {
    kit_buf_free(&data);
    ck_assert_int_eq(kit_remove_tree(base, &err), KOLM_OK);
}

static inline void write_rows(void) {
    ck_assert_int_eq(kit_write_file(rows_path, 0600, kit_buf_text(&data), data.length, &err), KOLM_OK);
}

static inline train_request request_for(uint64_t count, uint32_t threads) {
    return (train_request){.rows_path = rows_path,
                           .model_path = model_path,
                           .scratch_dir = base,
                           .rows = count,
                           .effort = EFFORT_NORMAL,
                           .seed = 1,
                           .threads = threads};
}

static inline train_report must_train(const train_request *request) {
    train_report report;
    kit_status status = train_run(request, &report, &err);
    ck_assert_msg(status == KOLM_OK, "%s", err.text);
    return report;
}

static inline model *must_open(const char *path) {
    kit_buf bytes = {0};
    model *m = NULL;
    ck_assert_int_eq(kit_read_file(path, 1u << 28, &bytes, &err), KOLM_OK);
    kit_status status = model_open(path, 0, bytes.length, &m, &err);
    ck_assert_msg(status == KOLM_OK, "%s", err.text);
    kit_buf_free(&bytes);
    return m;
}

typedef struct outcome {
    uint32_t rows, answered, right;
    uint64_t gap_micro; /* calibration error */
} outcome;

static inline outcome evaluate(model *m, uint64_t seed, uint32_t count, uint32_t labels, uint32_t noise) {
    outcome o = {.rows = count};
    int64_t bin[15] = {0};
    kit_buf text = {0};
    char name[32];
    for (uint32_t i = 0; i < count; i++) {
        kit_buf_clear(&text);
        kit_format(name, sizeof name, "queue %u", (unsigned)made_row(&text, &seed, labels, noise));
        model_answer a;
        uint32_t length;
        ck_assert_int_eq(model_answer_text(m, kit_buf_text(&text), text.length, &a, &err), KOLM_OK);
        const char *label = model_label(m, a.label, &length);
        bool right = length == strlen(name) && memcmp(label, name, length) == 0;
        bin[(uint64_t)a.confidence_micro * 15 / (MODEL_MICRO + 1)] +=
            (int64_t)a.confidence_micro - (right ? (int64_t)MODEL_MICRO : 0);
        if (a.abstains) continue;
        o.answered++;
        o.right += right;
    }
    for (int b = 0; b < 15; b++)
        o.gap_micro += (uint64_t)(bin[b] < 0 ? -bin[b] : bin[b]);
    o.gap_micro /= count;
    kit_buf_free(&text);
    return o;
}

#endif
