/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin checked without a terminal, the report as JUnit XML, and the template for new backends. */
#include "conform/author.h"
#include "conform/conform.h"
#include "conform/junit.h"

#include "../suite.h"
#include "kolm/kit/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char place[] = "/tmp/kolm-conform-XXXXXX";
static const char *plugin; /* local-cpu from this build */

static void begin(void) {
    ck_assert_ptr_nonnull(mkdtemp(place));
}

static void end(void) {
    ck_assert_int_eq(kit_remove_tree(place, NULL), KOLM_OK);
    memcpy(place + strlen(place) - 6, "XXXXXX", 6);
}

static const char *below(const char *name) {
    static char path[4][PATH_MAX];
    static size_t at;
    char *out = path[at++ % 4];
    kit_format(out, PATH_MAX, "%s/%s", place, name);
    return out;
}

/* ---- The checks */

static size_t heard;

static void hear(void *user, const check_item *item) {
    const check_report *report = user;
    heard++;
    ck_assert_str_eq(item->name, report->items[heard - 1].name);
}

static check_report *run_checks(const check_options *more) {
    char path[PATH_MAX];
    check_report *report = calloc(1, sizeof *report);
    kolm_error_t err = KIT_ERROR_INIT;
    check_options o = *more;
    ck_assert_ptr_nonnull(report);
    ck_assert_msg(check_find_plugin(plugin, path, &err) == KOLM_OK, "%s", err.text);
    o.plugin = path;
    o.done = hear;
    o.user = report;
    heard = 0;
    ck_assert_msg(check_backend(&o, report, &err) == KOLM_OK, "%s", err.text);
    ck_assert_uint_eq(heard, report->count);
    return report;
}

START_TEST(the_embedded_engine_passes) {
    check_report *report = run_checks(&(check_options){.only = "identity"});
    const check_tally t = check_count(report);
    ck_assert(check_good(&t));
    ck_assert_uint_ge(t.of[CHECK_PASS], 1);
    ck_assert_uint_eq(t.of[CHECK_FAIL], 0);
    ck_assert_str_eq(report->name, "local-cpu");
    free(report);
}
END_TEST

START_TEST(a_pass_that_is_listed_to_fail_is_a_failure) {
    char name[] = "identity", *const listed[] = {name};
    check_report *report = run_checks(&(check_options){.only = "identity", .expected = listed, .expected_count = 1});
    const check_tally t = check_count(report);
    ck_assert_uint_eq(t.of[CHECK_UNEXPECTED_PASS], 1);
    ck_assert(!check_good(&t));
    free(report);
}
END_TEST

START_TEST(names_of_checks_are_known_and_typos_are_not) {
    ck_assert(check_known("detect.soon") && check_known("files"));
    ck_assert(!check_known("detect") && !check_known("detect.sooon") && !check_known(""));
    ck_assert(check_known_prefix("detect") && !check_known_prefix("zzz"));
}
END_TEST

START_TEST(a_plugin_is_called_what_its_link_is_called) {
    char path[PATH_MAX], wanted[PATH_MAX], real[PATH_MAX];
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(check_find_plugin(below("absent.so"), path, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(kit_write_file(below("real.so"), 0644, "x", 1, NULL), KOLM_OK);
    ck_assert_int_eq(symlink("real.so", below("link.so")), 0);
    ck_assert_ptr_nonnull(realpath(place, real));
    kit_format(wanted, sizeof wanted, "%s/link.so", real);
    ck_assert_int_eq(check_find_plugin(below("link.so"), path, &err), KOLM_OK);
    ck_assert_str_eq(path, wanted);
    ck_assert_int_eq(chdir(place), 0);
    ck_assert_int_eq(check_find_plugin("link.so", path, &err), KOLM_OK);
    ck_assert_str_eq(path, wanted);
}
END_TEST

/* ---- JUnit */

START_TEST(the_report_as_xml) {
    static const char wanted[] =
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
        "<testsuite name=\"kolm backend check a&amp;b\" tests=\"5\" failures=\"2\" skipped=\"2\">\n"
        "  <testcase classname=\"a&amp;b\" name=\"files\" time=\"1.002\"/>\n"
        "  <testcase classname=\"a&amp;b\" name=\"loads\" time=\"0.000\"><failure message=\"&lt;&quot;&gt; \\x01 "
        "?\"/></testcase>\n"
        "  <testcase classname=\"a&amp;b\" name=\"slots\" time=\"0.000\"><skipped message=\"\"/></testcase>\n"
        "  <testcase classname=\"a&amp;b\" name=\"test\" time=\"0.000\"><skipped message=\"expected failure: "
        "known\"/></testcase>\n"
        "  <testcase classname=\"a&amp;b\" name=\"status\" time=\"0.000\"><failure message=\"\"/></testcase>\n"
        "</testsuite>\n";
    check_report *report = calloc(1, sizeof *report);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_atomic_file file = {.fd = -1};
    kit_buf text = {0};
    const check_item items[] = {{.name = "files", .outcome = CHECK_PASS, .wall_ms = 1002, .reason = "a remark"},
                                {.name = "loads", .outcome = CHECK_FAIL, .reason = "<\"> \x01 \xEF\xBF\xBE"},
                                {.name = "slots", .outcome = CHECK_SKIP},
                                {.name = "test", .outcome = CHECK_EXPECTED_FAIL, .reason = "known"},
                                {.name = "status", .outcome = CHECK_UNEXPECTED_PASS}};
    ck_assert_ptr_nonnull(report);
    kit_copy(report->name, sizeof report->name, "a&b");
    report->count = sizeof items / sizeof *items;
    memcpy(report->items, items, sizeof items);
    ck_assert_int_eq(kit_atomic_open(below("report.xml"), 0644, &file, &err), KOLM_OK);
    ck_assert_int_eq(check_junit_write(&file, report, &err), KOLM_OK);
    kit_atomic_abort(&file);
    ck_assert_int_eq(kit_read_file(below("report.xml"), 1u << 16, &text, &err), KOLM_OK);
    ck_assert_str_eq(kit_buf_text(&text), wanted);
    kit_buf_free(&text);
    free(report);
}
END_TEST

/* ---- The template */

START_TEST(the_template_has_the_authors_name) {
    static const char *const files[] = {"my-gpu/my-gpu.c", "my-gpu/my-gpu.json", "my-gpu/my-gpu.map",
                                        "my-gpu/meson.build"};
    kolm_error_t err = KIT_ERROR_INIT;
    const char *name = NULL;
    cJSON *manifest = NULL;
    ck_assert_msg(author_template_write(below("my-gpu"), "my-gpu", &err) == KOLM_OK, "%s", err.text);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        kit_buf text = {0};
        ck_assert_int_eq(kit_read_file(below(files[i]), 1u << 20, &text, &err), KOLM_OK);
        ck_assert_msg(strstr(text.data, "example") == NULL && strstr(text.data, "EXAMPLE_") == NULL, "%s", files[i]);
        kit_buf_free(&text);
    }
    ck_assert_int_eq(kit_json_read(below(files[1]), 1u << 16, &manifest, &err), KOLM_OK);
    ck_assert(kit_json_get_string(manifest, "name", &name));
    ck_assert_str_eq(name, "my-gpu");
    cJSON_Delete(manifest);
}
END_TEST

START_TEST(what_is_there_is_not_written_over) {
    kolm_error_t err = KIT_ERROR_INIT;
    struct stat info;
    ck_assert_int_eq(kit_write_file(below("taken"), 0644, "mine", 4, NULL), KOLM_OK);
    ck_assert_int_eq(author_template_write(below("taken"), "taken", &err), KOLM_E_ALREADY_EXISTS);
    ck_assert_int_eq(stat(below("taken"), &info), 0);
    ck_assert_int_eq(info.st_size, 4);
    ck_assert_int_eq(author_template_write(below("no/such/place"), "x", &err), KOLM_E_NOT_FOUND);
}
END_TEST

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    plugin = argv[1];
    Suite *suite = suite_create("conform");
    TCase *tests = tcase_create("conform");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, the_embedded_engine_passes);
    tcase_add_test(tests, a_pass_that_is_listed_to_fail_is_a_failure);
    tcase_add_test(tests, names_of_checks_are_known_and_typos_are_not);
    tcase_add_test(tests, a_plugin_is_called_what_its_link_is_called);
    tcase_add_test(tests, the_report_as_xml);
    tcase_add_test(tests, the_template_has_the_authors_name);
    tcase_add_test(tests, what_is_there_is_not_written_over);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
