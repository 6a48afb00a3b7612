/* SPDX-License-Identifier: Apache-2.0 */
/* The provider of the tests: boxes, a clock, and choices. */
#include "fake.h"
#include "../suite.h"
#include "kolm/kit/buf.h"

#include <string.h>

unsigned fake_choose(fake *f, unsigned count) {
    unsigned choice = 0;
    size_t at = f->chosen++;
    if (at < f->scripted) {
        choice = f->script[at];
    } else if (f->seed != 0) {
        f->seed = f->seed * 6364136223846793005u + 1442695040888963407u;
        unsigned random = (unsigned)(f->seed >> 33);
        choice = random % 16 < f->calm ? 0 : (random / 16) % count;
    }
    if (at < FAKE_CHOICES) f->radix[at] = (unsigned char)count;
    return choice < count ? choice : 0;
}

static bool billed(const fake *f, const fake_box *b) {
    return b->dies < 0 || f->now < b->dies;
}

size_t fake_alive(const fake *f) {
    size_t n = 0;
    for (size_t i = 0; i < f->box_count; i++)
        n += billed(f, &f->boxes[i]);
    return n;
}

size_t fake_open_records(const fake *f) {
    size_t n = 0;
    for (size_t i = 0; i < f->record_count; i++)
        n += f->records[i].open;
    return n;
}

static uint64_t bill_of(const fake *f, const fake_box *b) {
    int64_t until = billed(f, b) ? f->now : b->dies;
    return (uint64_t)(until - b->born) * b->price / 3600000u;
}

uint64_t fake_bill(const fake *f) {
    uint64_t sum = 0;
    for (size_t i = 0; i < f->box_count; i++)
        sum += bill_of(f, &f->boxes[i]);
    return sum;
}

static fake_record *record_of(fake *f, const char *name) {
    for (size_t i = 0; i < f->record_count; i++)
        if (strcmp(f->records[i].name, name) == 0) return &f->records[i];
    return NULL;
}

void fake_check(const fake *f) {
    for (size_t i = 0; i < f->box_count; i++) {
        const fake_box *b = &f->boxes[i];
        bool on_record = false;
        for (size_t k = 0; k < f->record_count; k++)
            on_record = on_record || (f->records[k].open && strcmp(f->records[k].name, b->name) == 0);
        ck_assert_msg(!billed(f, b) || on_record, "%s is billed and off the record", b->name);
    }
    ck_assert_msg(fake_alive(f) <= 1, "two boxes at once");
}

/* Begins every call: returns false if kolm is dead, or dies before the call has an effect. */
static bool begin(fake *f, kolm_error_t *err) {
    (void)kit_fail(err, KOLM_E_UNAVAILABLE, "", "no answer");
    fake_check(f);
    f->calls++;
    if (f->calls == f->dies_at && !f->dies_after) f->dead = true;
    return !f->dead;
}

/* Ends every call. */
static kit_status end(fake *f, kit_status status, kolm_error_t *err) {
    if (f->calls == f->dies_at) f->dead = true;
    fake_check(f);
    return status == KOLM_OK ? KOLM_OK : kit_fail(err, status, "wait", "a fault that was chosen");
}

static kit_status offers(void *state, kit_rent_offer *out, size_t capacity, size_t *out_count, kolm_error_t *err) {
    fake *f = state;
    static const kit_status verdicts[] = {KOLM_OK, KOLM_E_UNAVAILABLE, KOLM_E_UNAUTHENTICATED};
    *out_count = 0;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = fake_choose(f, 4);
    ck_assert_uint_ge(capacity, 3);
    for (size_t i = 0; choice == 0 && i < 3; i++) /* most expensive first */
        out[(*out_count)++] = (kit_rent_offer){.id = {(char)('a' + i)}, .micro_usd_per_hour = FAKE_PRICE + (2 - i)};
    return end(f, choice == 3 ? KOLM_OK : verdicts[choice], err); /* 3: there are no offers */
}

static void add_box(fake *f, const char *name, uint64_t price) {
    ck_assert_uint_lt(f->box_count, FAKE_BOXES);
    fake_box *b = &f->boxes[f->box_count++];
    *b = (fake_box){.born = f->now, .dies = -1, .died = -1, .price = price};
    kit_copy(b->name, sizeof b->name, name);
    kit_format(b->handle, sizeof b->handle, "h-%zu", f->box_count);
}

enum { MADE, NO_CAPACITY, NO_CREDIT, LOST_UNMADE, LOST_MADE, MADE_WITHOUT_HANDLE, MADE_DEARER, CREATE_WAYS };

static kit_status create(void *state, const kit_rent_offer *offer, const char *name,
                         char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist, kolm_error_t *err) {
    fake *f = state;
    static const kit_status verdicts[] = {
        KOLM_OK, KOLM_E_RESOURCE_EXHAUSTED, KOLM_E_PERMISSION_DENIED, KOLM_E_UNKNOWN, KOLM_E_UNKNOWN, KOLM_OK, KOLM_OK};
    out_handle[0] = '\0';
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    fake_record *record = record_of(f, name);
    ck_assert_msg(record != NULL && record->open, "%s was created off the record", name);
    ck_assert_msg(!record->created, "%s was created twice", name);
    ck_assert_uint_eq(fake_alive(f), 0);
    record->created = true;
    f->now += f->create_ms;
    unsigned choice = fake_choose(f, CREATE_WAYS);
    bool made = choice == MADE || choice >= LOST_MADE;
    if (made) add_box(f, name, offer->micro_usd_per_hour + (choice == MADE_DEARER ? 1 : 0));
    if (choice == MADE || choice == MADE_DEARER)
        kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, f->boxes[f->box_count - 1].handle);
    *out_may_exist = choice >= LOST_UNMADE;
    return end(f, verdicts[choice], err);
}

static void describe(const fake *f, const fake_box *b, kit_rent_box *out) {
    *out = (kit_rent_box){.life = f->now - b->born < 3000 ? KIT_RENT_BOOTING : KIT_RENT_UP,
                          .micro_usd_per_hour = b->price,
                          .address = "192.0.2.1"};
    if (b->dies >= 0) out->life = billed(f, b) ? KIT_RENT_ENDING : KIT_RENT_ENDED;
    kit_copy(out->handle, sizeof out->handle, b->handle);
    kit_copy(out->name, sizeof out->name, b->name);
}

/* A new box may not be visible yet. */
static bool young(const fake *f, const fake_box *b) {
    return f->now - b->born < FAKE_SETTLE_MS;
}

static kit_status look(void *state, const char *handle, kit_rent_box *out, kolm_error_t *err) {
    fake *f = state;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = fake_choose(f, 4);
    for (size_t i = 0; i < f->box_count; i++) {
        fake_box *b = &f->boxes[i];
        if (strcmp(b->handle, handle) != 0) continue;
        if (choice == 2 && young(f, b)) return end(f, KOLM_E_NOT_FOUND, err);
        if (choice == 3 && b->dies < 0) b->dies = f->now; /* it dies now */
        if (choice == 1) return end(f, KOLM_E_UNAVAILABLE, err);
        /* after a while it is no longer known */
        if (b->dies >= 0 && f->now > b->dies + 5000) return end(f, KOLM_E_NOT_FOUND, err);
        describe(f, b, out);
        return end(f, KOLM_OK, err);
    }
    return end(f, choice == 1 ? KOLM_E_UNAVAILABLE : KOLM_E_NOT_FOUND, err);
}

static kit_status list(void *state, const char *prefix, kit_rent_box *out, size_t capacity, size_t *out_count,
                       kolm_error_t *err) {
    fake *f = state;
    *out_count = 0;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = fake_choose(f, 3);
    if (choice == 1 || f->now < f->list_back) return end(f, KOLM_E_UNAVAILABLE, err);
    for (size_t i = 0; i < f->box_count && *out_count < capacity; i++) {
        const fake_box *b = &f->boxes[i];
        if (strncmp(b->name, prefix, strlen(prefix)) == 0 && !(choice == 2 && young(f, b)))
            describe(f, b, &out[(*out_count)++]);
    }
    return end(f, KOLM_OK, err);
}

static kit_status destroy(void *state, const char *handle, kolm_error_t *err) {
    fake *f = state;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = fake_choose(f, 5); /* done; done, but 500; reported but not done; refused; done later */
    if (f->now < f->destroy_back) return end(f, KOLM_OK, err); /* reports it as done */
    for (size_t i = 0; i < f->box_count; i++) {
        fake_box *b = &f->boxes[i];
        if (strcmp(b->handle, handle) != 0 || b->dies >= 0) continue;
        if (choice == 0 || choice == 1) b->dies = f->now;
        if (choice == 4) b->dies = f->now + 7000;
    }
    return end(f, choice == 1 || choice == 3 ? KOLM_E_UNAVAILABLE : KOLM_OK, err);
}

/* ---- The records */

static kit_status intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    fake *f = user;
    (void)offer;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    if (fake_choose(f, 2) != 0) return end(f, KOLM_E_RESOURCE_EXHAUSTED, err);
    ck_assert_msg(record_of(f, name) == NULL, "the name %s is used twice", name);
    ck_assert_uint_lt(f->record_count, FAKE_BOXES);
    fake_record *r = &f->records[f->record_count++];
    *r = (fake_record){.open = true, .at = f->now};
    kit_copy(r->name, sizeof r->name, name);
    return end(f, KOLM_OK, err);
}

static kit_status handle(void *user, const char *name, const char *handle_text, kolm_error_t *err) {
    fake *f = user;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    if (fake_choose(f, 2) != 0) return end(f, KOLM_E_RESOURCE_EXHAUSTED, err);
    fake_record *record = record_of(f, name);
    ck_assert_msg(record != NULL && record->open, "%s has a handle and is off the record", name);
    if (record != NULL) kit_copy(record->handle, KIT_RENT_HANDLE_BYTES, handle_text);
    return end(f, KOLM_OK, err);
}

/* The recorded amount is never less than the bill. */
static void check_billed(const fake *f, const char *name, uint64_t billed) {
    uint64_t sum = 0;
    for (size_t i = 0; i < f->box_count; i++) {
        const fake_box *b = &f->boxes[i];
        if (strcmp(b->name, name) == 0) sum += bill_of(f, b);
    }
    ck_assert_msg(billed >= sum, "%s cost %llu, and %llu are on record", name, (unsigned long long)sum,
                  (unsigned long long)billed);
}

static kit_status gone(void *user, const char *name, uint64_t billed_micro_usd, kolm_error_t *err) {
    fake *f = user;
    check_billed(f, name, billed_micro_usd);
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    if (fake_choose(f, 2) != 0 || f->now < f->record_back) return end(f, KOLM_E_RESOURCE_EXHAUSTED, err);
    fake_record *record = record_of(f, name);
    ck_assert_ptr_nonnull(record);
    if (record != NULL) record->open = false;
    return end(f, KOLM_OK, err);
}

/* ---- The work */

static kit_status work(fake *f, bool *out_done, kolm_error_t *err) {
    static const kit_status verdicts[] = {KOLM_OK, KOLM_OK, KOLM_E_UNAVAILABLE, KOLM_E_DATA_LOSS};
    *out_done = false;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = fake_choose(f, 4);
    *out_done = choice == 0 && !(f->endless && f->armed);
    return end(f, verdicts[choice], err);
}

static kit_status arm(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    fake *f = user;
    ck_assert_str_eq(box->address, "192.0.2.1");
    kit_status status = work(f, out_done, err);
    f->armed = f->armed || *out_done;
    return status;
}

static kit_status run(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    fake *f = user;
    (void)box;
    ck_assert_msg(f->armed || f->dead, "work begins without a watchdog");
    return work(f, out_done, err);
}

static kit_status collect(void *user, const kit_rent_box *box, bool *out_done, kolm_error_t *err) {
    fake *f = user;
    (void)box;
    kit_status status = work(f, out_done, err);
    f->collected = f->collected || *out_done;
    return status;
}

const kit_rent_provider fake_provider = {.name = "fake",
                                         .can = KIT_RENT_CAN_NAME,
                                         .settle_ms = FAKE_SETTLE_MS,
                                         .offers = offers,
                                         .create = create,
                                         .look = look,
                                         .list = list,
                                         .destroy = destroy};
const kit_rent_provider fake_nameless = {.name = "nameless",
                                         .settle_ms = FAKE_SETTLE_MS,
                                         .offers = offers,
                                         .create = create,
                                         .look = look,
                                         .destroy = destroy};
const kit_rent_work fake_work = {.arm = arm, .run = run, .collect = collect};
const kit_rent_journal fake_journal = {.intent = intent, .handle = handle, .gone = gone};
