/* SPDX-License-Identifier: Apache-2.0 */
/* The content of a prepared job, and which rows are held out. */
#include "dataset_fixture.h"

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
        /* Ids are line numbers; a held-out row has its line number in the data in "row". */
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
        /* A label with one row is trained on, with its chat. */
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
    /* There are no other files, and the backend's directory contains nothing that it must not see. */
    ck_assert_uint_eq(files_in(place.job), 2);
    ck_assert_uint_eq(files_in(place.private_dir), 0);
    job_test_rows_free(&train);
    job_test_rows_free(&eval);
    job_test_rows_free(&heldout);
    kit_buf_free(&text);
}
END_TEST

/* Held-out rows have no path, and are sealed. */
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

/* If they are too large for memory they are in an unlinked file. */
START_TEST(many_held_out_rows_are_a_file_without_a_name) {
    if (test_spared()) return;
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
    ck_assert_int_lt(fcntl(summary.heldout_fd, F_GET_SEALS), 0); /* it is not memory */
    ck_assert(held_has(summary.eval_sha256));
    ck_assert_uint_eq(files_in(place.private_dir), 0);
    kit_buf_free(&eval);
    free(long_text);
}
END_TEST

/* ---- The split, computed a second time from its definition in job/dataset.h */

static uint64_t split_hash(uint64_t seed, const char *input) {
    char bytes[8 + 48], hex[KIT_SHA256_HEX];
    for (int i = 0; i < 8; i++)
        bytes[i] = (char)(unsigned char)(seed >> (8 * i));
    memcpy(bytes + 8, input, strlen(input));
    ck_assert_int_eq(kit_sha256_bytes(bytes, 8 + strlen(input), hex, &err), KOLM_OK);
    hex[16] = '\0';
    return strtoull(hex, NULL, 16);
}

/* True if the row should be held out, by the number of rows of its label and how many have a smaller hash. */
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
            /* Training rows are in the order of the data. */
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

/* A label with more rows than are counted exactly, and no hash below the share: rare, so it is constructed. */
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

/* A file of two labels, one after the other: in order or reversed. */
static void in_blocks(kit_buf *out, bool backwards) {
    for (size_t i = 0; i < 1000; i++) {
        size_t row = backwards ? 999 - i : i;
        kit_buf_fmt(out, "{\"input\":\"q%zu\",\"output\":\"%s\"}\n", row, row < 500 ? "a" : "b");
    }
}

/* A row next to rows of one label probably has that label; so neither its position nor its id may reveal its
 * neighbours. */
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
    if (test_slowed()) return;
    kit_buf text = {0};
    /* 60 rows per label: all of them are counted exactly, ten of each of 5000 labels are held out. */
    for (size_t i = 0; i < 300000; i++)
        kit_buf_fmt(&text, "{\"input\":\"q%zu\",\"output\":\"l%zu\"}\n", i, i % 5000);
    assert_prepared(&(wish){.data = text.data});
    ck_assert_uint_eq(summary.train_rows, 250000);
    ck_assert_uint_eq(summary.eval_rows, 50000);
    kit_buf_free(&text);
    /* Two large labels: a random share, 50,000 within six standard deviations. */
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

int main(void) {
    Suite *suite = suite_create("job-dataset");
    TCase *tests = tcase_create("dataset");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
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
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
