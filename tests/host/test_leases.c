/* SPDX-License-Identifier: Apache-2.0 */
/* The host service lease and the slot reclaim: what is recorded, what is rejected, and what is in the journal
 * afterwards. */
#include "host/host.h"
#include "host/protocol.h"
#include "kolm/kit/file.h"
#include "kolm/kit/json.h"
#include "kolm/kit/text.h"

#include "../suite.h"
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char here[PATH_MAX], program[PATH_MAX], home[PATH_MAX], journal[PATH_MAX + 16];
static host_registry *registry;
static const host_backend *row;
static kit_buf breaches;
static host_result result;

static void must(kit_status status, const kolm_error_t *err) {
    ck_assert_msg(status == KOLM_OK, "%s", err->text);
}

static void put(const char *name, const void *bytes, size_t length, mode_t mode) {
    char path[PATH_MAX + 64];
    kolm_error_t err = KIT_ERROR_INIT;
    kit_format(path, sizeof path, "%s/%s", home, name);
    must(kit_write_file(path, mode, bytes, length, &err), &err);
}

static char *get(const char *name) {
    char path[PATH_MAX + 64];
    kolm_error_t err = KIT_ERROR_INIT;
    kit_buf text = {0};
    kit_format(path, sizeof path, "%s/%s", home, name);
    must(kit_read_file(path, 1u << 20, &text, &err), &err);
    if (text.data == NULL) kit_buf_str(&text, "");
    return text.data;
}

static void setup(void) {
    char path[PATH_MAX + 16];
    kit_buf plugin = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    static const char manifest[] =
        "{\"name\":\"leaser\",\"kind\":\"cloud-serverless\",\"tier\":2,\"train\":true,\"infer\":true,\"airgap\":\"no\","
        "\"billing\":\"per-hour\",\"cost_per_hour_usd\":1.25,\"cold_start_seconds\":7,\"vram_cap_gb\":null,"
        "\"runtime\":\"zoo\",\"summary\":\"Rents.\",\"auth\":[\"LEASER_TOKEN\"],\"requires\":[]}";
    kit_copy(home, sizeof home, "/tmp/kolm-leases-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(home));
    kit_format(journal, sizeof journal, "%s/journal", home);
    kit_format(path, sizeof path, "%s/leaser.so", here);
    must(kit_read_file(path, 64u << 20, &plugin, &err), &err);
    put("leaser.so", plugin.data, plugin.length, 0755);
    put("leaser.json", manifest, sizeof manifest - 1, 0644);
    kit_buf_free(&plugin);
    const char *dirs[] = {home};
    const host_scan_options where = {.dirs = dirs, .dir_count = 1, .program = program};
    must(host_scan(&where, &registry, &err), &err);
    row = host_find(registry, "leaser");
    ck_assert_ptr_nonnull(row);
}

static void teardown(void) {
    kolm_error_t err = KIT_ERROR_INIT;
    host_registry_free(registry);
    kit_buf_free(&breaches);
    must(kit_remove_tree(home, &err), &err);
}

static void on_breach(void *user, const host_breach *breach) {
    (void)user;
    kit_buf_fmt(&breaches, "%s\n", breach->text);
}

static const char *secret_of(void *user, const char *name) {
    (void)user;
    ck_assert_str_eq(name, "LEASER_TOKEN");
    return "canary-0123456789";
}

/* Calls the slot, with the journal unless options->lease_fd is -1. */
static void call(const char *slot, host_call_options options, const kolm_reclaim_args_t *args) {
    static const host_events events = {.breach = on_breach};
    kolm_error_t err = KIT_ERROR_INIT;
    int fd = open(journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    kit_buf_clear(&breaches);
    options.events = &events;
    options.secret = secret_of;
    options.lease_fd = options.lease_fd < 0 ? 0 : fd;
    if (strcmp(slot, "train") == 0)
        must(host_train(registry, row, home, 1, &options, &result, &err), &err);
    else if (strcmp(slot, "detect") == 0)
        must(host_detect(registry, row, &options, &result, &err), &err);
    else if (strcmp(slot, "status") == 0)
        must(host_status(registry, row, false, 0, &options, &result, &err), &err);
    else
        must(host_reclaim(registry, row, args, &options, &result, &err), &err);
    close(fd);
}

static const host_call_options online = {.network = true};

static char *perform(const char *script, host_call_options options) {
    put("script", script, strlen(script), 0644);
    call("train", options, NULL);
    return get("said");
}

/* Reads the journal: returns the number of lines and writes the last one to *out; the caller must free tree. */
static size_t lines_of(host_lease_line *out, cJSON **tree) {
    char *text = get("journal"), *at = text;
    kolm_error_t err = KIT_ERROR_INIT;
    size_t count = 0;
    *tree = NULL;
    while (*at != '\0') {
        size_t n = strcspn(at, "\n");
        ck_assert_int_eq(at[n], '\n');
        if (n > 0) {
            cJSON_Delete(*tree);
            must(kit_json_parse(at, n, tree, &err), &err);
            ck_assert(host_read_lease_line(*tree, out));
            count++;
        }
        at += n + 1;
    }
    free(text);
    return count;
}

START_TEST(test_records) {
    host_lease_line line;
    cJSON *tree;
    char *said = perform("0 kolm-1 - instance us-east 1xH100 2500000 0\n"
                         "1 kolm-1 i-0abc/7:x - - - 18446744073709551615 0\n"
                         "2 kolm-1 - - - - 0 1234\n"
                         "2 kolm-1 - - - - 0 99\n",
                         online);
    ck_assert_msg(result.verdict == HOST_OK, "%s", result.error.text);
    ck_assert_str_eq(said, "0 \n0 \n0 \n0 \n");
    ck_assert_str_eq(kit_buf_text(&breaches), "");
    ck_assert_uint_eq(lines_of(&line, &tree), 3); /* the second GONE is not recorded */
    ck_assert_str_eq(line.event, "gone");
    ck_assert_str_eq(line.name, "kolm-1");
    ck_assert_uint_eq(line.billed_micro_usd, 1234);
    ck_assert_uint_eq(line.price_micro_usd_per_hour, UINT64_MAX);
    cJSON_Delete(tree);
    free(said);
}
END_TEST

/* script, the expected result ("" any), and the number of records afterwards. */
static void refused(const char *script, const char *code, const char *breach, size_t on_record) {
    host_lease_line line;
    cJSON *tree;
    (void)unlink(journal);
    char *said = perform(script, online);
    char *last = strrchr(said, '\n');
    ck_assert_ptr_nonnull(last);
    *last = '\0';
    last = strrchr(said, '\n');
    last = last ? last + 1 : said;
    ck_assert_msg(strncmp(last, code, strlen(code)) == 0, "%s: %s", script, last);
    ck_assert_msg(strstr(kit_buf_text(&breaches), breach) != NULL, "%s: %s", script, kit_buf_text(&breaches));
    ck_assert_uint_eq(lines_of(&line, &tree), on_record);
    cJSON_Delete(tree);
    free(said);
}

#define INTENT "0 kolm-1 - instance us-east - 5 0\n"

START_TEST(test_out_of_turn) {
    refused("1 kolm-1 i-1 - - - 0 0\n", "9 kolm-1 has no intent", "a lease was recorded with a handle, and without", 0);
    refused("2 kolm-1 - - - - 0 0\n", "9 kolm-1 has no intent", "a lease was recorded with its end, and without", 0);
    refused(INTENT INTENT, "6 ", "the name of a lease is already recorded", 1);
    refused(INTENT "1 kolm-2 i-1 - - - 0 0\n", "9 kolm-2", "without an intent", 1);
    refused(INTENT "2 kolm-1 - - - - 0 0\n1 kolm-1 i-1 - - - 0 0\n", "9 kolm-1 is recorded as gone",
            "is gone; it was refused", 2);
    refused(INTENT "2 kolm-1 - - - - 0 0\n" INTENT, "6 ", "already recorded", 2);
}
END_TEST

START_TEST(test_what_is_no_record) {
    static const struct {
        const char *script, *field;
    } bad[] = {
        {"7 kolm-1 - instance us - 0 0\n", "the event of a lease"},
        {"0 - - instance us - 0 0\n", "the name of a lease"},
        {"0 NULL - instance us - 0 0\n", "the name of a lease"},
        {"0 .. - instance us - 0 0\n", "the name of a lease"},
        {"0 a/b - instance us - 0 0\n", "the name of a lease"},
        {"0 \xc3\xa9 - instance us - 0 0\n", "the name of a lease"},
        {"0 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa - instance us - 0 0\n", "the name of"},
        {"0 kolm-1 i-1 instance us - 0 0\n", "the handle of a lease"},
        {"0 kolm-1 - Instance us - 0 0\n", "the kind of a lease"},
        {"0 kolm-1 - - us - 0 0\n", "the kind of a lease"},
        {"0 kolm-1 - instance - - 0 0\n", "the place of a lease"},
        {"0 kolm-1 - instance \033[2J - 0 0\n", "the place of a lease"},
        {"0 kolm-1 - instance us \xff 0 0\n", "the note of a lease"},
        {"0 kolm-1 - instance us NULL 0 0\n", "the note of a lease"},
        {"0 kolm-1 - instance us - 9223372036854775808 0\n", "the price_micro_usd_per_hour of a lease"},
        {"0 kolm-1 - instance us a-canary-0123456789-b 0 0\n", "contains the value of LEASER_TOKEN"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i].script, "3 ", bad[i].field, 0);
    refused(INTENT "1 kolm-1 - - - - 0 0\n", "3 ", "the handle of a lease", 1);
    refused(INTENT "1 kolm-1 \xc3\xa9 - - - 0 0\n", "3 ", "the handle of a lease", 1);
    refused(INTENT "1 kolm-1 i-1 instance - - 0 0\n", "3 ", "the kind of a lease", 1);
    refused(INTENT "2 kolm-1 - - us - 0 0\n", "3 ", "the place of a lease", 1);
    refused(INTENT "2 kolm-1 - - - - 0 9223372036854775808\n", "3 ", "the billed_micro_usd of a lease", 1);
}
END_TEST

START_TEST(test_where_it_may_not) {
    host_lease_line line;
    cJSON *tree;
    char *said = perform(INTENT, (host_call_options){.network = false});
    ck_assert_msg(strncmp(said, "7 this call has no network", 26) == 0, "%s", said);
    free(said);
    said = perform(INTENT, (host_call_options){.network = true, .lease_fd = -1});
    ck_assert_msg(strncmp(said, "7 this call has no journal", 26) == 0, "%s", said);
    free(said);
    static const char *const taken[] = {"kolm-0", "kolm-1", NULL};
    said = perform(INTENT, (host_call_options){.network = true, .leased = taken});
    ck_assert_msg(strncmp(said, "6 the name kolm-1", 17) == 0, "%s", said);
    free(said);
    call("detect", online, NULL);
    ck_assert_int_eq(result.error.code, KOLM_E_PERMISSION_DENIED);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&breaches), "detect: a lease was recorded, and this slot may not rent"));
    call("status", online, NULL);
    ck_assert_int_eq(result.error.code, KOLM_E_PERMISSION_DENIED);
    ck_assert_uint_eq(lines_of(&line, &tree), 0);
}
END_TEST

/* What a call recorded stays in the journal, however the call ends; an incomplete line corrupts no other line. */
START_TEST(test_ends) {
    host_lease_line line;
    cJSON *tree = NULL;
    kolm_error_t err = KIT_ERROR_INIT;
    free(perform(INTENT, online));
    ck_assert_int_eq(result.verdict, HOST_OK);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&breaches), "with 1 lease that is not gone: kolm-1"));
    put("journal", "{\"at\":\"1", 8, 0600);
    put("script", INTENT "die\n", strlen(INTENT) + 4, 0644);
    call("train", online, NULL);
    ck_assert_int_eq(result.verdict, HOST_NO_REPLY);
    char *text = get("journal");
    char *second = strchr(text, '\n');
    ck_assert(strncmp(text, "{\"at\":\"1\n", 9) == 0 && second != NULL);
    must(kit_json_parse(second + 1, strlen(second + 1) - 1, &tree, &err), &err);
    ck_assert(host_read_lease_line(tree, &line));
    ck_assert_str_eq(line.name, "kolm-1");
    cJSON_Delete(tree);
    free(text);
}
END_TEST

START_TEST(test_disk_is_full) {
    put("script", INTENT INTENT, 2 * strlen(INTENT), 0644);
    kit_copy(journal, sizeof journal, "/dev/full");
    call("train", online, NULL);
    char *said = get("said"), *second = strchr(said, '\n');
    ck_assert_msg(strncmp(said, "8 the lease kolm-1 could not be recorded", 40) == 0, "%s", said);
    ck_assert(second != NULL && second[1] == '8'); /* the failed record did not reserve the name */
    free(said);
}
END_TEST

static kolm_reclaim_args_t about(const char *name) {
    return (kolm_reclaim_args_t){
        .age_seconds = 90, .name = name, .handle = "i-1", .kind = "instance", .place = "us-east"};
}

START_TEST(test_reclaim) {
    host_lease_line line;
    cJSON *tree;
    kolm_reclaim_args_t args = about("gone-1");
    call("reclaim", online, &args);
    ck_assert_msg(result.verdict == HOST_OK, "%s", result.error.text);
    ck_assert_uint_eq(result.reclaim.outcome, KOLM_RECLAIM_GONE);
    ck_assert_uint_eq(result.reclaim.billed_micro_usd, 50);
    ck_assert_str_eq(result.reclaim.summary, "gone-1 i-1 instance us-east 90 1");
    ck_assert(result.slots & HOST_SLOT_RECLAIM);
    args = about("running-1");
    call("reclaim", online, &args);
    ck_assert_uint_eq(result.reclaim.outcome, KOLM_RECLAIM_RUNNING);
    args = about("unknown-1");
    call("reclaim", online, &args);
    ck_assert_uint_eq(result.reclaim.outcome, KOLM_RECLAIM_UNKNOWN);
    ck_assert_str_eq(kit_buf_text(&breaches), "");
    args = about("odd-1");
    call("reclaim", online, &args);
    ck_assert_int_eq(result.verdict, HOST_FAILED);
    args = about("fails-1");
    call("reclaim", online, &args);
    ck_assert_str_eq(result.error.text, "the zoo is closed");
    ck_assert_uint_eq(lines_of(&line, &tree), 0);
    args = about("strange-1"); /* belongs to another rental */
    call("reclaim", online, &args);
    ck_assert_int_eq(result.error.code, KOLM_E_PERMISSION_DENIED);
    args = about("forgets-1");
    call("reclaim", online, &args);
    ck_assert_uint_eq(result.reclaim.outcome, KOLM_RECLAIM_GONE);
    ck_assert_ptr_nonnull(strstr(kit_buf_text(&breaches), "the outcome is 2, and GONE was recorded"));
    ck_assert_uint_eq(lines_of(&line, &tree), 1);
    ck_assert_uint_eq(line.billed_micro_usd, 70);
    cJSON_Delete(tree);
}
END_TEST

int main(int argc, char **argv) {
    (void)argc;
    if (!realpath(argv[0], here)) return 2;
    *strrchr(here, '/') = '\0';
    kit_format(program, sizeof program, "%s/../../core/host/kolm-host", here);
    Suite *suite = suite_create("leases");
    TCase *tests = tcase_create("leases");
    tcase_set_timeout(tests, 120);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_test(tests, test_records);
    tcase_add_test(tests, test_out_of_turn);
    tcase_add_test(tests, test_what_is_no_record);
    tcase_add_test(tests, test_where_it_may_not);
    tcase_add_test(tests, test_ends);
    tcase_add_test(tests, test_disk_is_full);
    tcase_add_test(tests, test_reclaim);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
