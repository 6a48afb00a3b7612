/* SPDX-License-Identifier: Apache-2.0 */
/* Cleaning and splitting: what is written, what is dropped, and the split against a second reading of its definition.
 */
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

static void setup(void) {
    err = (kolm_error_t)KIT_ERROR_INIT;
    job_test_open(&place);
}

static void teardown(void) {
    job_test_forget_held(&summary);
    job_test_close(&place);
}

static void start_again(void) {
    teardown();
    setup();
}

/* ---- Data made here */

typedef struct made_row {
    char input[48], output[32];
} made_row;

typedef struct made_data {
    made_row *rows;
    size_t count;
} made_data;

static void add_row(made_data *data, const char *input, const char *output) {
    if ((data->count & (data->count + 1)) == 0 || data->rows == NULL) {
        data->rows = realloc(data->rows, (data->count + 1) * 2 * sizeof *data->rows);
        ck_assert_ptr_nonnull(data->rows);
    }
    made_row *row = &data->rows[data->count++];
    kit_copy(row->input, sizeof row->input, input);
    kit_copy(row->output, sizeof row->output, output);
}

/* sizes[i] rows of the label "label i", mixed: no label's rows stand together. */
static made_data make_data(const size_t *sizes, size_t labels) {
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

static void as_text(const made_data *data, kit_buf *out) {
    for (size_t i = 0; i < data->count; i++)
        kit_buf_fmt(out, "{\"input\":\"%s\",\"output\":\"%s\"}\n", data->rows[i].input, data->rows[i].output);
    ck_assert_int_eq(kit_buf_ok(out, &err), KOLM_OK);
}

typedef struct wish {
    const char *data, *eval; /* texts; eval NULL: split */
    const char *data_path;
    uint64_t seed;
    bool skip_bad;
    const volatile sig_atomic_t *cancel;
} wish;

static kit_status prepare(const wish *w) {
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

static void assert_prepared(const wish *w) {
    ck_assert_msg(prepare(w) == KOLM_OK, "%s", err.text);
}

static void assert_refused(const wish *w, const char *what, const char *advice) {
    ck_assert_int_eq(prepare(w), KOLM_E_INVALID_ARGUMENT);
    ck_assert_msg(strstr(err.text, what) != NULL, "expected \"%s\" in \"%s\"", what, err.text);
    ck_assert_msg(strstr(err.remedy, advice) != NULL, "expected \"%s\" in \"%s\"", advice, err.remedy);
}

static bool file_has(const char *directory, const char *name, const char *sha256) {
    char *path = NULL, hex[KIT_SHA256_HEX] = "";
    ck_assert_int_eq(kit_path_join(directory, name, &path, &err), KOLM_OK);
    ck_assert_int_eq(kit_sha256_file(path, hex, NULL, &err), KOLM_OK);
    free(path);
    return strcmp(hex, sha256) == 0;
}

/* The bytes that were held out are those of the digest. */
static bool held_has(const char *sha256) {
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

static size_t files_in(const char *directory) {
    size_t count = 0;
    DIR *listing = opendir(directory);
    ck_assert_ptr_nonnull(listing);
    for (struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing))
        count += entry->d_name[0] != '.';
    closedir(listing);
    return count;
}

/* ---- What is written */

#define ROW(input, output) "{\"input\":\"" input "\",\"output\":\"" output "\"}\n"
#define FIVE(label, a, b, c, d, e)                                                                                     \
    ROW(label a, label) ROW(label b, label) ROW(label c, label) ROW(label d, label) ROW(label e, label)
#define TEN(label) FIVE(label, "1", "2", "3", "4", "5") FIVE(label, "6", "7", "8", "9", "0")

START_TEST(the_files_hold_what_the_protocol_says) {
    kit_buf text = {0};
    static const char *const odd[] = {"a\\nb", "c\\t\\u001b[1m", "\\\"q\\\"", "\\u00e4\\ud83d\\ude00", "back\\\\slash"};
    for (size_t i = 0; i < 40; i++)
        kit_buf_fmt(&text, "{\"input\":\"%zu %s\",\"output\":\"%s\"}\n", i, odd[i % 5], odd[i % 5]);
    kit_buf_str(
        &text,
        "{\"messages\":[{\"role\":\"system\",\"content\":\"Greet.\"},"
        "{\"role\":\"user\",\"content\":\"hello\"},{\"role\":\"assistant\",\"content\":\"only once\",\"n\":1.5}]}\n");
    assert_prepared(&(wish){.data = text.data});
    ck_assert_uint_eq(summary.rows_read, 41);
    ck_assert_uint_eq(summary.train_rows + summary.eval_rows, 41);
    job_test_rows train, eval, heldout;
    job_test_read(place.job, "train.jsonl", &train);
    job_test_read(place.job, "eval.jsonl", &eval);
    job_test_read_held(&summary, &heldout);
    ck_assert_uint_eq(train.count, summary.train_rows);
    ck_assert_uint_eq(eval.count, summary.eval_rows);
    ck_assert_uint_eq(heldout.count, summary.eval_rows);
    bool seen[42] = {false};
    uint64_t bytes = 0, at = 0;
    for (size_t i = 0; i < train.count + eval.count; i++) {
        const cJSON *row = i < train.count ? train.items[i] : heldout.items[i - train.count];
        bool held = i >= train.count, chat = kit_json_get(row, "messages") != NULL;
        uint64_t id = 0, begins = 0;
        /* Ids are numbers of lines; where a held-out row was is said beside its output. */
        ck_assert(kit_parse_u64(job_test_text(row, "id"), &id) && id == (held ? i - train.count : i) + 1);
        if (!chat) ck_assert_int_eq(sscanf(job_test_text(row, "input"), "%" SCNu64, &begins), 1);
        if (held) ck_assert(kit_parse_u64(job_test_text(row, "row"), &at) && at == begins + 1);
        at = chat ? 41 : begins + 1;
        ck_assert(!seen[at]);
        seen[at] = true;
        ck_assert(strstr(job_test_text(row, "input"), job_test_text(row, "output")) != NULL || chat);
        if (!held) bytes += strlen(job_test_text(row, "input"));
        ck_assert_int_eq(cJSON_GetArraySize(row), held || chat ? 4 : 3);
        if (!chat) continue;
        /* A label with one row is learned from, with its chat. */
        ck_assert_uint_lt(i, train.count);
        ck_assert_int_eq(cJSON_GetArraySize(kit_json_get(row, "messages")), 3);
        ck_assert_str_eq(job_test_text(row, "input"), "Greet.\nhello");
    }
    ck_assert_uint_eq(bytes, summary.train_input_bytes);
    for (size_t i = 0; i < eval.count; i++) {
        ck_assert_int_eq(cJSON_GetArraySize(eval.items[i]), 2);
        ck_assert_str_eq(job_test_text(eval.items[i], "id"), job_test_text(heldout.items[i], "id"));
        ck_assert_str_eq(job_test_text(eval.items[i], "input"), job_test_text(heldout.items[i], "input"));
    }
    ck_assert(file_has(place.job, "train.jsonl", summary.train_sha256));
    ck_assert(held_has(summary.eval_sha256));
    /* Nothing else is left, and what a backend must not see is not beside what it sees. */
    ck_assert_uint_eq(files_in(place.job), 2);
    ck_assert_uint_eq(files_in(place.private_dir), 0);
    job_test_rows_free(&train);
    job_test_rows_free(&eval);
    job_test_rows_free(&heldout);
    kit_buf_free(&text);
}
END_TEST

/* What is held out has no path at all, and nobody writes to it again. */
START_TEST(held_out_rows_are_sealed_memory) {
    char link[64], target[256] = "";
    assert_prepared(&(wish){.data = TEN("a") TEN("b")});
    kit_format(link, sizeof link, "/proc/self/fd/%d", summary.heldout_fd);
    ck_assert_int_gt(readlink(link, target, sizeof target - 1), 0);
    ck_assert_msg(strncmp(target, "/memfd:", 7) == 0, "%s", target);
    ck_assert_int_eq(fcntl(summary.heldout_fd, F_GETFD), FD_CLOEXEC);
    int seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    ck_assert_int_eq(fcntl(summary.heldout_fd, F_GET_SEALS), seals);
    ck_assert_int_lt(pwrite(summary.heldout_fd, "x", 1, 0), 0);
    ck_assert_int_ne(ftruncate(summary.heldout_fd, 0), 0);
}
END_TEST

/* More than memory should hold is in a file that no directory knows. */
START_TEST(many_held_out_rows_are_a_file_without_a_name) {
    kit_buf eval = {0};
    struct stat info;
    char *long_text = malloc(100001);
    ck_assert_ptr_nonnull(long_text);
    memset(long_text, 'x', 100000);
    long_text[100000] = '\0';
    for (size_t i = 0; i * 100000 < JOB_HELDOUT_MEMORY + 200000; i++)
        kit_buf_fmt(&eval, "{\"input\":\"%zu %s\",\"output\":\"a\"}\n", i, long_text);
    assert_prepared(&(wish){.data = TEN("a") TEN("b"), .eval = kit_buf_text(&eval)});
    ck_assert_int_eq(fstat(summary.heldout_fd, &info), 0);
    ck_assert_uint_eq(info.st_nlink, 0);
    ck_assert_int_gt(info.st_size, JOB_HELDOUT_MEMORY);
    ck_assert_int_eq(fcntl(summary.heldout_fd, F_GETFD), FD_CLOEXEC);
    ck_assert_int_lt(fcntl(summary.heldout_fd, F_GET_SEALS), 0); /* it is no memory */
    ck_assert(held_has(summary.eval_sha256));
    ck_assert_uint_eq(files_in(place.private_dir), 0);
    kit_buf_free(&eval);
    free(long_text);
}
END_TEST

/* ---- The split, read a second time from its definition in job/dataset.h */

static uint64_t split_hash(uint64_t seed, const char *input) {
    char bytes[8 + 48], hex[KIT_SHA256_HEX];
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(unsigned char)(seed >> (8 * i));
    memcpy(bytes + 8, input, strlen(input));
    ck_assert_int_eq(kit_sha256_bytes(bytes, 8 + strlen(input), hex, &err), KOLM_OK);
    hex[16] = '\0';
    return strtoull(hex, NULL, 16);
}

/* How many rows of the label have a smaller hash, and how many rows it has. */
static bool should_be_held(const made_data *data, const uint64_t *hashes, size_t row) {
    size_t rows = 0, smaller = 0;
    for (size_t i = 0; i < data->count; i++) {
        if (strcmp(data->rows[i].output, data->rows[row].output) != 0) continue;
        rows++;
        smaller += hashes[i] < hashes[row];
    }
    if (rows == 1) return false;
    if (rows > JOB_EXACT_LABEL) return smaller == 0 || (double)hashes[row] < 0.2 * 18446744073709551616.0;
    size_t held = (rows + 2) / 5; /* a fifth, rounded to the nearest */
    return smaller < (held > 0 ? held : 1);
}

/* held[i]: row i of data is held out. Fails unless each row is on exactly one side. */
static void read_sides(const made_data *data, bool *held) {
    bool *seen = calloc(data->count, 1);
    uint64_t trained = 0;
    ck_assert_ptr_nonnull(seen);
    for (size_t side = 0; side < 2; side++) {
        job_test_rows rows;
        if (side == 0)
            job_test_read(place.job, "train.jsonl", &rows);
        else
            job_test_read_held(&summary, &rows);
        for (size_t i = 0; i < rows.count; i++) {
            const char *input = job_test_text(rows.items[i], "input");
            uint64_t at = trained + 1;
            /* Rows to learn from are in the order of the data. */
            while (side == 0 && at <= data->count && strcmp(input, data->rows[at - 1].input) != 0)
                at++;
            if (side == 1) ck_assert(kit_parse_u64(job_test_text(rows.items[i], "row"), &at));
            ck_assert(at >= 1 && at <= data->count && !seen[at - 1]);
            ck_assert_str_eq(input, data->rows[at - 1].input);
            ck_assert_str_eq(job_test_text(rows.items[i], "output"), data->rows[at - 1].output);
            seen[at - 1] = true;
            held[at - 1] = side == 1;
            if (side == 0) trained = at;
        }
        job_test_rows_free(&rows);
    }
    for (size_t i = 0; i < data->count; i++)
        ck_assert_msg(seen[i], "row %zu is on one side", i + 1);
    free(seen);
}

static void split(const made_data *data, uint64_t seed, bool *held) {
    kit_buf text = {0};
    start_again();
    as_text(data, &text);
    assert_prepared(&(wish){.data = text.data, .seed = seed});
    read_sides(data, held);
    kit_buf_free(&text);
}

static const size_t label_sizes[] = {1, 2, 3, 4, 7, 8, 12, 13, 30, 63, 64, 65, 66, 150, 1};
static const uint64_t seeds[] = {0, 1, 7, 9007199254740991ull};

START_TEST(the_split_is_what_its_definition_says) {
    made_data data = make_data(label_sizes, COUNT(label_sizes));
    bool *held = calloc(data.count, 1);
    uint64_t *hashes = calloc(data.count, sizeof *hashes);
    ck_assert(held != NULL && hashes != NULL);
    split(&data, seeds[_i], held);
    for (size_t i = 0; i < data.count; i++)
        hashes[i] = split_hash(seeds[_i], data.rows[i].input);
    for (size_t i = 0; i < data.count; i++)
        ck_assert_msg(held[i] == should_be_held(&data, hashes, i), "row %zu (%s), seed %llu", i + 1,
                      data.rows[i].output, (unsigned long long)seeds[_i]);
    ck_assert_uint_eq(summary.labels, COUNT(label_sizes));
    ck_assert_uint_eq(summary.lonely_labels, 2);
    ck_assert(summary.closed);
    free(held);
    free(hashes);
    free(data.rows);
}
END_TEST

START_TEST(each_label_is_on_both_sides_where_it_can_be) {
    made_data data = make_data(label_sizes, COUNT(label_sizes));
    bool *held = calloc(data.count, 1);
    ck_assert_ptr_nonnull(held);
    split(&data, seeds[_i], held);
    for (size_t l = 0; l < COUNT(label_sizes); l++) {
        char label[32];
        size_t rows = 0, out = 0;
        kit_format(label, sizeof label, "label %zu", l);
        for (size_t i = 0; i < data.count; i++) {
            if (strcmp(data.rows[i].output, label) != 0) continue;
            rows++;
            out += held[i];
        }
        ck_assert_uint_eq(rows, label_sizes[l]);
        if (rows == 1)
            ck_assert_uint_eq(out, 0);
        else
            ck_assert_msg(out > 0 && out < rows, "%zu of %zu rows of %s", out, rows, label);
        if (rows > 1 && rows <= JOB_EXACT_LABEL) ck_assert_uint_eq(out, rows < 5 ? 1 : (rows + 2) / 5);
    }
    free(held);
    free(data.rows);
}
END_TEST

/* A label of more rows than are counted exactly, none of whose hashes is below the share: rare, and made here. */
START_TEST(a_large_label_without_a_small_hash_is_still_measured) {
    made_data data = {0};
    for (size_t n = 0; data.count < JOB_EXACT_LABEL + 6; n++) {
        char input[48];
        kit_format(input, sizeof input, "picked %zu", n);
        if ((double)split_hash(0, input) > 0.25 * 18446744073709551616.0) add_row(&data, input, "picked");
    }
    for (size_t n = 0; n < 10; n++) {
        char input[48];
        kit_format(input, sizeof input, "other %zu", n);
        add_row(&data, input, "other");
    }
    bool held[128] = {false};
    split(&data, 0, held);
    size_t out = 0;
    for (size_t i = 0; i < JOB_EXACT_LABEL + 6; i++)
        out += held[i];
    ck_assert_uint_eq(out, 1);
    free(data.rows);
}
END_TEST

static int by_input(const void *a, const void *b) {
    return strcmp(((const made_row *)a)->input, ((const made_row *)b)->input);
}

START_TEST(the_split_does_not_depend_on_the_order_of_the_rows) {
    made_data data = make_data(label_sizes, COUNT(label_sizes)), other = {0};
    for (size_t i = 0; i < data.count; i++)
        add_row(&other, data.rows[i].input, data.rows[i].output);
    qsort(other.rows, other.count, sizeof *other.rows, by_input);
    bool *held = calloc(data.count, 1), *held_other = calloc(data.count, 1);
    ck_assert(held != NULL && held_other != NULL);
    split(&data, 3, held);
    split(&other, 3, held_other);
    for (size_t i = 0; i < data.count; i++) {
        const made_row *same = bsearch(&data.rows[i], other.rows, other.count, sizeof *other.rows, by_input);
        ck_assert_ptr_nonnull(same);
        ck_assert_int_eq(held[i], held_other[same - other.rows]);
    }
    free(held);
    free(held_other);
    free(data.rows);
    free(other.rows);
}
END_TEST

START_TEST(the_same_seed_gives_the_same_bytes_and_another_one_another_split) {
    made_data data = make_data(label_sizes, COUNT(label_sizes));
    kit_buf text = {0};
    as_text(&data, &text);
    job_summary kept[3];
    const uint64_t which[] = {5, 5, 6};
    for (size_t i = 0; i < 3; i++) {
        start_again();
        assert_prepared(&(wish){.data = text.data, .seed = which[i]});
        kept[i] = summary;
    }
    ck_assert_str_eq(kept[0].train_sha256, kept[1].train_sha256);
    ck_assert_str_eq(kept[0].eval_sha256, kept[1].eval_sha256);
    ck_assert_str_ne(kept[0].train_sha256, kept[2].train_sha256);
    ck_assert_str_ne(kept[0].eval_sha256, kept[2].eval_sha256);
    kit_buf_free(&text);
    free(data.rows);
}
END_TEST

/* A file of two labels, one after the other: forwards, or backwards. */
static void in_blocks(kit_buf *out, bool backwards) {
    for (size_t i = 0; i < 1000; i++) {
        size_t row = backwards ? 999 - i : i;
        kit_buf_fmt(out, "{\"input\":\"q%zu\",\"output\":\"%s\"}\n", row, row < 500 ? "a" : "b");
    }
}

/* Beside rows of one label a row has that label, too: neither its place nor its id says beside which rows it was. */
START_TEST(the_place_of_a_held_out_row_says_nothing_of_its_label) {
    char before[KIT_SHA256_HEX] = "", last[KIT_SHA256_HEX] = "";
    for (int pass = 0; pass < 4; pass++) {
        bool by_eval = pass >= 2;
        kit_buf text = {0};
        if (pass > 0) start_again();
        in_blocks(&text, pass % 2 == 1);
        assert_prepared(&(wish){.data = by_eval ? TEN("a") TEN("b") : text.data, .eval = by_eval ? text.data : NULL});
        job_test_rows train, held;
        job_test_read(place.job, "train.jsonl", &train);
        job_test_read_held(&summary, &held);
        ck_assert_uint_eq(held.count, summary.eval_rows);
        ck_assert_uint_ge(held.count, 190);
        size_t right = 0, rising = 0;
        uint64_t id = 0, row = 0, row_before = 0;
        last[0] = '\0';
        for (size_t i = 0; i < held.count; i++) {
            char digest[KIT_SHA256_HEX];
            const char *input = job_test_text(held.items[i], "input"), *output = job_test_text(held.items[i], "output");
            ck_assert_int_eq(kit_sha256_bytes(input, strlen(input), digest, &err), KOLM_OK);
            ck_assert_str_gt(digest, last);
            kit_copy(last, sizeof last, digest);
            ck_assert(kit_parse_u64(job_test_text(held.items[i], "id"), &id) && id == i + 1);
            ck_assert(kit_parse_u64(job_test_text(held.items[i], "row"), &row) && row >= 1 && row <= 1000);
            right += (i < held.count / 2) == (strcmp(output, "a") == 0);
            rising += row > row_before;
            row_before = row;
        }
        ck_assert_msg(right * 10 > held.count * 4 && right * 10 < held.count * 6, "%zu of %zu", right, held.count);
        ck_assert_msg(rising * 10 > held.count * 4 && rising * 10 < held.count * 6, "%zu of %zu", rising, held.count);
        for (size_t i = 0; i < train.count; i++)
            ck_assert(kit_parse_u64(job_test_text(train.items[i], "id"), &id) && id == i + 1);
        /* The questions are the same bytes whatever the order of the file. */
        char *path = NULL;
        ck_assert_int_eq(kit_path_join(place.job, "eval.jsonl", &path, &err), KOLM_OK);
        if (pass % 2 == 0)
            ck_assert_int_eq(kit_sha256_file(path, before, NULL, &err), KOLM_OK);
        else
            ck_assert(file_has(place.job, "eval.jsonl", before));
        free(path);
        job_test_rows_free(&train);
        job_test_rows_free(&held);
        kit_buf_free(&text);
    }
}
END_TEST

START_TEST(of_very_many_rows_about_fifty_thousand_are_held_out) {
    if (job_test_slowed()) return;
    kit_buf text = {0};
    /* 60 rows a label: all of them are counted exactly, ten each of 5000 labels. */
    for (size_t i = 0; i < 300000; i++)
        kit_buf_fmt(&text, "{\"input\":\"q%zu\",\"output\":\"l%zu\"}\n", i, i % 5000);
    assert_prepared(&(wish){.data = text.data});
    ck_assert_uint_eq(summary.train_rows, 250000);
    ck_assert_uint_eq(summary.eval_rows, 50000);
    kit_buf_free(&text);
    /* And of two large labels a random share: 50,000 within six standard deviations. */
    start_again();
    for (size_t i = 0; i < 300000; i++)
        kit_buf_fmt(&text, "{\"input\":\"q%zu\",\"output\":\"l%zu\"}\n", i, i % 2);
    assert_prepared(&(wish){.data = text.data});
    ck_assert_uint_eq(summary.train_rows + summary.eval_rows, 300000);
    ck_assert_msg(summary.eval_rows > 48700 && summary.eval_rows < 51300, "%llu",
                  (unsigned long long)summary.eval_rows);
    kit_buf_free(&text);
}
END_TEST

/* ---- Cleaning */

START_TEST(repeated_rows_are_dropped_once_each) {
    assert_prepared(&(wish){.data = TEN("a") TEN("b") ROW("a1", "a") ROW("a1", "a") ROW("b2", "b")});
    ck_assert_uint_eq(summary.rows_read, 23);
    ck_assert_uint_eq(summary.duplicates, 3);
    ck_assert_uint_eq(summary.contradictions, 0);
    ck_assert_uint_eq(summary.contradiction_places[0].line, 0);
    ck_assert_uint_eq(summary.train_rows, 16);
    ck_assert_uint_eq(summary.eval_rows, 4);
    /* Byte for byte: blanks, capitals and composed letters make another input. */
    start_again();
    assert_prepared(
        &(wish){.data = TEN("a") TEN("b") ROW("a1 ", "a") ROW("A1", "a") ROW("e\\u0301", "a") ROW("\\u00e9", "a")});
    ck_assert_uint_eq(summary.duplicates, 0);
    ck_assert_uint_eq(summary.train_rows + summary.eval_rows, 24);
}
END_TEST

START_TEST(contradicting_rows_are_all_dropped_and_an_example_is_named) {
    assert_prepared(&(wish){.data = TEN("a") "\n" ROW("odd", "a") TEN("b") ROW("odd", "b") ROW("odd", "a")});
    ck_assert_uint_eq(summary.rows_read, 23);
    ck_assert_uint_eq(summary.contradictions, 3);
    ck_assert_uint_eq(summary.duplicates, 0);
    ck_assert_uint_eq(summary.contradiction_places[0].line, 12);
    ck_assert_uint_eq(summary.contradiction_places[1].line, 23);
    ck_assert_uint_eq(summary.train_rows + summary.eval_rows, 20);
    job_test_rows rows;
    job_test_read(place.job, "train.jsonl", &rows);
    for (size_t i = 0; i < rows.count; i++)
        ck_assert_str_ne(job_test_text(rows.items[i], "input"), "odd");
    job_test_rows_free(&rows);
}
END_TEST

START_TEST(nothing_to_learn_is_said) {
    static const struct {
        const char *data, *what, *advice;
    } cases[] = {
        {TEN("a"), "every row of data has the same output", "other output"},
        {ROW("a", "b"), "every row of data has the same output", "output"},
        {ROW("x", "a") ROW("x", "b"), "every row of data contradicts another one", "the same output"},
        {ROW("x", "a") ROW("y", "b") ROW("z", "c"), "no output of data has two rows", "--eval"},
        {"{\"a\":1}\n", "line 1", "each row needs"},
        {"", "data is empty", "\"input\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (i > 0) start_again();
        assert_refused(&(wish){.data = cases[i].data}, cases[i].what, cases[i].advice);
        /* Scratch is gone, also after a failure. */
        ck_assert_uint_eq(files_in(place.private_dir), 0);
        ck_assert_int_eq(summary.heldout_fd, -1);
    }
}
END_TEST

/* ---- An evaluation file */

START_TEST(an_evaluation_file_is_measured_on_whole) {
    assert_prepared(&(wish){.data = TEN("a") TEN("b") ROW("odd", "a") ROW("odd", "b"),
                            .eval = ROW("e1", "a") ROW("e1", "a") ROW("a3", "a") ROW("b3", "a") ROW("e2", "never")
                                ROW("odd", "a")});
    ck_assert_uint_eq(summary.train_rows, 20);
    /* a3 and b3 are trained on, whatever they answer; odd is not, for it contradicts itself; e1 counts twice. */
    ck_assert_uint_eq(summary.leaked, 2);
    ck_assert_uint_eq(summary.eval_rows, 4);
    ck_assert_uint_eq(summary.unseen_labels, 1);
    ck_assert_uint_eq(summary.duplicates, 0);
    job_test_rows rows;
    job_test_read_held(&summary, &rows);
    /* By SHA-256 of the input; e1 in the order of the file. */
    static const char *const inputs[] = {"e1", "e1", "odd", "e2"}, *const places[] = {"1", "2", "6", "5"};
    static const char *const ids[] = {"1", "2", "3", "4"};
    ck_assert_uint_eq(rows.count, 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_str_eq(job_test_text(rows.items[i], "input"), inputs[i]);
        ck_assert_str_eq(job_test_text(rows.items[i], "id"), ids[i]);
        ck_assert_str_eq(job_test_text(rows.items[i], "row"), places[i]);
    }
    job_test_rows_free(&rows);
}
END_TEST

START_TEST(an_evaluation_file_of_what_is_trained_on_measures_nothing) {
    assert_refused(&(wish){.data = TEN("a") TEN("b"), .eval = TEN("a")},
                   "every row of evaluation has an input that is also in data", "memory, not skill");
    start_again();
    assert_refused(&(wish){.data = TEN("a") TEN("b"), .eval = ""}, "evaluation is empty", "\"input\"");
    start_again();
    assert_refused(&(wish){.data = TEN("a") TEN("b"), .eval = "{\"input\":\"a\"}\n"},
                   "evaluation, line 1, column 1: expected the key \"output\"", "each row needs");
    /* With it, labels of one row can be measured. */
    start_again();
    assert_prepared(&(wish){.data = ROW("x", "a") ROW("y", "b"), .eval = ROW("z", "a")});
    ck_assert_uint_eq(summary.train_rows, 2);
    ck_assert_uint_eq(summary.eval_rows, 1);
}
END_TEST

START_TEST(an_evaluation_alone_is_cleaned_of_nothing) {
    static const char text[] = ROW("e1", "a") ROW("e1", "a") ROW("e1", "b") "\n" ROW("e2", "c");
    int fd = job_test_fd(text, sizeof text - 1);
    job_source source = {.fd = fd, .path = "evaluation"};
    const job_prepare_options options = {
        .eval = &source, .eval_count = 1, .job_dir = place.job, .private_dir = place.private_dir};
    ck_assert_int_eq(job_prepare_eval(&options, &summary, &err), KOLM_OK);
    close(fd);
    ck_assert_uint_eq(summary.eval_rows, 4);
    ck_assert_uint_eq(summary.unseen_labels, 0);
    ck_assert(held_has(summary.eval_sha256));
    ck_assert_uint_eq(files_in(place.job), 1);
    ck_assert_uint_eq(files_in(place.private_dir), 0);
    /* The digest is that of the same rows held out by a compile that was given this file. */
    char before[65];
    kit_copy(before, sizeof before, summary.eval_sha256);
    start_again();
    assert_prepared(&(wish){.data = TEN("a") TEN("b"), .eval = text});
    ck_assert_str_eq(summary.eval_sha256, before);
}
END_TEST

/* ---- Several files */

static kit_status prepare_sources(const char *const *texts, job_source *sources, size_t count, bool skip_bad) {
    for (size_t i = 0; i < count; i++)
        sources[i].fd = job_test_fd(texts[i], strlen(texts[i]));
    const job_prepare_options options = {.data = sources,
                                         .data_count = count,
                                         .skip_bad = skip_bad,
                                         .job_dir = place.job,
                                         .private_dir = place.private_dir};
    kit_status status = job_prepare(&options, &summary, &err);
    for (size_t i = 0; i < count; i++)
        close(sources[i].fd);
    return status;
}

START_TEST(several_files_are_one_set) {
    static const char *const texts[] = {TEN("a"), "text,label\n1,a\nmine,b\nyours,a\n", TEN("b") ROW("mine", "a")};
    job_source sources[] = {{.path = "one.jsonl"}, {.path = "two.csv"}, {.path = "three.jsonl"}};
    ck_assert_msg(prepare_sources(texts, sources, 3, false) == KOLM_OK, "%s", err.text);
    ck_assert_uint_eq(summary.rows_read, 24);
    ck_assert_uint_eq(summary.contradictions, 2);
    ck_assert_uint_eq(sources[0].rows, 10);
    ck_assert_uint_eq(sources[1].rows, 3);
    ck_assert_uint_eq(sources[2].rows, 11);
    /* Each place is a line of its own file. */
    ck_assert_uint_eq(summary.contradiction_places[0].source, 1);
    ck_assert_uint_eq(summary.contradiction_places[0].line, 3);
    ck_assert_uint_eq(summary.contradiction_places[1].source, 2);
    ck_assert_uint_eq(summary.contradiction_places[1].line, 11);
}
END_TEST

START_TEST(errors_name_the_file_among_several) {
    static const char *const texts[] = {TEN("a"), "text,label\nx,a\ny\n"};
    job_source sources[] = {{.path = "one.jsonl"}, {.path = "two.csv"}};
    ck_assert_int_eq(prepare_sources(texts, sources, 2, false), KOLM_E_INVALID_ARGUMENT);
    ck_assert_msg(strncmp(err.text, "two.csv, line 3, ", 17) == 0, "%s", err.text);
    start_again();
    static const char *const equal[] = {TEN("a"), ROW("x", "a"), ROW("y", "a")};
    job_source three[] = {{.path = "one"}, {.path = "two"}, {.path = "three"}};
    ck_assert_int_eq(prepare_sources(equal, three, 3, false), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "every row of one and 2 other files has the same output"));
    start_again();
    static const char *const empty[] = {TEN("a"), ""};
    ck_assert_int_eq(prepare_sources(empty, sources, 2, true), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "two.csv is empty"));
}
END_TEST

/* ---- Bad rows */

START_TEST(bad_rows_are_counted_by_kind) {
    kit_buf text = {0};
    kit_buf_str(&text, TEN("a") TEN("b"));
    for (int i = 0; i < 30; i++)
        kit_buf_fmt(&text, "{\"input\":%d,\"output\":\"a\"}\n{\"k%d\":1,\"l%d\":2}\n", i, i, i);
    kit_buf_str(&text, "{\"input\":\"\xE9\",\"output\":\"a\"}\n{\"input\":\"\xFF\",\"output\":\"a\"}\n");
    assert_prepared(&(wish){.data = kit_buf_text(&text), .data_path = "x, line 7: y", .skip_bad = true});
    kit_buf_free(&text);
    ck_assert_uint_eq(summary.bad_rows, 62);
    ck_assert_uint_eq(summary.bad_kind_count, 3);
    ck_assert_str_eq(summary.bad_kinds[0].text, "expected text in \"input\", found a number");
    ck_assert_uint_eq(summary.bad_kinds[0].rows, 30);
    ck_assert_str_eq(summary.bad_kinds[1].text, "expected the key \"input\", found \"...\"");
    ck_assert_uint_eq(summary.bad_kinds[1].rows, 30);
    ck_assert_str_eq(summary.bad_kinds[2].text, "expected UTF-8, found the byte \\x..");
    ck_assert_uint_eq(summary.bad_kinds[2].rows, 2);
    for (size_t i = 0; i < JOB_BAD_EXAMPLES; i++)
        ck_assert_ptr_nonnull(strstr(summary.bad_examples[i], "x, line 7: y, line "));
}
END_TEST

START_TEST(bad_rows_end_it_or_are_counted) {
    static const char data[] = TEN("a") "{}\n" TEN("b") "[1]\n{\"input\":1,\"output\":\"a\"}\nnothing\n";
    static const char eval[] = ROW("e", "a") "{\"input\":\"x\"}\n";
    ck_assert_int_eq(prepare(&(wish){.data = data}), KOLM_E_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.text, "data, line 11, column 1: expected the key"));
    start_again();
    assert_prepared(&(wish){.data = data, .eval = eval, .skip_bad = true});
    ck_assert_uint_eq(summary.bad_rows, 5);
    ck_assert_uint_eq(summary.rows_read, 20);
    static const char *const lines[] = {"data, line 11, ", "data, line 22, ", "data, line 23, ", "data, line 24, ",
                                        "evaluation, line 2, "};
    for (size_t i = 0; i < COUNT(lines); i++)
        ck_assert_msg(strncmp(summary.bad_examples[i], lines[i], strlen(lines[i])) == 0, "%s", summary.bad_examples[i]);
    start_again();
    assert_refused(&(wish){.data = "{}\n{}\n", .skip_bad = true}, "data holds no good row", "\"input\"");
    /* A quote that nothing closes costs its own row. */
    start_again();
    assert_prepared(&(wish){.data = "text,label\na,b\nc,d\n\"e,f\ng,h\nx,b\ny,d\n", .skip_bad = true});
    ck_assert_uint_eq(summary.bad_rows, 1);
    ck_assert_uint_eq(summary.rows_read, 5);
}
END_TEST

START_TEST(a_long_example_is_cut_between_characters) {
    kit_buf path = {0};
    for (size_t i = 0; i < 200; i++)
        kit_buf_str(&path, "\xE2\x82\xAC");
    assert_prepared(&(wish){.data = TEN("a") TEN("b") "{}\n", .data_path = path.data, .skip_bad = true});
    ck_assert_uint_gt(strlen(summary.bad_examples[0]), 250);
    ck_assert_uint_eq(kit_utf8_valid(summary.bad_examples[0], strlen(summary.bad_examples[0])),
                      strlen(summary.bad_examples[0]));
    kit_buf_free(&path);
}
END_TEST

/* ---- Closed or not */

START_TEST(outputs_are_judged_to_be_labels_or_not) {
    assert_prepared(&(wish){.data = ROW("1", "a") ROW("2", "a") ROW("3", "b") ROW("4", "b")});
    ck_assert(summary.closed);
    ck_assert_str_eq(summary.closed_why, "2 distinct outputs in 4 rows");
    start_again();
    assert_prepared(&(wish){.data = ROW("1", "a") ROW("2", "a") ROW("3", "b") ROW("4", "b") ROW("5", "c")});
    ck_assert(!summary.closed);
    ck_assert_str_eq(summary.closed_why, "3 distinct outputs in 5 rows: fewer than two rows for each");
    start_again();
    kit_buf text = {0};
    kit_buf_str(&text, TEN("a") TEN("b") "{\"input\":\"x\",\"output\":\"");
    for (size_t i = 0; i < 1001; i++)
        kit_buf_char(&text, 'o');
    kit_buf_str(&text, "\"}\n");
    assert_prepared(&(wish){.data = text.data});
    ck_assert(!summary.closed);
    ck_assert_str_eq(summary.closed_why, "outputs are up to 1001 bytes long: texts, not labels");
    kit_buf_free(&text);
}
END_TEST

START_TEST(more_outputs_than_can_be_labels_are_texts) {
    if (job_test_slowed()) return;
    kit_buf text = {0};
    for (size_t i = 0; i < 2 * (JOB_LABELS_MAX + 1); i++)
        kit_buf_fmt(&text, "{\"input\":\"q%zu\",\"output\":\"l%zu\"}\n", i, i % (JOB_LABELS_MAX + 1));
    assert_prepared(&(wish){.data = text.data});
    ck_assert_uint_eq(summary.labels, JOB_LABELS_MAX + 1);
    ck_assert(!summary.closed);
    ck_assert_str_eq(summary.closed_why, "there are more than 65536 distinct outputs");
    ck_assert_uint_eq(summary.train_rows + summary.eval_rows, 2 * (JOB_LABELS_MAX + 1));
    ck_assert(summary.eval_rows > 25000 && summary.eval_rows < 27500);
    kit_buf_free(&text);
}
END_TEST

/* ---- What fails around it */

START_TEST(an_interruption_ends_it) {
    static const volatile sig_atomic_t stop = 1;
    ck_assert_int_eq(prepare(&(wish){.data = TEN("a") TEN("b"), .cancel = &stop}), KOLM_E_CANCELLED);
    ck_assert_uint_eq(files_in(place.private_dir), 0);
    ck_assert_uint_eq(files_in(place.job), 0);
}
END_TEST

START_TEST(data_can_come_from_a_pipe) {
    int ends[2];
    static const char text[] = TEN("a") TEN("b");
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(kit_write_all(ends[1], text, sizeof text - 1, &err), KOLM_OK);
    close(ends[1]);
    job_source source = {.fd = ends[0], .path = "standard input"};
    const job_prepare_options options = {
        .data = &source, .data_count = 1, .job_dir = place.job, .private_dir = place.private_dir};
    ck_assert_int_eq(job_prepare(&options, &summary, &err), KOLM_OK);
    ck_assert_uint_eq(summary.rows_read, 20);
    close(ends[0]);
}
END_TEST

START_TEST(files_that_are_there_already_are_not_touched) {
    static const char *const names[] = {"train.jsonl", "eval.jsonl"};
    for (size_t i = 0; i < 2; i++) {
        if (i > 0) start_again();
        char *path = NULL;
        kit_buf content = {0};
        ck_assert_int_eq(kit_path_join(place.job, names[i], &path, &err), KOLM_OK);
        ck_assert_int_eq(kit_write_file(path, 0600, "mine", 4, &err), KOLM_OK);
        ck_assert_int_eq(prepare(&(wish){.data = TEN("a") TEN("b")}), KOLM_E_ALREADY_EXISTS);
        ck_assert_ptr_nonnull(strstr(err.text, path));
        ck_assert_int_eq(kit_read_file(path, 100, &content, &err), KOLM_OK);
        ck_assert_str_eq(kit_buf_text(&content), "mine");
        kit_buf_free(&content);
        free(path);
    }
    start_again();
    ck_assert_int_eq(rmdir(place.private_dir), 0);
    ck_assert_int_eq(prepare(&(wish){.data = TEN("a") TEN("b")}), KOLM_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, place.private_dir));
}
END_TEST

/* A limit on the size of files stands for a full disk: the same writes fail. */
START_TEST(a_full_disk_is_said) {
    made_data data = make_data((const size_t[]){2000, 2000}, 2);
    kit_buf text = {0};
    as_text(&data, &text);
    int fd = job_test_fd(text.data, text.length);
    struct rlimit before, limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    /* From the first byte of the spool to the last one of train.jsonl; somewhere in between each writer meets it. */
    static const rlim_t limits[] = {0, 4096, 65536, 180000};
    for (size_t i = 0; i < COUNT(limits); i++) {
        if (i > 0) start_again();
        job_source source = {.fd = fd, .path = "data"};
        const job_prepare_options options = {
            .data = &source, .data_count = 1, .job_dir = place.job, .private_dir = place.private_dir};
        ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
        limit = (struct rlimit){limits[i], before.rlim_max};
        void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        kit_status status = job_prepare(&options, &summary, &err);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        signal(SIGXFSZ, handler);
        ck_assert_int_ne(status, KOLM_OK);
        ck_assert_msg(strncmp(err.text, "cannot write ", 13) == 0 && strstr(err.text, place.base) != NULL, "%s",
                      err.text);
    }
    close(fd);
    kit_buf_free(&text);
    free(data.rows);
}
END_TEST

/* ---- Memory */

/* Peak kilobytes of a process that prepares `rows` rows. */
static long peak_of(size_t rows, uint64_t *out_bytes) {
    char path[96];
    kit_format(path, sizeof path, "%s/rows", place.base);
    FILE *file = fopen(path, "w+");
    ck_assert_ptr_nonnull(file);
    for (size_t i = 0; i < rows; i++)
        fprintf(file, "{\"input\":\"question %zu %0*d\",\"output\":\"label %zu\"}\n", i, 200, 0, i % 20);
    ck_assert_int_eq(fflush(file), 0);
    *out_bytes = (uint64_t)ftello(file);
    rewind(file);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        job_source source = {.fd = fileno(file), .path = "rows"};
        job_prepare_options options = {
            .data = &source, .data_count = 1, .job_dir = place.job, .private_dir = place.private_dir};
        _exit(job_prepare(&options, &summary, &err) == KOLM_OK ? 0 : 1);
    }
    int status = 0;
    struct rusage used;
    ck_assert_int_eq(wait4(child, &status, 0, &used), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fclose(file);
    return used.ru_maxrss;
}

START_TEST(memory_does_not_grow_with_the_rows) {
    if (job_test_slowed()) return;
    uint64_t few_bytes = 0, many_bytes = 0;
    long few = peak_of(10000, &few_bytes);
    start_again();
    long many = peak_of(100000, &many_bytes);
    ck_assert_uint_gt(many_bytes - few_bytes, 20u << 20);
    /* 90,000 rows more: 55 KiB of an index partition, 11 KiB of bits, and what the allocator makes of it. */
    ck_assert_msg(many - few < 1024, "%ld KiB for %llu bytes, %ld KiB for %llu", few, (unsigned long long)few_bytes,
                  many, (unsigned long long)many_bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-dataset");
    TCase *tests = tcase_create("dataset");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, memory_does_not_grow_with_the_rows); /* first: forked while this process is small */
    tcase_add_test(tests, the_files_hold_what_the_protocol_says);
    tcase_add_test(tests, held_out_rows_are_sealed_memory);
    tcase_add_test(tests, many_held_out_rows_are_a_file_without_a_name);
    tcase_add_loop_test(tests, the_split_is_what_its_definition_says, 0, COUNT(seeds));
    tcase_add_loop_test(tests, each_label_is_on_both_sides_where_it_can_be, 0, COUNT(seeds));
    tcase_add_test(tests, a_large_label_without_a_small_hash_is_still_measured);
    tcase_add_test(tests, the_split_does_not_depend_on_the_order_of_the_rows);
    tcase_add_test(tests, the_same_seed_gives_the_same_bytes_and_another_one_another_split);
    tcase_add_test(tests, the_place_of_a_held_out_row_says_nothing_of_its_label);
    tcase_add_test(tests, of_very_many_rows_about_fifty_thousand_are_held_out);
    tcase_add_test(tests, repeated_rows_are_dropped_once_each);
    tcase_add_test(tests, contradicting_rows_are_all_dropped_and_an_example_is_named);
    tcase_add_test(tests, nothing_to_learn_is_said);
    tcase_add_test(tests, an_evaluation_file_is_measured_on_whole);
    tcase_add_test(tests, an_evaluation_file_of_what_is_trained_on_measures_nothing);
    tcase_add_test(tests, an_evaluation_alone_is_cleaned_of_nothing);
    tcase_add_test(tests, several_files_are_one_set);
    tcase_add_test(tests, errors_name_the_file_among_several);
    tcase_add_test(tests, bad_rows_are_counted_by_kind);
    tcase_add_test(tests, bad_rows_end_it_or_are_counted);
    tcase_add_test(tests, a_long_example_is_cut_between_characters);
    tcase_add_test(tests, outputs_are_judged_to_be_labels_or_not);
    tcase_add_test(tests, more_outputs_than_can_be_labels_are_texts);
    tcase_add_test(tests, an_interruption_ends_it);
    tcase_add_test(tests, data_can_come_from_a_pipe);
    tcase_add_test(tests, files_that_are_there_already_are_not_touched);
    tcase_add_test(tests, a_full_disk_is_said);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
