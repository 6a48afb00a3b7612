/* SPDX-License-Identifier: Apache-2.0 */
/* The state machine of a queued job: every fault, every pair of faults, thousands of random orders of many, and kolm
 * killed in any call. */
#include "../suite.h"
#include "fake_queue.h"
#include "kolm/kit/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STEPS_MOST 5000

typedef struct run_options {
    int kind; /* 0: named, 1: nameless, 2: bare: no upload, no price, no names */
    size_t cancel_at;
    uint64_t budget;
    bool fast; /* a job must start, and an unknown state end, within a minute */
} run_options;

static const kit_queue_provider *const providers[] = {&fake_named_queue, &fake_nameless_queue, &fake_bare_queue};

static kit_queue_plan plan_of(fake_queue *f, run_options o) {
    return (kit_queue_plan){.provider = providers[o.kind],
                            .provider_state = f,
                            .journal = &fake_queue_journal,
                            .journal_user = f,
                            .name = "kolm-job-1",
                            .what = "a job",
                            .budget_micro_usd = o.budget,
                            .deadline_ms = 3600000,
                            .start_ms = o.fast ? 60000 : 0,
                            .unknown_ms = o.fast ? 60000 : 300000,
                            .give_up_ms = 300000,
                            .poll_ms = 1000};
}

static void drive(fake_queue *f, kit_queue *q, size_t cancel_at) {
    size_t steps = 0;
    while (!kit_queue_ended(q) && !f->dead) {
        ck_assert_msg(++steps < STEPS_MOST, "it does not end, in %s", kit_queue_state_name(q->state));
        if (q->due_ms > f->now) f->now = q->due_ms;
        f->now += 100; /* duration of a call */
        kit_queue_step(q, f->now, cancel_at != 0 && steps >= cancel_at);
    }
}

/* What holds at the end, whatever happened. */
static void check_end(const fake_queue *f, const kit_queue *q) {
    queue_check(f);
    if (f->dead) return;
    ck_assert_msg((q->state == KIT_QUEUE_GONE) == (queue_open_records(f) == 0 || q->reclaiming) ||
                      q->state == KIT_QUEUE_LOST,
                  "%s with %zu records", kit_queue_state_name(q->state), queue_open_records(f));
    if (q->state == KIT_QUEUE_LOST) {
        ck_assert(q->left.code == KOLM_E_UNKNOWN && q->left.text[0] != '\0' && q->left.remedy[0] != '\0');
        ck_assert_uint_ge(queue_open_records(f), 1);
    } else if (!q->reclaiming) {
        ck_assert_uint_eq(queue_alive(f, false) + queue_alive(f, true), 0);
    }
    if (!q->reclaiming) {
        ck_assert_msg(q->fetched == (q->error.code == KOLM_OK), "fetched %d, and the error is: %s", q->fetched,
                      q->error.text);
        ck_assert(q->fetched == f->fetched);
        ck_assert_msg(q->may_be_billed || f->item_count == 0 || f->submits == 0 || queue_alive(f, false) == 0,
                      "a job runs, and may not be billed");
    }
    ck_assert(q->error.code == KOLM_OK || q->error.text[0] != '\0');
}

/* Starts kolm again, with a provider that works normally again. */
static void reap(fake_queue *f, int kind) {
    kit_queue_plan plan = plan_of(f, (run_options){.kind = kind});
    f->dead = false;
    f->dies_at = 0;
    f->seed = 0;
    f->scripted = 0;
    for (size_t i = 0; i < f->record_count; i++) {
        queue_record *record = &f->records[i];
        kolm_error_t err = KIT_ERROR_INIT;
        kit_queue q;
        if (!record->open) continue;
        ck_assert_int_eq(
            kit_queue_reclaim(&q, &plan, record->name, record->handle, (uint64_t)(f->now - record->at), f->now, &err),
            KOLM_OK);
        drive(f, &q, 0);
        check_end(f, &q);
        bool is_job = strstr(record->name, KIT_QUEUE_FILES) == NULL;
        bool unknowable = kind != 0 && is_job && record->handle[0] == '\0';
        ck_assert_msg(q.state == (unknowable ? KIT_QUEUE_LOST : KIT_QUEUE_GONE), "%s is %s: %s", record->name,
                      kit_queue_state_name(q.state), q.left.text);
        if (unknowable) { /* as a person would do after checking */
            record->open = false;
            for (size_t k = 0; k < f->item_count; k++)
                if (!f->items[k].file) f->items[k].ends = f->now;
        }
    }
    ck_assert_uint_eq(queue_alive(f, false) + queue_alive(f, true), 0);
    ck_assert_uint_eq(queue_open_records(f), 0);
}

static kit_queue run(fake_queue *f, run_options o) {
    kit_queue_plan plan = plan_of(f, o);
    kolm_error_t err = KIT_ERROR_INIT;
    kit_queue q;
    f->now = 1000000;
    ck_assert_int_eq(kit_queue_begin(&q, &plan, f->now, &err), KOLM_OK);
    drive(f, &q, o.cancel_at);
    check_end(f, &q);
    if (f->dead || q.state == KIT_QUEUE_LOST) reap(f, o.kind);
    q.plan = NULL;
    return q;
}

START_TEST(test_all_goes_well) {
    for (int kind = 0; kind < 3; kind++) {
        fake_queue f = {0};
        kit_queue q = run(&f, (run_options){.kind = kind, .budget = kind < 2 ? QUEUE_PRICE : 0});
        ck_assert_int_eq(q.state, KIT_QUEUE_GONE);
        ck_assert_int_eq(q.error.code, KOLM_OK);
        ck_assert(q.fetched && f.submits == 1 && f.cancels == 0 && q.may_be_billed);
        ck_assert_uint_eq(q.seen.billed_micro_usd, QUEUE_PRICE);
        ck_assert_uint_eq(f.item_count, kind == 2 ? 1 : 2);
    }
}
END_TEST

/* ---- Replaces each choice of a successful run by each alternative; then each pair of choices. */

static size_t deviate(const fake_queue *before, run_options o, size_t from, unsigned more) {
    size_t runs = 0;
    for (size_t at = from; at < before->chosen && at < QUEUE_CHOICES; at++)
        for (unsigned choice = 1; choice < before->radix[at]; choice++) {
            fake_queue *f = calloc(1, sizeof *f);
            ck_assert_ptr_nonnull(f);
            memcpy(f->script, before->script, at);
            f->script[at] = (unsigned char)choice;
            f->scripted = at + 1;
            kit_queue q = run(f, o);
            /* So few faults do not exhaust the retries; only a job without a name cannot be found again. */
            ck_assert_msg(q.state == KIT_QUEUE_GONE || o.kind != 0, "%s: %s", kit_queue_state_name(q.state),
                          q.left.text);
            runs++;
            if (more > 0) {
                memset(f->script + at + 1, 0, QUEUE_CHOICES - at - 1);
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
    for (int kind = 0; kind < 3; kind++) {
        fake_queue f = {0};
        (void)run(&f, (run_options){.kind = kind});
        size_t runs = deviate(&f, (run_options){.kind = kind}, 0, faults() - 1);
        ck_assert_uint_gt(runs, faults() == 1 ? 20 : 400);
    }
}
END_TEST

START_TEST(test_every_fault_and_a_cancel) {
    const size_t step = 32 / test_draws(32, 8);
    for (size_t cancel_at = 1; cancel_at < 32; cancel_at++) {
        fake_queue f = {0};
        kit_queue q = run(&f, (run_options){.cancel_at = cancel_at});
        ck_assert_int_eq(q.state, KIT_QUEUE_GONE);
        ck_assert(q.error.code == KOLM_E_CANCELLED || f.fetched);
        if (cancel_at <= 5) ck_assert_uint_eq(f.submits, 0);
        if (cancel_at % step == 0) (void)deviate(&f, (run_options){.cancel_at = cancel_at}, 0, 0);
    }
}
END_TEST

START_TEST(test_many_faults) {
    const size_t runs = test_draws(6000, 200);
    for (unsigned i = 1; i <= runs; i++) {
        fake_queue f = {.seed = i, .calm = i % 16, .never_starts = i % 11 == 0, .endless = i % 13 == 0};
        (void)run(&f, (run_options){.kind = (int)(i % 3),
                                    .cancel_at = i % 5 == 0 ? i % 40 : 0,
                                    .budget = i % 7 == 0 ? QUEUE_PRICE : 0,
                                    .fast = i % 2 == 0});
    }
}
END_TEST

/* kill -9 in every call, before and after its effect, in a successful run and in runs with faults. */
START_TEST(test_killed_anywhere) {
    const size_t seeds = test_draws(60, 4);
    for (unsigned seed = 0; seed < seeds; seed++)
        for (size_t call = 1; call < 40; call++)
            for (int after = 0; after < 2; after++)
                for (int kind = 0; kind < 3; kind++) {
                    fake_queue f = {.seed = seed, .calm = 10, .dies_at = call, .dies_after = after != 0};
                    (void)run(&f, (run_options){.kind = kind});
                }
}
END_TEST

/* ---- Results of single sequences. The choices of a run: intent of the files, upload, handle, the check of the files,
 * price, intent of the job, submit, handle, ... */

static kit_queue with_script(fake_queue *f, const char *choices, run_options o) {
    for (; *choices != '\0'; choices++)
        f->script[f->scripted++] = (unsigned char)(*choices - '0');
    return run(f, o);
}

START_TEST(test_price_and_permission) {
    fake_queue f = {0};
    kit_queue q = with_script(&f, "00002", (run_options){0});
    ck_assert_int_eq(q.error.code, KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(q.error.text, "does not allow this job"));
    ck_assert(f.submits == 0 && q.state == KIT_QUEUE_GONE && !q.may_be_billed);
    fake_queue dear = {0};
    q = with_script(&dear, "00004", (run_options){.budget = QUEUE_PRICE * 2});
    ck_assert_int_eq(q.error.code, KOLM_E_RESOURCE_EXHAUSTED);
    ck_assert_ptr_nonnull(strstr(q.error.text, "2.0000 USD, which is more than the budget of 1.0000"));
    fake_queue unknown = {0};
    q = with_script(&unknown, "00003", (run_options){.budget = QUEUE_PRICE * 2});
    ck_assert_int_eq(q.error.code, KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(q.error.text, "cannot say what the job will cost"));
    fake_queue bare = {0};
    q = run(&bare, (run_options){.kind = 2, .budget = 1});
    ck_assert(q.error.code == KOLM_E_FAILED_PRECONDITION && bare.submits == 0);
}
END_TEST

START_TEST(test_lost_answer_that_submitted) {
    fake_queue f = {0};
    kit_queue q = with_script(&f, "0000003", (run_options){0});
    ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_OK && f.fetched); /* found by its name, and used */
    fake_queue lost = {0};
    q = with_script(&lost, "0000002", (run_options){0});
    ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_E_UNKNOWN && lost.submits == 1 && !q.may_be_billed);
    fake_queue nameless = {0};
    q = with_script(&nameless, "0000003", (run_options){.kind = 1});
    ck_assert(q.state == KIT_QUEUE_LOST && q.may_be_billed && nameless.submits == 1);
    ck_assert_ptr_nonnull(strstr(q.left.text, "it is not submitted again"));
}
END_TEST

/* An upload and a submission wait for their answers longer than a new file or job may stay invisible. */
START_TEST(test_calls_that_take_long) {
    fake_queue f = {.send_ms = 90000};
    kit_queue q = with_script(&f, "00000032222", (run_options){0}); /* no list shows the job yet */
    ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_OK && f.fetched && f.submits == 1);
    fake_queue files = {.send_ms = 90000};
    q = with_script(&files, "023333", (run_options){0}); /* nor the rows, whose upload failed */
    ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_E_UNKNOWN && queue_alive(&files, true) == 0);
}
END_TEST

/* Uploads and results in parts, each of which takes most of the time for which kolm is patient: that is not waiting. */
START_TEST(test_parts_that_take_long) {
    for (int check = 0; check < 2; check++) {
        fake_queue f = {.check_parts = check ? 5 : 0, .fetch_parts = check ? 0 : 5, .part_ms = 200000};
        kit_queue q = run(&f, (run_options){0});
        ck_assert_msg(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_OK && f.fetched, "%s", q.error.text);
    }
}
END_TEST

/* Calls that succeed, one after the other, and nothing is ever done. */
START_TEST(test_parts_without_end) {
    for (int check = 0; check < 2; check++) {
        fake_queue f = {.check_parts = check ? SIZE_MAX : 0, .fetch_parts = check ? 0 : SIZE_MAX, .part_ms = 100};
        kit_queue q = run(&f, (run_options){0});
        ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_E_DEADLINE_EXCEEDED && !f.fetched);
        ck_assert_ptr_nonnull(
            strstr(q.error.text, check ? "did not accept the uploaded rows" : "did not return the results"));
        ck_assert_int_lt(f.now, 1000000 + 2 * 300000);
    }
}
END_TEST

/* The list fails for a minute, longer than a new job may stay invisible: the job does not count as absent. */
START_TEST(test_find_is_away) {
    fake_queue f = {.find_back = 1000000 + 60000};
    kit_queue q = with_script(&f, "0000003", (run_options){0});
    ck_assert(q.state == KIT_QUEUE_GONE && f.fetched);
}
END_TEST

START_TEST(test_cancel_that_does_not_take) {
    fake_queue f = {.endless = true, .cancel_back = 1000000 + 120000};
    kit_queue q = run(&f, (run_options){.cancel_at = 12});
    ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_E_CANCELLED && f.cancels > 2);
    fake_queue never = {.endless = true, .cancel_back = INT64_MAX};
    kit_queue_plan plan = plan_of(&never, (run_options){0});
    kolm_error_t err = KIT_ERROR_INIT;
    never.now = 1000000;
    ck_assert_int_eq(kit_queue_begin(&q, &plan, never.now, &err), KOLM_OK);
    drive(&never, &q, 12);
    check_end(&never, &q);
    ck_assert(q.state == KIT_QUEUE_LOST && queue_alive(&never, false) == 1 && queue_alive(&never, true) == 0);
    never.cancel_back = 0;
    reap(&never, 0);
}
END_TEST

START_TEST(test_starts_and_words) {
    fake_queue f = {.never_starts = true};
    kit_queue q = run(&f, (run_options){.fast = true});
    ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_E_DEADLINE_EXCEEDED);
    ck_assert_ptr_nonnull(strstr(q.error.text, "did not start the job within 60 s"));
    fake_queue strange = {.strange_word = true, .endless = true};
    q = run(&strange, (run_options){.fast = true});
    ck_assert(q.state == KIT_QUEUE_GONE && q.error.code == KOLM_E_DEADLINE_EXCEEDED && strange.cancels > 0);
    ck_assert_ptr_nonnull(strstr(q.error.text, "which kolm does not know"));
}
END_TEST

START_TEST(test_files_that_stay) {
    fake_queue f = {.remove_back = INT64_MAX};
    kit_queue_plan plan = plan_of(&f, (run_options){0});
    kolm_error_t err = KIT_ERROR_INIT;
    kit_queue q;
    f.now = 1000000;
    ck_assert_int_eq(kit_queue_begin(&q, &plan, f.now, &err), KOLM_OK);
    drive(&f, &q, 0);
    check_end(&f, &q);
    ck_assert(q.state == KIT_QUEUE_LOST && q.fetched && q.error.code == KOLM_OK);
    ck_assert_ptr_nonnull(strstr(q.left.text, "the uploaded rows could not be removed"));
    f.remove_back = 0;
    reap(&f, 0);
}
END_TEST

/* The disk stays full: the results arrive after minutes, and reclaim still ends the job. */
START_TEST(test_ends_that_cannot_be_recorded) {
    fake_queue f = {0};
    kit_queue_plan plan = plan_of(&f, (run_options){0});
    kolm_error_t err = KIT_ERROR_INIT;
    kit_queue q;
    f.now = 1000000;
    ck_assert_int_eq(kit_queue_begin(&q, &plan, f.now, &err), KOLM_OK);
    while (!q.fetched && f.now < 100000000) {
        f.now = q.due_ms > f.now ? q.due_ms : f.now;
        kit_queue_step(&q, f.now, false);
    }
    f.record_back = INT64_MAX;
    int64_t fetched = f.now;
    drive(&f, &q, 0);
    check_end(&f, &q);
    ck_assert(q.state == KIT_QUEUE_LOST && q.fetched && q.error.code == KOLM_OK);
    ck_assert_int_le(f.now - fetched, 180000);
    ck_assert_uint_eq(f.record_count, 2);
    for (size_t i = 0; i < 2; i++) {
        const queue_record *record = &f.records[i];
        ck_assert_int_eq(kit_queue_reclaim(&q, &plan, record->name, record->handle, 100000, f.now, &err), KOLM_OK);
        drive(&f, &q, 0);
        ck_assert_int_eq(q.state, KIT_QUEUE_GONE);
    }
}
END_TEST

/* The machine slept: the clock of a record continues meanwhile, the monotonic clock does not. */
START_TEST(test_a_file_older_than_the_clock) {
    for (int known = 0; known < 2; known++) {
        fake_queue f = {.now = 660000};
        kolm_error_t err = KIT_ERROR_INIT;
        kit_queue q;
        kit_queue_plan plan = plan_of(&f, (run_options){0});
        ck_assert_int_eq(kit_queue_begin(&q, &plan, f.now, &err), KOLM_OK);
        while (queue_alive(&f, true) == 0 || f.records[0].handle[0] == '\0') {
            f.now = (q.due_ms > f.now ? q.due_ms : f.now) + 100;
            kit_queue_step(&q, f.now, false);
        }
        queue_record *record = &f.records[0]; /* kolm is killed here */
        ck_assert(record->open && strstr(record->name, KIT_QUEUE_FILES) != NULL);
        ck_assert_int_eq(kit_queue_reclaim(&q, &plan, record->name, known ? record->handle : "", 28800000, f.now, &err),
                         KOLM_OK);
        drive(&f, &q, 0);
        ck_assert_int_eq(q.state, KIT_QUEUE_GONE);
        ck_assert_uint_eq(queue_alive(&f, true), 0);
    }
}
END_TEST

START_TEST(test_plans_that_lack_something) {
    fake_queue f = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    kit_queue q;
    kit_queue_plan good = plan_of(&f, (run_options){0}), bad = good;
    bad.journal = NULL;
    ck_assert_int_eq(kit_queue_begin(&q, &bad, 0, &err), KOLM_E_INVALID_ARGUMENT);
    bad = good;
    bad.name = "Has blank";
    ck_assert_int_eq(kit_queue_begin(&q, &bad, 0, &err), KOLM_E_INVALID_ARGUMENT);
    bad.name = "a23456789-123456789-123456789-123456789-1";
    ck_assert_int_eq(kit_queue_begin(&q, &bad, 0, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_queue_reclaim(&q, &good, "", "j-1", 0, 0, &err), KOLM_E_INVALID_ARGUMENT);
    static const char *const changed[] = {"../files/x?y", "h 1", "h/1", "..", "h%2f", "h#1", "h\n1"};
    for (size_t i = 0; i < sizeof changed / sizeof *changed; i++)
        ck_assert_int_eq(kit_queue_reclaim(&q, &good, "kolm-1", changed[i], 0, 0, &err), KOLM_E_INVALID_ARGUMENT);
    ck_assert_int_eq(kit_queue_reclaim(&q, &good, "kolm-1", "key:h_1.2-3", 0, 0, &err), KOLM_OK);
    bad = plan_of(&f, (run_options){.kind = 2});
    ck_assert_int_eq(kit_queue_reclaim(&q, &bad, "kolm-job-1-files", "", 0, 0, &err), KOLM_E_INVALID_ARGUMENT);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("rent-queue");
    TCase *machine = tcase_create("machine");
    tcase_set_timeout(machine, 100);
    tcase_add_test(machine, test_all_goes_well);
    tcase_add_test(machine, test_every_pair_of_faults);
    tcase_add_test(machine, test_every_fault_and_a_cancel);
    tcase_add_test(machine, test_many_faults);
    tcase_add_test(machine, test_killed_anywhere);
    tcase_add_test(machine, test_price_and_permission);
    tcase_add_test(machine, test_lost_answer_that_submitted);
    tcase_add_test(machine, test_calls_that_take_long);
    tcase_add_test(machine, test_parts_that_take_long);
    tcase_add_test(machine, test_parts_without_end);
    tcase_add_test(machine, test_find_is_away);
    tcase_add_test(machine, test_cancel_that_does_not_take);
    tcase_add_test(machine, test_starts_and_words);
    tcase_add_test(machine, test_files_that_stay);
    tcase_add_test(machine, test_ends_that_cannot_be_recorded);
    tcase_add_test(machine, test_a_file_older_than_the_clock);
    tcase_add_test(machine, test_plans_that_lack_something);
    suite_add_tcase(suite, machine);
    return run_suite(suite);
}
