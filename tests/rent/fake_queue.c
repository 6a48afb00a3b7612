/* SPDX-License-Identifier: Apache-2.0 */
/* The queue of the tests: jobs and files, a clock, and choices. */
#include "fake_queue.h"
#include "../suite.h"
#include "kolm/kit/buf.h"

#include <string.h>

static unsigned choose(fake_queue *f, unsigned count) {
    unsigned choice = 0;
    size_t at = f->chosen++;
    if (at < f->scripted) {
        choice = f->script[at];
    } else if (f->seed != 0) {
        f->seed = f->seed * 6364136223846793005u + 1442695040888963407u;
        unsigned random = (unsigned)(f->seed >> 33);
        choice = random % 16 < f->calm ? 0 : (random / 16) % count;
    }
    if (at < QUEUE_CHOICES) f->radix[at] = (unsigned char)count;
    return choice < count ? choice : 0;
}

static bool lives(const fake_queue *f, const queue_item *item) {
    return item->ends < 0 || f->now < item->ends;
}

size_t queue_alive(const fake_queue *f, bool files) {
    size_t n = 0;
    for (size_t i = 0; i < f->item_count; i++)
        n += f->items[i].file == files && lives(f, &f->items[i]);
    return n;
}

size_t queue_open_records(const fake_queue *f) {
    size_t n = 0;
    for (size_t i = 0; i < f->record_count; i++)
        n += f->records[i].open;
    return n;
}

static queue_record *record_of(fake_queue *f, const char *name) {
    for (size_t i = 0; i < f->record_count; i++)
        if (strcmp(f->records[i].name, name) == 0) return &f->records[i];
    return NULL;
}

void queue_check(const fake_queue *f) {
    for (size_t i = 0; i < f->item_count; i++) {
        const queue_item *item = &f->items[i];
        bool on_record = false;
        for (size_t k = 0; k < f->record_count; k++)
            on_record = on_record || (f->records[k].open && strcmp(f->records[k].name, item->name) == 0);
        ck_assert_msg(!lives(f, item) || on_record, "%s is there and off the record", item->name);
    }
    ck_assert_msg(f->submits <= 1, "submitted twice");
}

static bool begin(fake_queue *f, kolm_error_t *err) {
    (void)kit_fail(err, KOLM_E_UNAVAILABLE, "", "no answer");
    queue_check(f);
    f->calls++;
    if (f->calls == f->dies_at && !f->dies_after) f->dead = true;
    return !f->dead;
}

static kit_status end(fake_queue *f, kit_status status, kolm_error_t *err) {
    if (f->calls == f->dies_at) f->dead = true;
    queue_check(f);
    return status == KOLM_OK ? KOLM_OK : kit_fail(err, status, "wait", "a fault that was chosen");
}

static queue_item *add(fake_queue *f, const char *name, bool file) {
    ck_assert_uint_lt(f->item_count, QUEUE_ITEMS);
    queue_item *item = &f->items[f->item_count++];
    *item = (queue_item){.file = file, .born = f->now, .starts = f->now + 3000, .ends = file ? -1 : f->now + 13000};
    if (f->never_starts) item->starts = item->ends = INT64_MAX;
    if (f->endless) item->ends = INT64_MAX;
    kit_copy(item->name, sizeof item->name, name);
    kit_format(item->handle, sizeof item->handle, "%s-%zu", file ? "f" : "j", f->item_count);
    return item;
}

static queue_item *find_item(fake_queue *f, const char *handle) {
    for (size_t i = 0; i < f->item_count; i++)
        if (strcmp(f->items[i].handle, handle) == 0) return &f->items[i];
    return NULL;
}

static bool young(const fake_queue *f, const queue_item *item) {
    return f->now - item->born < QUEUE_SETTLE_MS;
}

/* One of several calls, each of which does a part. */
static bool is_part(fake_queue *f, size_t *left) {
    if (*left == 0) return false;
    --*left;
    f->now += f->part_ms;
    return true;
}

static kit_status upload(void *state, const char *name, char files[KIT_RENT_HANDLE_BYTES], bool *out_done,
                         bool *out_may_exist, kolm_error_t *err) {
    fake_queue *f = state;
    *out_done = false;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    if (files[0] != '\0' && is_part(f, &f->check_parts)) return end(f, KOLM_OK, err);
    if (files[0] != '\0') { /* check of the uploaded rows: done, not yet, no answer, bad rows */
        unsigned choice = choose(f, 4);
        *out_done = choice == 0;
        return end(f, choice == 2 ? KOLM_E_UNAVAILABLE : choice == 3 ? KOLM_E_INVALID_ARGUMENT : KOLM_OK, err);
    }
    queue_record *record = record_of(f, name);
    ck_assert_msg(record != NULL && record->open, "%s was uploaded off the record", name);
    ck_assert_msg(!record->used, "%s was uploaded twice", name);
    record->used = true;
    f->now += f->send_ms;
    unsigned choice = choose(f, 5); /* created, refused, created but no answer, not created and no answer, not sent */
    *out_may_exist = choice != 1 && choice != 4;
    if (choice == 0 || choice == 2) add(f, name, true);
    if (choice == 0) kit_copy(files, KIT_RENT_HANDLE_BYTES, f->items[f->item_count - 1].handle);
    return end(f, choice == 0 ? KOLM_OK : choice == 1 ? KOLM_E_UNAUTHENTICATED : KOLM_E_UNKNOWN, err);
}

static kit_status price(void *state, kit_queue_price *out, kolm_error_t *err) {
    fake_queue *f = state;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = choose(f, 5); /* reported, no answer, refused, unknown, too expensive */
    *out = (kit_queue_price){
        .known = choice != 3, .refused = choice == 2, .micro_usd = choice == 4 ? QUEUE_PRICE * 4 : QUEUE_PRICE};
    return end(f, choice == 1 ? KOLM_E_UNAVAILABLE : KOLM_OK, err);
}

enum { MADE, NO_CREDIT, NO_ANSWER_UNMADE, NO_ANSWER_MADE, NO_HANDLE, THROTTLED, SUBMIT_WAYS };

static kit_status submit(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], bool *out_may_exist,
                         kolm_error_t *err) {
    fake_queue *f = state;
    static const kit_status verdicts[] = {KOLM_OK, KOLM_E_RESOURCE_EXHAUSTED, KOLM_E_UNKNOWN, KOLM_E_UNKNOWN,
                                          KOLM_OK, KOLM_E_UNAVAILABLE};
    out_handle[0] = '\0';
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    queue_record *record = record_of(f, name);
    ck_assert_msg(record != NULL && record->open, "%s was submitted off the record", name);
    ck_assert_msg(!record->used, "%s was submitted twice", name);
    record->used = true;
    f->submits++;
    f->now += f->send_ms;
    unsigned choice = choose(f, SUBMIT_WAYS);
    if (choice == MADE || choice == NO_ANSWER_MADE || choice == NO_HANDLE) add(f, name, false);
    if (choice == MADE) kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, f->items[f->item_count - 1].handle);
    *out_may_exist = choice != NO_CREDIT && choice != THROTTLED;
    return end(f, verdicts[choice], err);
}

static kit_status find(void *state, const char *name, char out_handle[KIT_RENT_HANDLE_BYTES], kolm_error_t *err) {
    fake_queue *f = state;
    out_handle[0] = '\0';
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = choose(f, 3);
    if (choice == 1 || f->now < f->find_back) return end(f, KOLM_E_UNAVAILABLE, err);
    for (size_t i = 0; i < f->item_count; i++)
        if (!f->items[i].file && strcmp(f->items[i].name, name) == 0 && !(choice == 2 && young(f, &f->items[i])))
            kit_copy(out_handle, KIT_RENT_HANDLE_BYTES, f->items[i].handle);
    return end(f, KOLM_OK, err);
}

static kit_status look(void *state, const char *handle, kit_queue_look *out, kolm_error_t *err) {
    fake_queue *f = state;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = choose(f, 6); /* reported, no answer, not visible yet, unknown word, fails, cancelled by others */
    queue_item *job = find_item(f, handle);
    if (choice == 1) return end(f, KOLM_E_UNAVAILABLE, err);
    if (job == NULL || (choice == 2 && young(f, job))) return end(f, KOLM_E_NOT_FOUND, err);
    if (choice == 4 && lives(f, job)) job->ends = f->now, job->failed = true;
    if (choice == 5 && lives(f, job)) job->ends = f->now, job->cancelled = true;
    out->billed_micro_usd = lives(f, job) ? UINT64_MAX : QUEUE_PRICE;
    if (choice == 3 || f->strange_word)
        out->life = lives(f, job) || f->strange_word ? KIT_QUEUE_UNKNOWN : KIT_QUEUE_SUCCEEDED;
    else if (lives(f, job))
        out->life = job->cancelled ? KIT_QUEUE_ENDING : f->now < job->starts ? KIT_QUEUE_WAITING : KIT_QUEUE_WORKING;
    else
        out->life = job->failed ? KIT_QUEUE_FAILED : job->cancelled ? KIT_QUEUE_CANCELLED : KIT_QUEUE_SUCCEEDED;
    if (f->strange_word && !lives(f, job)) out->life = KIT_QUEUE_CANCELLED;
    return end(f, KOLM_OK, err);
}

static kit_status logs(void *state, const char *handle, kolm_error_t *err) {
    fake_queue *f = state;
    (void)handle;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    return end(f, choose(f, 2) == 0 ? KOLM_OK : KOLM_E_UNAVAILABLE, err);
}

static kit_status cancel(void *state, const char *handle, kolm_error_t *err) {
    fake_queue *f = state;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = choose(f, 5); /* done; done, but 500; reported but not done; refused; done later */
    queue_item *job = find_item(f, handle);
    f->cancels++;
    if (job == NULL) return end(f, KOLM_E_NOT_FOUND, err);
    if (f->now < f->cancel_back || !lives(f, job) || job->cancelled) return end(f, KOLM_OK, err);
    if (choice == 0 || choice == 1 || choice == 4) {
        job->cancelled = true;
        job->ends = choice == 4 ? f->now + 7000 : f->now;
    }
    return end(f, choice == 1 || choice == 3 ? KOLM_E_UNAVAILABLE : KOLM_OK, err);
}

static kit_status fetch(void *state, const char *handle, bool *out_done, kolm_error_t *err) {
    static const kit_status verdicts[] = {KOLM_OK, KOLM_OK, KOLM_E_UNAVAILABLE, KOLM_E_DATA_LOSS};
    fake_queue *f = state;
    *out_done = false;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    const queue_item *job = find_item(f, handle);
    ck_assert_msg(job != NULL && !lives(f, job) && !job->failed && !job->cancelled, "fetched what is not done");
    if (is_part(f, &f->fetch_parts)) return end(f, KOLM_OK, err);
    unsigned choice = choose(f, 4);
    *out_done = choice == 0;
    f->fetched = f->fetched || *out_done;
    return end(f, verdicts[choice], err);
}

static kit_status take_away(void *state, const char *name, const char *files, bool *out_done, kolm_error_t *err) {
    fake_queue *f = state;
    *out_done = false;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    unsigned choice = choose(f, 4); /* done; no answer; done, but 500; not listed yet */
    if (choice == 1 || f->now < f->remove_back) return end(f, KOLM_E_UNAVAILABLE, err);
    for (size_t i = 0; i < f->item_count; i++) {
        queue_item *item = &f->items[i];
        bool its = item->file && (files[0] != '\0' ? strcmp(item->handle, files) == 0 : strcmp(item->name, name) == 0);
        if (its && lives(f, item) && !(choice == 3 && files[0] == '\0' && young(f, item))) item->ends = f->now;
    }
    *out_done = choice != 2;
    return end(f, choice == 2 ? KOLM_E_UNAVAILABLE : KOLM_OK, err);
}

/* ---- The records */

static kit_status intent(void *user, const char *name, const kit_rent_offer *offer, kolm_error_t *err) {
    fake_queue *f = user;
    (void)offer;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    if (choose(f, 2) != 0) return end(f, KOLM_E_RESOURCE_EXHAUSTED, err);
    ck_assert_msg(record_of(f, name) == NULL, "the name %s is used twice", name);
    ck_assert_uint_lt(f->record_count, QUEUE_ITEMS);
    queue_record *r = &f->records[f->record_count++];
    *r = (queue_record){.open = true, .at = f->now};
    kit_copy(r->name, sizeof r->name, name);
    return end(f, KOLM_OK, err);
}

static kit_status handle(void *user, const char *name, const char *handle_text, kolm_error_t *err) {
    fake_queue *f = user;
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    if (choose(f, 2) != 0) return end(f, KOLM_E_RESOURCE_EXHAUSTED, err);
    queue_record *record = record_of(f, name);
    ck_assert_msg(record != NULL && record->open, "%s has a handle and is off the record", name);
    if (record != NULL) kit_copy(record->handle, KIT_RENT_HANDLE_BYTES, handle_text);
    return end(f, KOLM_OK, err);
}

static kit_status gone(void *user, const char *name, uint64_t billed_micro_usd, kolm_error_t *err) {
    fake_queue *f = user;
    for (size_t i = 0; i < f->item_count; i++)
        ck_assert_msg(billed_micro_usd != 0 || f->items[i].file || strcmp(f->items[i].name, name) != 0,
                      "%s is said to cost nothing", name);
    if (!begin(f, err)) return KOLM_E_UNAVAILABLE;
    if (choose(f, 2) != 0 || f->now < f->record_back) return end(f, KOLM_E_RESOURCE_EXHAUSTED, err);
    queue_record *record = record_of(f, name);
    ck_assert_ptr_nonnull(record);
    if (record != NULL) record->open = false;
    return end(f, KOLM_OK, err);
}

#define SLOTS                                                                                                          \
    .settle_ms = QUEUE_SETTLE_MS, .submit = submit, .look = look, .logs = logs, .cancel = cancel, .fetch = fetch

const kit_queue_provider fake_named_queue = {.name = "fake",
                                             .can = KIT_QUEUE_CAN_FIND,
                                             SLOTS,
                                             .upload = upload,
                                             .price = price,
                                             .find = find,
                                             .remove = take_away};
const kit_queue_provider fake_nameless_queue = {
    .name = "nameless", SLOTS, .upload = upload, .price = price, .remove = take_away};
const kit_queue_provider fake_bare_queue = {.name = "bare", SLOTS};
const kit_rent_journal fake_queue_journal = {.intent = intent, .handle = handle, .gone = gone};
