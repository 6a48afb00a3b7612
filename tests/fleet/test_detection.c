/* SPDX-License-Identifier: Apache-2.0 */
/* The record of a detection: it is read back as it was written, and nothing else is accepted as one. */
#include "fleet/detection.h"

#include "../suite.h"

#include <string.h>

static const host_result answer = {
    .verdict = HOST_OK,
    .wall_ms = 12,
    .loaded = true,
    .slots = HOST_SLOT_DETECT | HOST_SLOT_INFER,
    .version = "1.2",
    .vendor = "Acme",
    .licence = "MIT",
    .homepage = "",
    .device_count = 2,
    .devices = {{.name = "small", .memory_kind = KOLM_MEMORY_OWN, .total_memory_bytes = 8, .free_memory_bytes = 1},
                {.name = "large",
                 .id = "GPU-1",
                 .index = 1,
                 .units = 132,
                 .memory_kind = KOLM_MEMORY_SHARED,
                 .total_memory_bytes = 80,
                 .free_memory_bytes = KOLM_MEMORY_UNKNOWN,
                 .driver = "550",
                 .runtime = "12.4"}},
    .detect = {.state = KOLM_DETECT_AVAILABLE, .reason = "two cards", .remedy = "", .runtime = "acme 3"},
};

#define WRITTEN                                                                                                        \
    "{\"state\":\"available\",\"reason\":\"two cards\",\"remedy\":\"\",\"runtime\":\"acme 3\",\"wall_ms\":12,"         \
    "\"devices\":["                                                                                                    \
    "{\"name\":\"small\",\"id\":\"\",\"index\":0,\"units\":0,\"memory\":\"own\",\"total_memory_bytes\":8,"             \
    "\"free_memory_bytes\":1,\"driver\":\"\",\"runtime\":\"\"},"                                                       \
    "{\"name\":\"large\",\"id\":\"GPU-1\",\"index\":1,\"units\":132,\"memory\":\"shared\",\"total_memory_bytes\":80,"  \
    "\"free_memory_bytes\":null,\"driver\":\"550\",\"runtime\":\"12.4\"}],"                                            \
    "\"slots\":{\"detect\":true,\"cost\":false,\"train\":false,\"infer\":true,\"test\":false,\"status\":false},"       \
    "\"version\":\"1.2\",\"vendor\":\"Acme\",\"licence\":\"MIT\",\"homepage\":\"\"}"

static void check_json(const fleet_detection *d, const char *wanted) {
    cJSON *json = fleet_detection_json(d);
    kit_buf line = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_ptr_nonnull(json);
    ck_assert_int_eq(kit_json_line(json, &line, &err), KOLM_OK);
    kit_buf text = {0};
    kit_buf_fmt(&text, "%s", wanted);
    ck_assert_str_eq(kit_buf_text(&line), kit_buf_text(&text));
    kit_buf_free(&line);
    kit_buf_free(&text);
    cJSON_Delete(json);
}

static fleet_detection *read_text(const char *text) {
    cJSON *json = cJSON_Parse(text);
    ck_assert_ptr_nonnull(json);
    fleet_detection *d = fleet_detection_read(json);
    cJSON_Delete(json);
    return d;
}

START_TEST(answers_go_to_json_and_back) {
    fleet_detection *d = fleet_detection_of(&answer), *again = read_text(WRITTEN);
    ck_assert_ptr_nonnull(d);
    ck_assert_ptr_nonnull(again);
    check_json(d, WRITTEN);
    check_json(again, WRITTEN);
    ck_assert_str_eq(fleet_detection_largest(again)->name, "large");
    ck_assert_uint_eq(fleet_device_memory(fleet_detection_largest(again)), 80);
    ck_assert_uint_eq(again->slots, HOST_SLOT_DETECT | HOST_SLOT_INFER);
    fleet_detection_free(d);
    fleet_detection_free(again);
}
END_TEST

START_TEST(an_unqueried_backend_reports_no_more) {
    fleet_detection *d = fleet_detection_new(FLEET_NOT_GRANTED, "it asks for a secret", "grant it");
    ck_assert_ptr_nonnull(d);
    check_json(d, "{\"state\":\"not granted\",\"reason\":\"it asks for a secret\",\"remedy\":\"grant it\"}");
    ck_assert_ptr_null(fleet_detection_largest(d));
    fleet_detection_free(d);
}
END_TEST

START_TEST(states_follow_the_verdict) {
    static const struct {
        host_verdict verdict;
        fleet_state state;
    } cases[] = {{HOST_FAILED, FLEET_FAILED},       {HOST_NOT_LOADED, FLEET_FAILED}, {HOST_CRASHED, FLEET_CRASHED},
                 {HOST_TIMED_OUT, FLEET_TIMED_OUT}, {HOST_NO_REPLY, FLEET_NO_REPLY}, {HOST_SANDBOX, FLEET_FAILED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        host_result result = {.verdict = cases[i].verdict, .error = {.text = "why", .remedy = "how"}};
        fleet_detection *d = fleet_detection_of(&result);
        ck_assert_int_eq(d->state, cases[i].state);
        ck_assert(!fleet_state_is_answer(d->state));
        ck_assert_str_eq(d->reason, "why");
        ck_assert_str_eq(d->remedy, "how");
        ck_assert(d->asked && !d->loaded);
        fleet_detection_free(d);
    }
}
END_TEST

/* If the value of a secret was withheld, "absent" has no meaning. */
START_TEST(a_withheld_secret_leaves_it_available) {
    host_result result = answer;
    result.detect.state = KOLM_DETECT_ABSENT;
    kit_copy(result.withheld, sizeof result.withheld, "ACME_TOKEN");
    fleet_detection *d = fleet_detection_of(&result);
    ck_assert_int_eq(d->state, FLEET_AVAILABLE);
    ck_assert_str_eq(d->reason, "ACME_TOKEN is set; not checked: use kolm compute detect --refresh");
    fleet_detection_free(d);
}
END_TEST

/* Each has one error, as in a file that was damaged or edited by hand. */
START_TEST(what_is_damaged_is_no_detection) {
    static const char *const wrong[][2] = {
        {"\"state\":\"available\"", "\"state\":\"hungry\""},
        {"\"state\":\"available\"", "\"state\":1"},
        {"\"reason\":\"two cards\",", ""},
        {"\"remedy\":\"\",", ""},
        {"\"wall_ms\":12", "\"wall_ms\":-1"},
        {"\"runtime\":\"acme 3\"", "\"runtime\":3"},
        {"\"memory\":\"own\"", "\"memory\":\"lent\""},
        {"\"units\":132", "\"units\":4294967296"},
        {"\"total_memory_bytes\":80", "\"total_memory_bytes\":-80"},
        {"\"free_memory_bytes\":null", "\"free_memory_bytes\":\"1\""},
        {"\"status\":false", "\"status\":0"},
        {"\"slots\":{", "\"slots\":[],\"other\":{"},
        {"\"devices\":[", "\"devices\":{},\"other\":["},
        {"\"vendor\":\"Acme\",", ""},
    };
    char text[sizeof WRITTEN + 64];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *at = strstr(WRITTEN, wrong[i][0]);
        ck_assert_ptr_nonnull(at);
        kit_format(text, sizeof text, "%.*s%s%s", (int)(at - WRITTEN), WRITTEN, wrong[i][1], at + strlen(wrong[i][0]));
        ck_assert_msg(read_text(text) == NULL, "read: %s", text);
    }
    ck_assert_ptr_null(fleet_detection_read(NULL));
}
END_TEST

START_TEST(a_text_that_is_too_long_is_not_cut) {
    kit_buf text = {0};
    kit_buf_str(&text, "{\"state\":\"absent\",\"remedy\":\"\",\"reason\":\"");
    for (size_t i = 0; i < sizeof((fleet_detection *)NULL)->reason; i++)
        kit_buf_char(&text, 'r');
    kit_buf_str(&text, "\"}");
    ck_assert_ptr_null(read_text(kit_buf_text(&text)));
    kit_buf_free(&text);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("detection");
    TCase *tests = tcase_create("detection");
    tcase_add_test(tests, answers_go_to_json_and_back);
    tcase_add_test(tests, an_unqueried_backend_reports_no_more);
    tcase_add_test(tests, states_follow_the_verdict);
    tcase_add_test(tests, a_withheld_secret_leaves_it_available);
    tcase_add_test(tests, what_is_damaged_is_no_detection);
    tcase_add_test(tests, a_text_that_is_too_long_is_not_cut);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
