/* SPDX-License-Identifier: Apache-2.0 */
/* Helpers for backends: visible devices, estimates that never overflow, tokens that are never shown. */
#include "../suite.h"
#include "kolm/kit/backend.h"

#include <stdlib.h>
#include <string.h>

START_TEST(visible_positions) {
    static const struct {
        const char *list;
        uint32_t index;
        const char *uuid;
        int position;
    } rows[] = {
        {NULL, 3, NULL, 3},
        {"", 0, NULL, -1},
        {"0", 0, NULL, 0},
        {"2,0", 0, NULL, 1},
        {"2,0", 1, NULL, -1},
        {"0,x,1", 1, NULL, -1}, /* the list ends at the first entry that is neither an index nor an id */
        {"-1", 0, NULL, -1},
        {"GPU-ab", 7, "GPU-abcdef", 0},
        {"gpu-ab", 7, "GPU-abcdef", -1}, /* with another prefix it is not a UUID */
        {"GPU-AB", 7, "GPU-abcdef", 0},
        {"GPU-abcdef0", 7, "GPU-abcdef", -1},
        {"1,GPU-abcdef", 0, "GPU-abcdef", 1},
        {"4294967295", UINT32_MAX, "MIG-1", -1}, /* a slice has no index, not even that one */
        {"99999999999999999999", 0, NULL, -1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        ck_assert_msg(kit_visible_position(rows[i].list, rows[i].index, rows[i].uuid) == rows[i].position, "row %zu",
                      i);
}
END_TEST

static kolm_cost_result_t estimate(uint64_t rows, uint64_t bytes, uint64_t price, uint32_t rate) {
    const kolm_cost_args_t args = {.struct_size = (uint32_t)sizeof args,
                                   .rows = rows,
                                   .input_bytes = bytes,
                                   .price_micro_usd_per_hour = price,
                                   .cold_start_seconds = 60,
                                   .recipe = "lora"};
    kolm_cost_result_t result = {.struct_size = (uint32_t)sizeof result};
    ck_assert_int_eq(kit_estimate_lora(&args, rate, &result), KOLM_OK);
    ck_assert_uint_gt(strlen(result.basis), 0);
    return result;
}

START_TEST(an_estimate_by_hand) {
    /* 3 epochs of (4000 / 4 + 16 * 100) tokens at 1000 a second: 7.8 s, after a minute; a dollar an hour. */
    kolm_cost_result_t r = estimate(100, 4000, 1000000, 1000);
    ck_assert_uint_eq(r.duration_ms, 67800);
    ck_assert_uint_eq(r.cost_micro_usd, 67800ull * 1000000 / 3600000);
    ck_assert_uint_eq(r.billing, KOLM_BILLING_PER_HOUR);
    ck_assert_uint_eq(r.confidence, KOLM_CONFIDENCE_NONE);
}
END_TEST

START_TEST(more_never_costs_less) {
    uint64_t duration = 0, cost = 0;
    for (uint64_t rows = 1; rows != 0; rows <<= 1) {
        kolm_cost_result_t r = estimate(rows, rows > UINT64_MAX / 200 ? UINT64_MAX : rows * 200, 2500000, 5500);
        ck_assert_uint_ge(r.duration_ms, duration);
        ck_assert_uint_ge(r.cost_micro_usd, cost);
        ck_assert_uint_ne(r.duration_ms, UINT64_MAX); /* UINT64_MAX would mean unknown */
        duration = r.duration_ms;
        cost = r.cost_micro_usd;
    }
    ck_assert_uint_gt(cost, 1000000000000000ull);
}
END_TEST

START_TEST(what_is_not_known_stays_so) {
    ck_assert_uint_eq(estimate(10, 1000, UINT64_MAX, 1000).cost_micro_usd, UINT64_MAX);
    kolm_cost_result_t r = estimate(10, 1000, 1000000, 0);
    ck_assert_uint_eq(r.duration_ms, UINT64_MAX);
    ck_assert_uint_eq(r.cost_micro_usd, UINT64_MAX);
    ck_assert_uint_eq(estimate(10, 1000, 0, 1000).billing, KOLM_BILLING_FREE);
}
END_TEST

/* ---- Tokens */

static const char *token; /* the value that the host returns; NULL: not set */

static int32_t give(void *user, const char *name, char *buffer, uint64_t capacity, uint64_t *out_length) {
    (void)user;
    ck_assert_str_eq(name, "KOLM_X_TOKEN");
    if (!token) return KOLM_E_NOT_FOUND;
    if (out_length) *out_length = strlen(token);
    return kit_copy(buffer, (size_t)capacity, token) ? KOLM_OK : KOLM_E_OUT_OF_RANGE;
}

static int64_t no_deadline(void *user) {
    (void)user;
    return INT64_MAX;
}

static void ignore_device(void *user, const kolm_device_t *device) {
    (void)user;
    (void)device;
}

START_TEST(tokens) {
    static const struct {
        const char *token;
        uint32_t state;
    } rows[] = {
        {NULL, KOLM_DETECT_ABSENT},
        {"abcdefghijklmnop", KOLM_DETECT_AVAILABLE},
        {"short", KOLM_DETECT_BROKEN},
        {"with a blank in it", KOLM_DETECT_BROKEN},
        {"with-a-line\nfeed-in-it", KOLM_DETECT_BROKEN},
        {"nicht-ascii-\xc3\xa4-zeichen", KOLM_DETECT_BROKEN},
    };
    const kolm_host_v1_t host = {
        .struct_size = (uint32_t)sizeof host, .secret = give, .time_left_ms = no_deadline, .device = ignore_device};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kolm_detect_result_t result = {.struct_size = (uint32_t)sizeof result};
        kolm_error_t err = KIT_ERROR_INIT;
        token = rows[i].token;
        ck_assert_int_eq(kit_detect_token(&host, "KOLM_X_TOKEN", "https://x.example/tokens", "runtime", &result, &err),
                         KOLM_OK);
        ck_assert_uint_eq(result.state, rows[i].state);
        ck_assert_uint_gt(strlen(result.reason), 0);
        if (!token) continue;
        ck_assert_ptr_null(strstr(result.reason, token));
        ck_assert_ptr_null(strstr(result.remedy, token));
    }
}
END_TEST

int main(void) {
    Suite *suite = suite_create("kit-backend");
    TCase *all = tcase_create("all");
    tcase_add_test(all, visible_positions);
    tcase_add_test(all, an_estimate_by_hand);
    tcase_add_test(all, more_never_costs_less);
    tcase_add_test(all, what_is_not_known_stays_so);
    tcase_add_test(all, tokens);
    suite_add_tcase(suite, all);
    return run_suite(suite);
}
