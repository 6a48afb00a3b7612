/* SPDX-License-Identifier: Apache-2.0 */
/* The functions behind the verbs that manage a home: keys, the default, the picker, quotes, the overview. */
#include "fleet/job_here.h"
#include "fleet/keys.h"
#include "fleet/named.h"
#include "fleet/overview.h"
#include "fleet/picked.h"
#include "fleet/quote.h"

#include "../suite.h"
#include "kolm/kit/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOREIGN                                                                                                        \
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC "       \
    "KEY-----\n"

static char place[] = "/tmp/kolm-fleet-XXXXXX";
static kolm_session session;
static kolm_error_t err;
static session_reason reason;

static const char *below(const char *name) {
    static char path[4][128];
    static size_t at;
    char *out = path[at++ % 4];
    kit_format(out, sizeof *path, "%s/%s", place, name);
    return out;
}

static const char *file_of(const char *name, const char *text) {
    const char *path = below(name);
    ck_assert_int_eq(kit_write_file(path, 0644, text, strlen(text), NULL), KOLM_OK);
    return path;
}

static void begin(void) {
    ck_assert_ptr_nonnull(mkdtemp(place));
    setenv("KOLM_HOME", below("home"), 1);
    unsetenv("KOLM_BACKEND");
    session_init(&session, NULL, (session_sink){0});
    err = (kolm_error_t)KIT_ERROR_INIT;
    reason = SESSION_REASON_NONE;
}

static void end(void) {
    session_free(&session);
    ck_assert_int_eq(kit_remove_tree(place, NULL), KOLM_OK);
    memcpy(place + strlen(place) - 6, "XXXXXX", 6);
}

#define GOOD(call) ck_assert_msg((call) == KOLM_OK, "%s", err.text)

/* ---- Keys */

/* Returns the entry of a key, which must exist. */
static receipt_trusted entry(receipt_keyring *ring, const char *keyid) {
    size_t i = 0;
    while (i < receipt_keyring_count(ring) && strcmp(receipt_keyring_at(ring, i)->key.keyid, keyid) != 0)
        i++;
    ck_assert_msg(i < receipt_keyring_count(ring), "%s is not in the ring", keyid);
    return *receipt_keyring_at(ring, i);
}

START_TEST(a_key_is_trusted_for_one_purpose_at_a_time) {
    fleet_key_trust trust = {.file = file_of("foreign.pem", FOREIGN), .label = "theirs", .to = "2030-01-01"};
    receipt_public key;
    receipt_keyring *ring = NULL;
    char keyid[KIT_SHA256_HEX];
    cJSON *backends = NULL;
    bool revoked = true;
    GOOD(fleet_key_trust_file(&session, &trust, &key, &err));
    GOOD(fleet_keyring_open(&session, &ring, &err));
    ck_assert(entry(ring, key.keyid).trusted && !entry(ring, key.keyid).backends);
    ck_assert_int_ne(entry(ring, key.keyid).valid_to, RECEIPT_NO_END);
    receipt_keyring_free(ring);

    trust.backends = true;
    GOOD(fleet_key_trust_file(&session, &trust, &key, &err));
    GOOD(fleet_keyring_open(&session, &ring, &err));
    ck_assert(entry(ring, key.keyid).trusted && entry(ring, key.keyid).backends);
    receipt_keyring_free(ring);

    /* A prefix of the id is enough; its other trusted uses are kept. */
    char start[13];
    kit_format(start, sizeof start, "%.12s", key.keyid);
    GOOD(fleet_key_untrust(&session, start, keyid, &backends, &revoked, &err));
    ck_assert_str_eq(keyid, key.keyid);
    ck_assert(!revoked);
    cJSON_Delete(backends);
    GOOD(fleet_keyring_open(&session, &ring, &err));
    ck_assert(entry(ring, key.keyid).trusted && !entry(ring, key.keyid).backends);
    receipt_keyring_free(ring);
}
END_TEST

START_TEST(a_revoked_key_stays_revoked) {
    const fleet_key_trust trust = {.file = file_of("foreign.pem", FOREIGN)};
    receipt_public key;
    receipt_keyring *ring = NULL;
    char keyid[KIT_SHA256_HEX];
    GOOD(fleet_key_trust_file(&session, &trust, &key, &err));
    GOOD(fleet_key_revoke(&session, key.keyid, "lost", keyid, &err));
    ck_assert_str_eq(keyid, key.keyid);
    ck_assert_int_eq(fleet_key_trust_file(&session, &trust, &key, &err), KOLM_E_FAILED_PRECONDITION);
    GOOD(fleet_keyring_open(&session, &ring, &err));
    ck_assert(entry(ring, keyid).revoked);
    ck_assert_str_eq(entry(ring, keyid).reason, "lost");
    receipt_keyring_free(ring);
}
END_TEST

START_TEST(a_new_own_key_takes_over) {
    receipt_key *own = NULL;
    receipt_public old, new;
    GOOD(fleet_key_own(&session, &own, &err));
    GOOD(fleet_key_rotate(&session, &old, &new, &err));
    ck_assert_str_eq(old.keyid, receipt_key_public(own)->keyid);
    ck_assert_str_ne(new.keyid, old.keyid);
    receipt_key_free(own);
    GOOD(fleet_key_own(&session, &own, &err));
    ck_assert_str_eq(new.keyid, receipt_key_public(own)->keyid);
    receipt_key_free(own);
}
END_TEST

START_TEST(an_invalid_date_is_quoted_and_nothing_is_trusted) {
    const fleet_key_trust trust = {.file = file_of("foreign.pem", FOREIGN), .from = "yesterday"};
    receipt_public key;
    receipt_keyring *ring = NULL;
    ck_assert_int_eq(fleet_key_trust_file(&session, &trust, &key, &err), KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(err.text, "--from 'yesterday'"));
    GOOD(fleet_keyring_open(&session, &ring, &err));
    ck_assert_uint_eq(receipt_keyring_count(ring), 0);
    receipt_keyring_free(ring);
}
END_TEST

/* ---- Backends by name, and the default */

START_TEST(a_name_is_found_or_its_neighbour_is_named) {
    fleet_registry *registry = NULL;
    fleet_backend *backend = NULL;
    GOOD(fleet_registry_open(&session, &registry, &err));
    GOOD(fleet_named(registry, "local-cpu", &backend, &reason, &err));
    ck_assert_str_eq(backend->name, "local-cpu");
    ck_assert_int_eq(reason, SESSION_REASON_NONE);
    ck_assert_int_ne(fleet_named(registry, "local-cup", &backend, &reason, &err), KOLM_OK);
    ck_assert_ptr_null(backend);
    ck_assert_int_eq(reason, SESSION_REASON_USAGE);
    ck_assert_msg(strstr(err.text, "local-cpu") || strstr(err.remedy, "local-cpu"), "%s; %s", err.text, err.remedy);
    fleet_registry_free(registry);
}
END_TEST

START_TEST(the_default_is_kept_and_taken_back) {
    fleet_default set;
    fleet_overview seen;
    GOOD(fleet_default_set(&session, "local-cpu", &set, &reason, &err));
    ck_assert_str_eq(set.backend->name, "local-cpu");
    ck_assert_int_eq(access(set.config, R_OK), 0);
    fleet_default_free(&set);
    session_free(&session);
    session_init(&session, NULL, (session_sink){0});
    GOOD(fleet_overview_get(&session, INT64_MIN, &seen, &err));
    ck_assert_str_eq(seen.backend, "local-cpu");
    ck_assert_str_eq(seen.by, "config");
    fleet_overview_free(&seen);
    GOOD(fleet_default_set(&session, NULL, &set, &reason, &err));
    fleet_default_free(&set);
    session_free(&session);
    session_init(&session, NULL, (session_sink){0});
    GOOD(fleet_overview_get(&session, INT64_MIN, &seen, &err));
    ck_assert_ptr_null(seen.backend);
    ck_assert_str_eq(seen.by, "picker");
    ck_assert_uint_eq(seen.jobs, 0);
    ck_assert_uint_eq(seen.sums.jobs, 0);
    fleet_overview_free(&seen);
}
END_TEST

/* ---- Picker */

START_TEST(a_record_gives_its_answer_again) {
    fleet_picked picked, again;
    const char *path = below("record.json");
    kit_buf text = {0};
    fleet_pick_request wanted = {.max_tier = {.set = true, .value = 1}};
    GOOD(fleet_pick(&session, &wanted, &picked, &reason, &err));
    ck_assert_ptr_null(picked.record);
    fleet_picked_free(&picked);
    wanted.record = true;
    GOOD(fleet_pick(&session, &wanted, &picked, &reason, &err));
    GOOD(kit_json_pretty(picked.record, &text, &err));
    file_of("record.json", kit_buf_text(&text));
    GOOD(fleet_pick_replay(path, &again, &reason, &err));
    ck_assert_int_eq(picked.result->winner != NULL, again.result->winner != NULL);
    fleet_picked_free(&again);

    /* A record with a different winner than its question yields. */
    cJSON_DeleteItemFromObjectCaseSensitive(picked.record, "ranking");
    ck_assert(kit_json_put(picked.record, "ranking", cJSON_CreateArray()));
    kit_buf_clear(&text);
    GOOD(kit_json_pretty(picked.record, &text, &err));
    file_of("record.json", kit_buf_text(&text));
    ck_assert_int_ne(fleet_pick_replay(path, &again, &reason, &err), KOLM_OK);
    ck_assert_int_eq(reason, SESSION_REASON_VERIFY);
    fleet_picked_free(&again);
    kit_buf_free(&text);
    fleet_picked_free(&picked);

    char word[] = "no-such", *items[] = {word};
    const fleet_pick_request odd = {.exclude = {.items = items, .count = 1}};
    ck_assert_int_ne(fleet_pick(&session, &odd, &picked, &reason, &err), KOLM_OK);
    ck_assert_int_eq(reason, SESSION_REASON_USAGE);
    fleet_picked_free(&picked);
}
END_TEST

/* ---- Quotes */

START_TEST(rows_are_counted_and_blank_lines_are_not) {
    static const struct {
        const char *text;
        uint64_t rows; /* 0: rejected */
    } cases[] = {{"a\nb\n", 2}, {"a\n\n \t\r\nb", 2}, {"a", 1}, {"", 0}, {"\n\n", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fleet_quotes quotes;
        const fleet_quote_request r = {.data = file_of("rows.jsonl", cases[i].text)};
        kit_status status = fleet_quotes_get(&session, &r, &quotes, &err);
        ck_assert_msg((status == KOLM_OK) == (cases[i].rows > 0), "case %zu: %s", i, err.text);
        if (status == KOLM_OK) ck_assert_uint_eq(quotes.job.rows, cases[i].rows);
        if (status == KOLM_OK) ck_assert_uint_eq(quotes.job.input_bytes, strlen(cases[i].text));
        fleet_quotes_free(&quotes);
    }
    fleet_quotes quotes;
    ck_assert_int_eq(kit_write_file(below("binary"), 0644, "a\0b\n", 4, NULL), KOLM_OK);
    ck_assert_int_eq(fleet_quotes_get(&session, &(fleet_quote_request){.data = below("binary")}, &quotes, &err),
                     KOLM_E_INVALID_ARGUMENT);
    fleet_quotes_free(&quotes);
}
END_TEST

START_TEST(every_backend_has_a_place_among_the_quotes) {
    fleet_quotes quotes;
    const fleet_quote_request r = {.rows = {.set = true, .value = 1000}, .parameters = {.set = true, .value = 7}};
    bool answered = false;
    GOOD(fleet_quotes_get(&session, &r, &quotes, &err));
    ck_assert_str_eq(quotes.job.recipe, "lora");
    ck_assert_uint_eq(quotes.job.input_bytes, 120000);
    for (size_t i = 0; i < quotes.registry->count; i++) {
        ck_assert_int_eq(quotes.at[i].answered, quotes.at[i].why[0] == '\0');
        answered = answered || (strcmp(quotes.registry->backends[i].name, "local-cpu") == 0 && quotes.at[i].answered);
    }
    ck_assert(answered);
    fleet_quotes_free(&quotes);
}
END_TEST

/* ---- Job directories */

START_TEST(a_directory_that_is_no_job_is_data_that_is_wrong) {
    static fleet_job_done done;
    const host_events events = {0};
    fleet_job_request r = {.directory = below("absent")};
    ck_assert_int_eq(fleet_job_here(&session, &r, &events, &done, &reason, &err), KOLM_E_NOT_FOUND);
    ck_assert_int_eq(reason, SESSION_REASON_DATA);
    r.directory = place;
    ck_assert_int_ne(fleet_job_here(&session, &r, &events, &done, &reason, &err), KOLM_OK);
    ck_assert_int_eq(reason, SESSION_REASON_DATA);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("home");
    TCase *tests = tcase_create("home");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, a_key_is_trusted_for_one_purpose_at_a_time);
    tcase_add_test(tests, a_revoked_key_stays_revoked);
    tcase_add_test(tests, a_new_own_key_takes_over);
    tcase_add_test(tests, an_invalid_date_is_quoted_and_nothing_is_trusted);
    tcase_add_test(tests, a_name_is_found_or_its_neighbour_is_named);
    tcase_add_test(tests, the_default_is_kept_and_taken_back);
    tcase_add_test(tests, a_record_gives_its_answer_again);
    tcase_add_test(tests, rows_are_counted_and_blank_lines_are_not);
    tcase_add_test(tests, every_backend_has_a_place_among_the_quotes);
    tcase_add_test(tests, a_directory_that_is_no_job_is_data_that_is_wrong);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
