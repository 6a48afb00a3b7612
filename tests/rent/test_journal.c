/* SPDX-License-Identifier: Apache-2.0 */
/* A rental and its record in kolm's journal: the events that the host receives, and a host that accepts none. */
#include "fake.h"
#include "kolm/kit/buf.h"
#include "kolm/rent/journal.h"

#include "../suite.h"
#include <string.h>

typedef struct desk {
    fake f;
    char said[800];
    bool closed;
} desk;

static int32_t on_lease(void *user, const kolm_lease_t *l, kolm_error_t *err) {
    desk *d = user;
    kit_status status = KOLM_OK;
    if (d->closed) return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "free some space", "the disk is full");
    ck_assert_uint_eq(l->struct_size, sizeof *l);
    if (l->event == KOLM_LEASE_INTENT)
        status = fake_journal.intent(&d->f, l->name, NULL, err);
    else if (l->event == KOLM_LEASE_HANDLE)
        status = fake_journal.handle(&d->f, l->name, l->handle, err);
    else
        status = fake_journal.gone(&d->f, l->name, l->billed_micro_usd, err);
    size_t used = strlen(d->said);
    kit_format(d->said + used, sizeof d->said - used, "%u %s '%s' '%s' '%s' %lld;", l->event, l->name, l->handle,
               l->kind, l->place, (long long)l->price_micro_usd_per_hour);
    return status;
}

static void drive(desk *d, const kolm_host_v1_t *host, kit_rent *r, const char *prefix) {
    const kit_rent_host to = {.host = host, .kind = "instance", .place = "us-east"};
    const kit_rent_plan plan = {.provider = &fake_provider,
                                .provider_state = &d->f,
                                .work = &fake_work,
                                .work_user = &d->f,
                                .journal = &kit_rent_host_journal,
                                .journal_user = (void *)(uintptr_t)&to,
                                .prefix = prefix,
                                .poll_ms = 1000};
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_rent_begin(r, &plan, d->f.now, &err), KOLM_OK);
    for (int steps = 0; !kit_rent_ended(r); steps++) {
        ck_assert_int_lt(steps, 500);
        if (r->due_ms > d->f.now) d->f.now = r->due_ms;
        d->f.now += 100;
        kit_rent_step(r, d->f.now, false);
    }
    fake_check(&d->f);
    ck_assert_uint_eq(fake_alive(&d->f), 0);
}

START_TEST(test_what_the_host_gets) {
    static desk d;
    kit_rent r;
    kolm_reclaim_result_t out = {.struct_size = (uint32_t)sizeof out};
    const kolm_host_v1_t host = {
        .struct_size = (uint32_t)sizeof host, .abi_major = 1, .abi_minor = 2, .user = &d, .lease = on_lease};
    drive(&d, &host, &r, "kolm-a");
    ck_assert_int_eq(r.error.code, KOLM_OK);
    ck_assert_str_eq(d.said, "0 kolm-a-1 '' 'instance' 'us-east' 3600000;1 kolm-a-1 'h-1' '' '' -1;"
                             "2 kolm-a-1 '' '' '' -1;");
    kit_rent_reclaimed(&r, &out);
    ck_assert_uint_eq(out.outcome, KOLM_RECLAIM_GONE);
    ck_assert_uint_eq(out.billed_micro_usd, UINT64_MAX);
}
END_TEST

START_TEST(test_nothing_is_rented_off_the_record) {
    static desk d = {.closed = true};
    kit_rent r;
    kolm_host_v1_t host = {
        .struct_size = (uint32_t)sizeof host, .abi_major = 1, .abi_minor = 2, .user = &d, .lease = on_lease};
    drive(&d, &host, &r, "kolm-a");
    ck_assert_str_eq(r.error.text, "the disk is full");
    ck_assert_uint_eq(d.f.box_count, 0);
    host.struct_size = (uint32_t)offsetof(kolm_host_v1_t, lease); /* ABI 1.1 */
    drive(&d, &host, &r, "kolm-b");
    ck_assert_int_eq(r.error.code, KOLM_E_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(r.error.text, "this version of kolm cannot record"));
    ck_assert_uint_eq(d.f.box_count, 0);
    ck_assert_str_eq(d.said, "");
}
END_TEST

START_TEST(test_outcomes) {
    static const struct {
        kit_rent_state state;
        const char *handle;
        uint32_t outcome;
    } cases[] = {
        {KIT_RENT_GONE, "h-1", KOLM_RECLAIM_GONE},    {KIT_RENT_DESTROYING, "h-1", KOLM_RECLAIM_RUNNING},
        {KIT_RENT_INTENT, "", KOLM_RECLAIM_UNKNOWN},  {KIT_RENT_LOST, "", KOLM_RECLAIM_UNKNOWN},
        {KIT_RENT_LOST, "h-1", KOLM_RECLAIM_RUNNING},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kit_rent r = {.state = cases[i].state, .error = KIT_ERROR_INIT};
        kolm_reclaim_result_t out = {.struct_size = (uint32_t)sizeof out};
        kit_copy(r.box.handle, sizeof r.box.handle, cases[i].handle);
        (void)kit_fail(&r.error, KOLM_E_UNAVAILABLE, "", "no answer");
        kit_rent_reclaimed(&r, &out);
        ck_assert_uint_eq(out.outcome, cases[i].outcome);
        ck_assert_str_eq(out.summary, "no answer");
    }
}
END_TEST

START_TEST(test_prefixes) {
    char one[KIT_RENT_PREFIX_BYTES], other[KIT_RENT_PREFIX_BYTES];
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_rent_make_prefix("a-backend-of-thirty-two-bytes-xx", one, &err), KOLM_OK);
    ck_assert_int_eq(kit_rent_make_prefix("a-backend-of-thirty-two-bytes-xx", other, &err), KOLM_OK);
    ck_assert_uint_eq(strlen(one), 40);
    ck_assert_str_ne(one, other);
    ck_assert_uint_eq(strspn(one, "abcdefghijklmnopqrstuvwxyz0123456789-"), 40);
}
END_TEST

START_TEST(test_places) {
    char place[KIT_RENT_PLACE_BYTES];
    kit_rent_place("Lambda", "token 01234567", place);
    ck_assert_str_eq(place, "Lambda (token 01234567)");
    ck_assert(kit_rent_place_is(place, "token 01234567"));
    ck_assert(!kit_rent_place_is(place, "token 0123456"));
    ck_assert(!kit_rent_place_is(place, "oken 01234567"));
    ck_assert(!kit_rent_place_is(place, "token 01234568"));
    ck_assert(!kit_rent_place_is(place, ""));
    ck_assert(kit_rent_place_is("Modal, prod (x) (en-1)", "en-1"));
    ck_assert(!kit_rent_place_is("Modal, prod (en-1) (en-2)", "en-1"));
    ck_assert(kit_rent_place_is("Lambda", "token 01234567")); /* written by an older kolm */
    ck_assert(kit_rent_place_is("", "x"));
    kit_rent_place("Lambda", "", place);
    ck_assert_str_eq(place, "Lambda");
}
END_TEST

static const char *doubt(const char *name, const char *here, const char *recorded) {
    static kolm_reclaim_result_t out;
    out = (kolm_reclaim_result_t){.struct_size = (uint32_t)sizeof out};
    kit_rent_doubt(name, here, recorded, &out);
    ck_assert_uint_eq(out.outcome, KOLM_RECLAIM_UNKNOWN);
    return out.summary;
}

static bool ends_so(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

START_TEST(test_doubts) {
    ck_assert_str_eq(
        doubt("kolm-a-1", "Lambda (token 01234567)", "Lambda (token 89abcdef)"),
        "not found in Lambda (token 01234567), and its record says Lambda (token 89abcdef): use that token "
        "and those settings; if you know it has ended, run `kolm compute reap --forget kolm-a-1`");
    const char *said = doubt("kolm-0123456789abcdef", "RunPod (token 01234567)",
                             "RunPod, ttl 86700 s, endpoint abcdefghijklmn (token 89abcdef)");
    ck_assert_ptr_nonnull(strstr(said, "says RunPod, ttl 86700 s, endpoint abcdefghijklmn (token 89abcdef): use"));
    ck_assert_ptr_nonnull(strstr(said, "in RunPod (token 01234567), and"));
    ck_assert(ends_so(said, "--forget kolm-0123456789abcdef`"));
}
END_TEST

/* Places and names of any length keep the mark of the record and the name complete. */
START_TEST(test_long_doubts) {
    char which[64], text[200], here[KIT_RENT_PLACE_BYTES], recorded[KIT_RENT_PLACE_BYTES], name[64], end[100];
    const size_t step = 2 * (sizeof name / test_draws(sizeof name, 3)); /* even */
    for (size_t mark = 1; mark < sizeof which; mark++)
        for (size_t head = 1; head < 120; head += 7)
            for (size_t length = 1 + (mark + head) % step / 2 * 2; length < sizeof name; length += step) {
                kit_format(which, sizeof which, "%.*s<", (int)mark - 1,
                           "token 89abcdef-0123456789-0123456789-0123456789-0123456789-01234");
                memset(text, 'p', head);
                text[head] = '\0';
                kit_rent_place(text, which, recorded);
                kit_rent_place(text, "token 01234567", here);
                memset(name, 'n', length);
                name[length] = '\0';
                const char *said = doubt(name, here, recorded);
                kit_format(end, sizeof end, "--forget %s`", name);
                ck_assert_msg(ends_so(said, end), "%s", said);
                kit_format(end, sizeof end, "(%s): use", which);
                ck_assert_msg(strstr(said, end) != NULL, "%s", said);
                ck_assert_msg(strncmp(said, "not found", 9) == 0, "%s", said);
            }
}
END_TEST

static int32_t keep_price(void *user, const kolm_lease_t *l, kolm_error_t *err) {
    uint64_t *out = user;
    (void)err;
    *out = l->price_micro_usd_per_hour;
    return KOLM_OK;
}

static uint64_t recorded_price(const char *kind, uint64_t an_hour, uint64_t once) {
    uint64_t price = 1;
    const kolm_host_v1_t host = {
        .struct_size = (uint32_t)sizeof host, .abi_major = 1, .abi_minor = 2, .user = &price, .lease = keep_price};
    kit_rent_host to = {.host = &host, .kind = kind, .place = "here"};
    const kit_rent_offer offer = {.micro_usd_per_hour = an_hour, .micro_usd_once = once};
    kolm_error_t err = KIT_ERROR_INIT;
    ck_assert_int_eq(kit_rent_host_journal.intent(&to, "kolm-a-1", &offer, &err), KOLM_OK);
    return price;
}

/* With only a price that is paid once, the hourly price of an instance is unknown. Without any price an instance or key
 * costs nothing, but the price of a job is always unknown. */
START_TEST(test_prices) {
    ck_assert_uint_eq(recorded_price("instance", 5, 0), 5);
    ck_assert_uint_eq(recorded_price("instance", 5, 7), 5);
    ck_assert_uint_eq(recorded_price("instance", 0, 7), UINT64_MAX);
    ck_assert_uint_eq(recorded_price("instance", 0, 0), 0);
    ck_assert_uint_eq(recorded_price("key", 0, 0), 0);
    ck_assert_uint_eq(recorded_price("job", 0, 7), UINT64_MAX);
    ck_assert_uint_eq(recorded_price("job", 0, 0), UINT64_MAX);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("journal");
    TCase *tests = tcase_create("journal");
    tcase_add_test(tests, test_what_the_host_gets);
    tcase_add_test(tests, test_nothing_is_rented_off_the_record);
    tcase_add_test(tests, test_outcomes);
    tcase_add_test(tests, test_prefixes);
    tcase_add_test(tests, test_places);
    tcase_add_test(tests, test_doubts);
    tcase_add_test(tests, test_long_doubts);
    tcase_add_test(tests, test_prices);
    suite_add_tcase(suite, tests);
    return run_suite(suite);
}
