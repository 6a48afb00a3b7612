/* SPDX-License-Identifier: Apache-2.0 */
/* How often kolm sends requests to a provider, on the test's clock: queries of a booting machine, and pauses that a
 * provider requests. */
#include "kolm/rent/rent.h"
#include "pace.h"

#include "kolm/kit/buf.h"

#include "../suite.h"

/* The rate of the most patient provider's client while it waits: lambda-ai-cloud-api-client 2.4.1, one query in five
 * seconds. Those of modal and replicate send ten times as many. */
#define CLIENT_LOOKS_A_MINUTE 12u
#define MINUTES 10

typedef struct slow {
    int64_t now, born;
    unsigned looks[MINUTES + 1]; /* per minute since creation */
} slow;

static kit_status offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    (void)state, (void)capacity, (void)err;
    *out_count = 1;
    out[0] = (kit_rent_offer){.id = "a", .micro_usd_per_hour = 1000000};
    return KOLM_OK;
}

static kit_status create(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    slow *s = state;
    (void)offer, (void)name, (void)err;
    s->born = s->now;
    *out_may_exist = true;
    kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, "h-1");
    return KOLM_OK;
}

static kit_status look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    slow *s = state;
    int64_t minute = (s->now - s->born) / 60000;
    (void)err;
    s->looks[minute < MINUTES ? minute : MINUTES]++;
    *out = (kit_rent_box){.life = KIT_RENT_BOOTING, .micro_usd_per_hour = 1000000};
    kit_copy(out->handle, sizeof out->handle, handle);
    return KOLM_OK;
}

static kit_status destroy(void *state, const char *handle, kolm_error_t *err) {
    (void)state, (void)handle, (void)err;
    return KOLM_OK;
}

static kit_status done(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    (void)user, (void)box, (void)err;
    *out_done = true;
    return KOLM_OK;
}

static kit_status intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    (void)user, (void)name, (void)offer, (void)err;
    return KOLM_OK;
}

static kit_status handle(void *user, const char *name, const char *given, kolm_error_t *err) {
    (void)user, (void)name, (void)given, (void)err;
    return KOLM_OK;
}

static kit_status gone(void *user, const char *name, uint64_t billed, kolm_error_t *err) {
    (void)user, (void)name, (void)billed, (void)err;
    return KOLM_OK;
}

START_TEST(test_polls_a_machine_that_boots) {
    static const kit_rent_provider provider = {
        .name = "slow", .offers = offers, .create = create, .look = look, .destroy = destroy};
    static const kit_rent_work work = {.arm = done, .run = done, .collect = done};
    static const kit_rent_journal journal = {.intent = intent, .handle = handle, .gone = gone};
    slow s = {.now = 1000000};
    const kit_rent_plan plan = {.provider = &provider,
                                .provider_state = &s,
                                .work = &work,
                                .journal = &journal,
                                .prefix = "kolm-pace",
                                .boot_ms = MINUTES * 60000};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_rent rent;
    ck_assert_int_eq(kit_rent_begin(&rent, &plan, s.now, &err), KOLM_OK);
    while (!kit_rent_ended(&rent) && rent.state != KIT_RENT_DESTROYING) {
        if (rent.due_ms > s.now) s.now = rent.due_ms;
        kit_rent_step(&rent, s.now, false);
    }
    ck_assert_int_eq(rent.error.code, KOLM_E_DEADLINE_EXCEEDED);
    ck_assert_uint_le(s.looks[0], CLIENT_LOOKS_A_MINUTE);
    ck_assert_uint_ge(s.looks[0], 10);
    for (int minute = 1; minute < MINUTES; minute++) {
        ck_assert_uint_le(s.looks[minute], CLIENT_LOOKS_A_MINUTE / 4);
        ck_assert_uint_ge(s.looks[minute], 2);
    }
}
END_TEST

START_TEST(test_pause_grows) {
    uint64_t before = 0;
    for (uint64_t age = 0; age < 200000; age += 100) {
        uint64_t pause = rent_pace_pause(5000, age);
        ck_assert_uint_ge(pause, before);
        before = pause;
    }
    ck_assert_uint_eq(rent_pace_pause(5000, 0), 250);
    ck_assert_uint_eq(rent_pace_pause(5000, 30000), 10000);
    ck_assert_uint_eq(before, 20000);
    ck_assert_uint_eq(rent_pace_pause(100, 0), 200); /* a setting with a shorter pause */
    ck_assert_uint_eq(rent_pace_pause(100, 61000), 400);
}
END_TEST

/* A thousand requests as fast as possible, every tenth of which creates. */
START_TEST(test_gaps) {
    const uint32_t gap = 1000, create_gap = 12000;
    int64_t now = 5, asked = 0, created = 0;
    for (int i = 0; i < 1000; i++) {
        bool creates = i % 10 == 0;
        int64_t next = rent_pace_next(gap, create_gap, asked, created, creates);
        if (next > now) now = next;
        if (i > 0) ck_assert_int_ge(now - asked, gap);
        if (creates && i > 0) ck_assert_int_ge(now - created, create_gap);
        asked = now;
        if (creates) created = now;
    }
    ck_assert_int_eq(now, 5 + 99 * (int64_t)create_gap + 9 * (int64_t)gap);
    ck_assert_int_eq(rent_pace_next(0, 0, now, now, true), now);
    ck_assert_int_eq(rent_pace_next(gap, create_gap, 0, 0, true), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rent-pace");
    TCase *pace = tcase_create("pace");
    tcase_add_test(pace, test_polls_a_machine_that_boots);
    tcase_add_test(pace, test_pause_grows);
    tcase_add_test(pace, test_gaps);
    suite_add_tcase(suite, pace);
    return run_suite(suite);
}
