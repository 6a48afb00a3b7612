/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of a rental: every fault, every pair of faults, thousands of random orders of many, and kolm
 * killed in any call. */
#include "../suite.h"
#include "fake.h"
#include "kolm/kit/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MOST 5000

typedef struct run_options {
    bool nameless;
    size_t cancel_at; /* step in which the user cancels; 0: never */
    uint64_t budget;
} run_options;

static kit_rent_plan plan_of(fake *f, bool nameless, uint64_t budget) {
    return (kit_rent_plan){.provider = nameless ? &fake_nameless : &fake_provider,
                           .provider_state = f,
                           .work = &fake_work,
                           .work_user = f,
                           .journal = &fake_journal,
                           .journal_user = f,
                           .prefix = "kolm-job",
                           .budget_micro_usd = budget,
                           .deadline_ms = 3600000,
                           .boot_ms = 60000,
                           .give_up_ms = 300000,
                           .poll_ms = 1000};
}

static void drive(fake *f, kit_rent *r, size_t cancel_at) {
    size_t steps = 0;
    while (!kit_rent_ended(r) && !f->dead) {
        ck_assert_msg(++steps < STEPS_MOST, "it does not end, in %s", kit_rent_state_name(r->state));
        if (r->due_ms > f->now) f->now = r->due_ms;
        f->now += 100; /* duration of a call */
        kit_rent_step(r, f->now, cancel_at != 0 && steps >= cancel_at);
    }
}

/* What holds at the end, whatever happened. */
static void check_end(const fake *f, const kit_rent *r) {
    fake_check(f);
    if (f->dead) return;
    if (r->state == KIT_RENT_GONE) {
        ck_assert_msg(fake_alive(f) == 0, "gone, and a box is billed");
        ck_assert_msg(fake_open_records(f) == 0, "gone, and on record");
        if (!r->reclaiming)
            ck_assert_msg(r->spent_micro_usd + 1 >= fake_bill(f), "counted %llu, billed %llu",
                          (unsigned long long)r->spent_micro_usd, (unsigned long long)fake_bill(f));
        ck_assert_msg(r->error.code != KOLM_OK || f->collected || r->reclaiming, "no error, and nothing was collected");
    } else {
        ck_assert_int_eq(r->error.code, KOLM_E_UNKNOWN);
        ck_assert_uint_ge(fake_open_records(f), 1);
    }
    ck_assert(r->error.code == KOLM_OK || r->error.text[0] != '\0');
}

/* Starts kolm again: recorded boxes are looked for and ended, by a provider that works normally again. */
static void reap(fake *f, bool nameless) {
    kit_rent_plan plan = plan_of(f, nameless, 0);
    f->dead = false;
    f->dies_at = 0;
    f->seed = 0;
    f->scripted = 0;
    for (size_t i = 0; i < f->record_count; i++) {
        fake_record *record = &f->records[i];
        kolm_error_t err = KIT_ERROR_INIT;
        kit_rent r;
        if (!record->open) continue;
        ck_assert_int_eq(
            kit_rent_reclaim(&r, &plan, record->name, record->handle, (uint64_t)(f->now - record->at), f->now, &err),
            KOLM_OK);
        drive(f, &r, 0);
        check_end(f, &r);
        bool unknowable = nameless && record->handle[0] == '\0';
        ck_assert_msg(r.state == (unknowable ? KIT_RENT_LOST : KIT_RENT_GONE), "%s is %s: %s", record->name,
                      kit_rent_state_name(r.state), r.error.text);
        if (unknowable) record->open = false, f->box_count = 0; /* as a person would do after checking */
    }
    ck_assert_uint_eq(fake_alive(f), 0);
    ck_assert_uint_eq(fake_open_records(f), 0);
}

static kit_rent rent(fake *f, run_options o) {
    kit_rent_plan plan = plan_of(f, o.nameless, o.budget);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_rent r;
    f->now = 1000000;
    ck_assert_int_eq(kit_rent_begin(&r, &plan, f->now, &err), KOLM_OK);
    drive(f, &r, o.cancel_at);
    check_end(f, &r);
    if (f->dead || r.state == KIT_RENT_LOST) reap(f, o.nameless);
    r.plan = NULL;
    return r;
}

START_TEST(test_all_goes_well) {
    fake f = {0};
    kit_rent r = rent(&f, (run_options){0});
    ck_assert_int_eq(r.state, KIT_RENT_GONE);
    ck_assert_int_eq(r.error.code, KOLM_OK);
    ck_assert(f.collected && f.armed && f.box_count == 1);
    ck_assert_str_eq(r.name, "kolm-job-1");
    ck_assert_uint_eq(f.boxes[0].price, FAKE_PRICE); /* the cheapest, which was listed last */
}
END_TEST

/* ---- Replaces each choice of a successful run by each alternative; then each pair of choices. */

static size_t deviate(const fake *before, run_options o, size_t from, unsigned more) {
    size_t runs = 0;
    for (size_t at = from; at < before->chosen && at < FAKE_CHOICES; at++)
        for (unsigned choice = 1; choice < before->radix[at]; choice++) {
            fake *f = calloc(1, sizeof *f);
            ck_assert_ptr_nonnull(f);
            memcpy(f->script, before->script, at);
            f->script[at] = (unsigned char)choice;
            f->scripted = at + 1;
            kit_rent r = rent(f, o);
            /* So few faults do not exhaust the retries; only a box without a name cannot be found again. */
            ck_assert_msg(r.state == KIT_RENT_GONE || o.nameless, "%s: %s", kit_rent_state_name(r.state), r.error.text);
            runs++;
            if (more > 0) {
                memset(f->script + at + 1, 0, FAKE_CHOICES - at - 1);
                runs += deviate(f, o, at + 1, more - 1);
            }
            free(f);
        }
    return runs;
}

static unsigned faults(void) {
    return test_under_valgrind() ? 1 : 2;
}

START_TEST(test_every_pair_of_faults) {
    for (int nameless = 0; nameless < 2; nameless++) {
        fake f = {0};
        (void)rent(&f, (run_options){.nameless = nameless != 0});
        size_t runs = deviate(&f, (run_options){.nameless = nameless != 0}, 0, faults() - 1);
        ck_assert_uint_gt(runs, faults() == 1 ? 20 : 400);
    }
}
END_TEST

/* One fault, and a cancel in any step. */
START_TEST(test_every_fault_and_a_cancel) {
    const size_t step = 24 / test_draws(24, 8);
    for (size_t cancel_at = 1; cancel_at < 24; cancel_at++) {
        fake f = {0};
        kit_rent r = rent(&f, (run_options){.cancel_at = cancel_at});
        ck_assert_int_eq(r.state, KIT_RENT_GONE);
        ck_assert(r.error.code == KOLM_E_CANCELLED || f.collected);
        /* the tenth step begins the work */
        if (cancel_at <= 9) ck_assert(r.error.code == KOLM_E_CANCELLED && !f.collected);
        if (cancel_at % step == 0) (void)deviate(&f, (run_options){.cancel_at = cancel_at}, 0, 0);
    }
}
END_TEST

START_TEST(test_many_faults) {
    const size_t runs = test_draws(4000, 200);
    for (unsigned i = 1; i <= runs; i++) {
        fake f = {.seed = i, .calm = i % 16};
        (void)rent(&f, (run_options){.nameless = i % 3 == 0,
                                     .cancel_at = i % 5 == 0 ? i % 40 : 0,
                                     .budget = i % 7 == 0 ? 30000 : 0});
    }
}
END_TEST

/* kill -9 in every call, before and after its effect, in a successful run and in runs with faults. */
START_TEST(test_killed_anywhere) {
    const size_t seeds = test_draws(60, 4);
    for (unsigned seed = 0; seed < seeds; seed++)
        for (size_t call = 1; call < 40; call++)
            for (int after = 0; after < 2; after++)
                for (int nameless = 0; nameless < 2; nameless++) {
                    fake f = {.seed = seed, .calm = 10, .dies_at = call, .dies_after = after != 0};
                    (void)rent(&f, (run_options){.nameless = nameless != 0});
                }
}
END_TEST

/* ---- Results of single sequences */

static kit_rent with_script(fake *f, const char *choices, run_options o) {
    for (; *choices != '\0'; choices++)
        f->script[f->scripted++] = (unsigned char)(*choices - '0');
    return rent(f, o);
}

/* The choices of a run: offers, intent, create, ... */
START_TEST(test_next_offer) {
    fake f = {0};
    kit_rent r = with_script(&f, "001", (run_options){0}); /* no capacity, then success */
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_OK);
    ck_assert_str_eq(r.name, "kolm-job-2");
    fake none = {0};
    /* gone is a choice too: offers, then (intent, create, gone) each */
    r = with_script(&none, "001001001", (run_options){0});
    ck_assert_int_eq(r.state, KIT_RENT_GONE);
    fake broke = {0};
    r = with_script(&broke, "002", (run_options){0});
    ck_assert_int_eq(r.error.code, KOLM_E_PERMISSION_DENIED);
    ck_assert_uint_eq(broke.record_count, 1); /* another offer would be refused too */
}
END_TEST

/* A refusal remains the reason if it could not be recorded at once. */
START_TEST(test_refused_while_the_disk_is_full) {
    fake f = {0};
    kit_rent r = with_script(&f, "0021", (run_options){0});
    ck_assert_int_eq(r.error.code, KOLM_E_PERMISSION_DENIED);
    ck_assert_uint_eq(f.record_count, 1);
}
END_TEST

/* The list fails for a minute, longer than a new box may stay invisible: the box does not count as absent. */
START_TEST(test_list_is_away) {
    fake f = {.list_back = 1000000 + 60000};
    kit_rent r = with_script(&f, "004", (run_options){0});
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_OK);
    ck_assert_uint_eq(f.box_count, 1);
    fake longer = {.list_back = INT64_MAX};
    kit_rent_plan plan = plan_of(&longer, false, 0);
    kolm_error_t err = KIT_ERROR_INIT;
    longer.script[2] = 4;
    longer.scripted = 3;
    longer.now = 1000000;
    ck_assert_int_eq(kit_rent_begin(&r, &plan, longer.now, &err), KOLM_OK);
    drive(&longer, &r, 0);
    check_end(&longer, &r);
    ck_assert_int_eq(r.state, KIT_RENT_LOST);
}
END_TEST

/* destroy reports success but does nothing: the box is ended eventually, or lost and recorded. */
START_TEST(test_destroy_is_away) {
    fake f = {.destroy_back = 1000000 + 120000};
    kit_rent r = rent(&f, (run_options){0});
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_OK);
    fake never = {.destroy_back = INT64_MAX};
    kit_rent_plan plan = plan_of(&never, false, 0);
    kolm_error_t err = KIT_ERROR_INIT;
    never.now = 1000000;
    ck_assert_int_eq(kit_rent_begin(&r, &plan, never.now, &err), KOLM_OK);
    drive(&never, &r, 0);
    check_end(&never, &r);
    ck_assert(r.state == KIT_RENT_LOST && fake_alive(&never) == 1 && fake_open_records(&never) == 1);
    never.destroy_back = 0;
    reap(&never, false);
}
END_TEST

/* The disk stays full: results do not wait for it and are kept, and reclaim still ends the box. */
START_TEST(test_end_that_cannot_be_recorded) {
    fake f = {.record_back = INT64_MAX};
    kit_rent_plan plan = plan_of(&f, false, 0);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_rent r;
    f.now = 1000000;
    ck_assert_int_eq(kit_rent_begin(&r, &plan, f.now, &err), KOLM_OK);
    drive(&f, &r, 0);
    check_end(&f, &r);
    ck_assert(r.state == KIT_RENT_LOST && r.made && f.collected && fake_alive(&f) == 0);
    ck_assert_int_le(f.now - r.struck_ms, 90000);
    ck_assert_int_eq(kit_rent_reclaim(&r, &plan, f.records[0].name, f.records[0].handle, 100000, f.now, &err), KOLM_OK);
    drive(&f, &r, 0);
    ck_assert_int_eq(r.state, KIT_RENT_GONE);
    fake dear = {.record_back = INT64_MAX}; /* the flag is not set without results */
    f.now = dear.now = 1000000;
    plan = plan_of(&dear, false, 0);
    ck_assert_int_eq(kit_rent_begin(&r, &plan, dear.now, &err), KOLM_OK);
    drive(&dear, &r, 6);
    ck_assert(r.state == KIT_RENT_LOST && !r.made && !dear.collected);
}
END_TEST

START_TEST(test_lost_answer_that_created) {
    fake f = {0};
    kit_rent r = with_script(&f, "004", (run_options){0});
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_OK && f.collected); /* found by its name, and used */
    ck_assert_uint_eq(f.box_count, 1);
    fake lost = {0};
    r = with_script(&lost, "003", (run_options){0});
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_OK);
    ck_assert_uint_eq(lost.record_count, 2); /* absent when it should have been visible: another one is created */
    fake nameless = {0};
    r = with_script(&nameless, "004", (run_options){.nameless = true});
    ck_assert(r.state == KIT_RENT_LOST && r.error.code == KOLM_E_UNKNOWN);
}
END_TEST

/* create() waits for its answer longer than a new box may stay invisible and than booting may take. */
START_TEST(test_create_that_takes_long) {
    fake f = {.create_ms = 90000};
    kit_rent r = with_script(&f, "0042222222", (run_options){0}); /* answer lost, and no list shows the box yet */
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_OK && f.collected);
    ck_assert_uint_eq(f.box_count, 1);
    fake known = {.create_ms = 90000};
    r = with_script(&known, "000022222222", (run_options){0}); /* it has a handle, and no query shows it yet */
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_OK && known.collected);
    ck_assert_uint_eq(known.box_count, 1);
}
END_TEST

/* kolm is killed just after create() has had its effect, minutes after the intent, and no list shows the box yet. */
START_TEST(test_killed_after_a_long_create) {
    fake f = {.create_ms = 240000, .dies_at = 3, .dies_after = true};
    kit_rent_plan plan = plan_of(&f, false, 0);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_rent r;
    f.now = 1000000;
    ck_assert_int_eq(kit_rent_begin(&r, &plan, f.now, &err), KOLM_OK);
    drive(&f, &r, 0);
    ck_assert(f.dead && f.box_count == 1 && f.records[0].handle[0] == '\0');
    f.dead = false;
    f.dies_at = f.chosen = 0;
    for (size_t i = 0; i < 8; i++)
        f.script[i] = 2; /* not visible yet */
    f.scripted = 8;
    uint64_t age = (uint64_t)(f.now - f.records[0].at);
    ck_assert_uint_gt(age, FAKE_SETTLE_MS);
    ck_assert_int_eq(kit_rent_reclaim(&r, &plan, f.records[0].name, "", age, f.now, &err), KOLM_OK);
    drive(&f, &r, 0);
    check_end(&f, &r);
    ck_assert(r.state == KIT_RENT_GONE && fake_alive(&f) == 0);
}
END_TEST

static unsigned preparations;

/* An image that does not exist yet. */
static kit_status prepare_long(void *state, kolm_error_t *err) {
    fake *f = state;
    (void)err;
    ck_assert_uint_eq(fake_open_records(f), 0);
    preparations++;
    f->now += 600000;
    return KOLM_OK;
}

static kit_status prepare_in_vain(void *state, kolm_error_t *err) {
    (void)state;
    return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "wait", "the image cannot be made");
}

static kit_rent rent_prepared(fake *f, kit_status (*prepare)(void *state, kolm_error_t *err), uint64_t budget) {
    kit_rent_provider provider = fake_provider;
    kit_rent_plan plan = plan_of(f, false, budget);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_rent r;
    provider.prepare = prepare;
    plan.provider = &provider;
    f->now = 1000000;
    ck_assert_int_eq(kit_rent_begin(&r, &plan, f->now, &err), KOLM_OK);
    drive(f, &r, 0);
    check_end(f, &r);
    r.plan = NULL;
    return r;
}

/* Ten minutes of preparation would use up the budget fifteen times. It is done once, though the first offer is gone. */
START_TEST(test_preparing_is_not_billed) {
    fake f = {.script = {0, 0, 1}, .scripted = 3};
    kit_rent r = rent_prepared(&f, prepare_long, 40000);
    ck_assert_msg(r.error.code == KOLM_OK && f.collected, "%s", r.error.text);
    ck_assert_uint_eq(f.record_count, 2);
    ck_assert_uint_eq(preparations, 1);
    ck_assert_uint_lt(r.spent_micro_usd, 40000);
    fake none = {0};
    r = rent_prepared(&none, prepare_in_vain, 0);
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_uint_eq(none.record_count, 0);
}
END_TEST

START_TEST(test_price_that_rose) {
    fake f = {0};
    kit_rent r = with_script(&f, "006", (run_options){0});
    ck_assert(r.state == KIT_RENT_GONE && r.error.code == KOLM_E_FAILED_PRECONDITION && !f.armed);
    ck_assert_ptr_nonnull(strstr(r.error.text, "price has risen"));
}
END_TEST

/* Work that never ends: the budget ends it, or else the deadline. */
START_TEST(test_budget_and_deadline) {
    fake f = {.endless = true};
    kit_rent r = rent(&f, (run_options){.budget = 40000});
    ck_assert_int_eq(r.error.code, KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_ptr_nonnull(strstr(r.error.text, "budget of 0.04 USD"));
    ck_assert_uint_ge(fake_bill(&f), 40000);
    ck_assert_uint_le(fake_bill(&f), 50000); /* a second costs 1000, and polling takes time */
    fake slow = {.endless = true};
    r = rent(&slow, (run_options){0});
    ck_assert_int_eq(r.error.code, KOLM_E_DEADLINE_EXCEEDED);
    ck_assert_uint_le(fake_bill(&slow), 3600000 + 10000);
}
END_TEST

START_TEST(test_plans_that_lack_something) {
    fake f = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_rent r;
    kit_rent_plan good = plan_of(&f, false, 0), bad = good;
    bad.journal = NULL;
    ck_assert_int_eq(kit_rent_begin(&r, &bad, 0, &err), KOLM_E_INVALID_ARGUMENT);
    bad = good;
    bad.prefix = "has blank";
    ck_assert_int_eq(kit_rent_begin(&r, &bad, 0, &err), KOLM_E_INVALID_ARGUMENT);
    bad.prefix = "";
    ck_assert_int_eq(kit_rent_begin(&r, &bad, 0, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_rent_reclaim(&r, &good, "", "h-1", 0, 0, &err), KOLM_E_INVALID_ARGUMENT);
    static const char *const changed[] = {"../files/x?y", "h 1", "h/1", "..", "h%2f", "h#1", "h\n1"};
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        ck_assert_int_eq(kit_rent_reclaim(&r, &good, "kolm-1", changed[i], 0, 0, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_rent_reclaim(&r, &good, "kolm-1", "key:h_1.2-3", 0, 0, &err), KOLM_OK);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rent");
    TCase *machine = tcase_create("machine");
    tcase_set_timeout(machine, 100);
    tcase_add_test(machine, test_all_goes_well);
    tcase_add_test(machine, test_every_pair_of_faults);
    tcase_add_test(machine, test_every_fault_and_a_cancel);
    tcase_add_test(machine, test_many_faults);
    tcase_add_test(machine, test_killed_anywhere);
    tcase_add_test(machine, test_next_offer);
    tcase_add_test(machine, test_lost_answer_that_created);
    tcase_add_test(machine, test_refused_while_the_disk_is_full);
    tcase_add_test(machine, test_list_is_away);
    tcase_add_test(machine, test_destroy_is_away);
    tcase_add_test(machine, test_end_that_cannot_be_recorded);
    tcase_add_test(machine, test_create_that_takes_long);
    tcase_add_test(machine, test_killed_after_a_long_create);
    tcase_add_test(machine, test_preparing_is_not_billed);
    tcase_add_test(machine, test_price_that_rose);
    tcase_add_test(machine, test_budget_and_deadline);
    tcase_add_test(machine, test_plans_that_lack_something);
    suite_add_tcase(suite, machine);
    return run_suite(suite);
}
