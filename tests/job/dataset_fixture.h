/* SPDX-License-Identifier: Apache-2.0 */
/* Generated data, and the job that is prepared from them. */
#ifndef KOLM_TESTS_DATASET_FIXTURE_H
#define KOLM_TESTS_DATASET_FIXTURE_H

#include "../suite.h"
#include "fixture.h"

#include "job/heldout.h"
#include "kolm/kit/digest.h"
#include "kolm/kit/text.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
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
    job_test_forget_held(&summary);
    job_test_close(&place);
}

static inline void start_again(void) {
    teardown();
    setup();
}

/* ---- Generated data */

typedef struct made_row {
    char input[48], output[32];
} made_row;

typedef struct made_data {
    made_row *rows;
    size_t count;
} made_data;

static inline void add_row(made_data *data, const char *input, const char *output) {
    if ((data->count & (data->count + 1)) == 0 || data->rows == NULL) {
        data->rows = realloc(data->rows, (data->count + 1) * 2 * sizeof *data->rows);
        ck_assert_ptr_nonnull(data->rows);
    }
    made_row *row = &data->rows[data->count++];
    kit_copy(row->input, sizeof row->input, input);
    kit_copy(row->output, sizeof row->output, output);
}

/* sizes[i] rows of the label "label i", in mixed order. */
static inline made_data make_data(const size_t *sizes, size_t labels) {
    made_data data = {0};
    size_t largest = 0;
    for (size_t i = 0; i < labels; i++)
        if (sizes[i] > largest) largest = sizes[i];
    for (size_t n = 0; n < largest; n++)
        for (size_t i = 0; i < labels; i++) {
            char input[48], output[32];
            if (n >= sizes[i]) continue;
            kit_format(input, sizeof input, "question %zu about %zu", n, i);
            kit_format(output, sizeof output, "label %zu", i);
            add_row(&data, input, output);
        }
    return data;
}

static inline void as_text(const made_data *data, kit_buf *out) {
    for (size_t i = 0; i < data->count; i++)
        kit_buf_fmt(out, "{\"input\":\"%s\",\"output\":\"%s\"}\n", data->rows[i].input, data->rows[i].output);
    ck_assert_int_eq(kit_buf_ok(out, &err), KOLM_OK);
}

typedef struct wish {
    const char *data, *eval; /* texts; eval NULL: split data */
    const char *data_path;
    uint64_t seed;
    bool skip_bad;
    const volatile sig_atomic_t *cancel;
} wish;

static inline kit_status prepare(const wish *w) {
    int data = job_test_fd(w->data, strlen(w->data));
    int eval = w->eval != NULL ? job_test_fd(w->eval, strlen(w->eval)) : -1;
    job_source data_source = {.fd = data, .path = w->data_path != NULL ? w->data_path : "data"};
    job_source eval_source = {.fd = eval, .path = "evaluation"};
    const job_prepare_options options = {
        .data = &data_source,
        .data_count = 1,
        .eval = &eval_source,
        .eval_count = eval >= 0 ? 1 : 0,
        .skip_bad = w->skip_bad,
        .seed = w->seed,
        .job_dir = place.job,
        .private_dir = place.private_dir,
        .cancel = w->cancel,
    };
    kit_status status = job_prepare(&options, &summary, &err);
    close(data);
    if (eval >= 0) close(eval);
    return status;
}

static inline void assert_prepared(const wish *w) {
    ck_assert_msg(prepare(w) == KOLM_OK, "%s", err.text);
}

static inline void assert_refused(const wish *w, const char *what, const char *advice) {
    ck_assert_int_eq(prepare(w), KOLM_E_INVALID_ARGUMENT);
    ck_assert_msg(strstr(err.text, what) != NULL, "expected \"%s\" in \"%s\"", what, err.text);
    ck_assert_msg(strstr(err.remedy, advice) != NULL, "expected \"%s\" in \"%s\"", advice, err.remedy);
}

static inline bool file_has(const char *directory, const char *name, const char *sha256) {
    char *path = NULL, hex[KIT_SHA256_HEX] = "";
    ck_assert_int_eq(kit_path_join(directory, name, &path, &err), KOLM_OK);
    ck_assert_int_eq(kit_sha256_file(path, hex, NULL, &err), KOLM_OK);
    free(path);
    return strcmp(hex, sha256) == 0;
}

/* True if the held-out bytes have this digest. */
static inline bool held_has(const char *sha256) {
    struct stat info;
    char hex[KIT_SHA256_HEX] = "";
    ck_assert_int_eq(fstat(summary.heldout_fd, &info), 0);
    char *bytes = malloc((size_t)info.st_size + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(pread(summary.heldout_fd, bytes, (size_t)info.st_size, 0), info.st_size);
    ck_assert_int_eq(kit_sha256_bytes(bytes, (size_t)info.st_size, hex, &err), KOLM_OK);
    free(bytes);
    return strcmp(hex, sha256) == 0;
}

static inline size_t files_in(const char *directory) {
    size_t count = 0;
    DIR *listing = opendir(directory);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing))
        count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
}

/* ---- Rows as text */

#define ROW(input, output) "{\"input\":\"" input "\",\"output\":\"" output "\"}\n"
#define FIVE(label, a, b, c, d, e)                                                                                     \
    ROW(label a, label) ROW(label b, label) ROW(label c, label) ROW(label d, label) ROW(label e, label)
#define TEN(label) FIVE(label, "1", "2", "3", "4", "5") FIVE(label, "6", "7", "8", "9", "0")

#endif
