/* SPDX-License-Identifier: Apache-2.0 */
/* A job that is prepared from generated rows, and the side of the split on which each row is. */
#ifndef KOLM_TESTS_GROUPS_FIXTURE_H
#define KOLM_TESTS_GROUPS_FIXTURE_H

#include "../suite.h"
#include "fixture.h"

#include "kolm/kit/text.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))

static kolm_error_t err;
static job_test_place place;
static job_summary summary;

static inline void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    job_test_open(&place);
}

static inline void teardown(void) {
    job_common_free(&summary.common);
    job_test_forget_held(&summary);
    summary = (job_summary){0};
    job_test_close(&place);
}

static inline void start_again(void) {
    teardown();
    setup();
}

typedef struct wish {
    job_contradictions contradictions;
    uint64_t seed;
} wish;

static inline kit_status prepare(const char *data, const char *eval, wish w) {
    job_source data_source = {.fd = job_test_fd(data, strlen(data)), .path = "data"};
    job_source eval_source = {.fd = eval != NULL ? job_test_fd(eval, strlen(eval)) : -1, .path = "evaluation"};
    const job_prepare_options options = {
        .data = &data_source,
        .data_count = 1,
        .eval = &eval_source,
        .eval_count = eval != NULL,
        .contradictions = w.contradictions,
        .seed = w.seed,
        .job_dir = place.job,
        .private_dir = place.private_dir,
    };
    kit_status status = job_prepare(&options, &summary, &err);
    close(data_source.fd);
    if (eval != NULL) close(eval_source.fd);
    return status;
}

static inline void assert_prepared(const char *data, const char *eval, wish w) {
    ck_assert_msg(prepare(data, eval, w) == KOLM_OK, "%s", err.text);
}

/* ---- Generated rows, and the side on which each is */

#define ROWS_MAX 2048

typedef struct made {
    char input[400], output[40];
    bool held, seen;
} made;

static made rows[ROWS_MAX];
static size_t row_count;

static uint64_t state;

static inline uint64_t draw(uint64_t below) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 33) % below;
}

static inline made *add(const char *input, const char *output) {
    ck_assert_uint_lt(row_count, ROWS_MAX);
    made *row = &rows[row_count++];
    *row = (made){0};
    kit_copy(row->input, sizeof row->input, input);
    kit_copy(row->output, sizeof row->output, output);
    return row;
}

/* Random words of five letters: two such texts have nothing in common. */
static inline void words(char *out, size_t capacity, size_t count) {
    kit_buf text = {0};
    for (size_t i = 0; i < count; i++) {
        if (i > 0) kit_buf_char(&text, ' ');
        for (int c = 0; c < 5; c++)
            kit_buf_char(&text, (char)('a' + draw(26)));
    }
    ck_assert(kit_copy(out, capacity, kit_buf_text(&text)));
    kit_buf_free(&text);
}

static inline char *as_text(void) {
    kit_buf text = {0};
    for (size_t i = 0; i < row_count; i++) {
        kit_buf_str(&text, "{\"input\":");
        kit_json_string(&text, rows[i].input, strlen(rows[i].input));
        kit_buf_str(&text, ",\"output\":");
        kit_json_string(&text, rows[i].output, strlen(rows[i].output));
        kit_buf_str(&text, "}\n");
    }
    ck_assert_int_eq(kit_buf_ok(&text, &err), KOLM_OK);
    return kit_buf_take(&text);
}

static inline void read_side(bool held) {
    job_test_rows found;
    if (held)
        job_test_read_held(&summary, &found);
    else
        job_test_read(place.job, "train.jsonl", &found);
    size_t at = 0;
    for (size_t i = 0; i < found.count; i++) {
        const char *input = job_test_text(found.items[i], "input");
        uint64_t line = 0;
        if (held) {
            ck_assert(kit_parse_u64(job_test_text(found.items[i], "row"), &line));
        } else { /* trained rows are in the order of the data */
            while (at < row_count && strcmp(rows[at].input, input) != 0)
                at++;
            line = ++at;
        }
        ck_assert(line >= 1 && line <= row_count && !rows[line - 1].seen);
        ck_assert_str_eq(rows[line - 1].input, input);
        rows[line - 1].seen = true;
        rows[line - 1].held = held;
    }
    job_test_rows_free(&found);
}

static inline void split(uint64_t seed) {
    start_again();
    char *text = as_text();
    assert_prepared(text, NULL, (wish){.seed = seed});
    free(text);
    for (size_t i = 0; i < row_count; i++)
        rows[i].seen = rows[i].held = false;
    read_side(false);
    read_side(true);
}

static inline void begin(uint64_t seed) {
    state = seed + 1;
    row_count = 0;
}

#endif
