/* SPDX-License-Identifier: Apache-2.0 */
/* Rows that are excluded, evaluation files, several files, bad rows, and failures of the system. */
#include "dataset_fixture.h"

/* ---- Cleaning */

START_TEST(repeated_rows_are_dropped_once_each) {
    assert_prepared(&(wish){.data = TEN("a") TEN("b") ROW("a1", "a") ROW("a1", "a") ROW("b2", "b")});
    ck_assert_uint_eq(summary.rows_read, 23);
    ck_assert_uint_eq(summary.duplicates, 3);
    ck_assert_uint_eq(summary.contradictions, 0);
    ck_assert_uint_eq(summary.contradiction_places[0].line, 0);
    ck_assert_uint_eq(summary.train_rows, 16);
    ck_assert_uint_eq(summary.eval_rows, 4);
    /* Compared byte by byte: blanks, capitals and composed letters make a different input. */
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

START_TEST(nothing_to_learn_is_reported) {
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
        /* Scratch files are removed, also after a failure. */
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
    /* a3 and b3 are trained on, whatever they answer; odd is not, because it contradicts itself; e1 counts twice. */
    ck_assert_uint_eq(summary.leaked, 2);
    ck_assert_uint_eq(summary.eval_rows, 4);
    ck_assert_uint_eq(summary.unseen_labels, 1);
    ck_assert_uint_eq(summary.duplicates, 0);
    job_test_rows rows;
    job_test_read_held(&summary, &rows);
    /* Ordered by the SHA-256 of the input; e1 in the order of the file. */
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
    /* With an evaluation file, labels of one row can be measured. */
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
    /* The digest equals that of the rows that a compile with this evaluation file holds out. */
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
    /* Each position is a line of its own file. */
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
    assert_refused(&(wish){.data = "{}\n{}\n", .skip_bad = true}, "data contains no valid row", "\"input\"");
    /* An unclosed quote loses only its own row. */
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

/* ---- Closed or open set of labels */

START_TEST(outputs_are_classified_as_labels_or_not) {
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
    if (test_slowed()) return;
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

/* ---- Failures of the system */

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

/* A limit on the size of files simulates a full disk: the same writes fail. */
START_TEST(a_full_disk_is_reported) {
    made_data data = make_data((const size_t[]){2000, 2000}, 2);
    kit_buf text = {0};
    as_text(&data, &text);
    int fd = job_test_fd(text.data, text.length);
    struct rlimit before, limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    /* From the first byte of the spool to the last one of train.jsonl, so that each writer fails at one of them. */
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
    if (test_slowed()) return;
    uint64_t few_bytes = 0, many_bytes = 0;
    long few = peak_of(10000, &few_bytes);
    start_again();
    long many = peak_of(100000, &many_bytes);
    ck_assert_uint_gt(many_bytes - few_bytes, 20u << 20);
    /* 90,000 more rows: 55 KiB of an index partition, 11 KiB of bits, and the overhead of the allocator. */
    ck_assert_msg(many - few < 1024, "%ld KiB for %llu bytes, %ld KiB for %llu", few, (unsigned long long)few_bytes,
                  many, (unsigned long long)many_bytes);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("job-dataset-rows");
    TCase *tests = tcase_create("dataset");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, memory_does_not_grow_with_the_rows); /* first: forked while this process is small */
    tcase_add_test(tests, repeated_rows_are_dropped_once_each);
    tcase_add_test(tests, contradicting_rows_are_all_dropped_and_an_example_is_named);
    tcase_add_test(tests, nothing_to_learn_is_reported);
    tcase_add_test(tests, an_evaluation_file_is_measured_on_whole);
    tcase_add_test(tests, an_evaluation_file_of_what_is_trained_on_measures_nothing);
    tcase_add_test(tests, an_evaluation_alone_is_cleaned_of_nothing);
    tcase_add_test(tests, several_files_are_one_set);
    tcase_add_test(tests, errors_name_the_file_among_several);
    tcase_add_test(tests, bad_rows_are_counted_by_kind);
    tcase_add_test(tests, bad_rows_end_it_or_are_counted);
    tcase_add_test(tests, a_long_example_is_cut_between_characters);
    tcase_add_test(tests, outputs_are_classified_as_labels_or_not);
    tcase_add_test(tests, more_outputs_than_can_be_labels_are_texts);
    tcase_add_test(tests, an_interruption_ends_it);
    tcase_add_test(tests, data_can_come_from_a_pipe);
    tcase_add_test(tests, files_that_are_there_already_are_not_touched);
    tcase_add_test(tests, a_full_disk_is_reported);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
