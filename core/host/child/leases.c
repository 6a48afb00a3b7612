/* SPDX-License-Identifier: Apache-2.0 */
/* Records what costs money before it exists: one line of the journal, on disk before the backend continues. */
#include "host/child/child.h"

#include "kolm/kit/text.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SECRET_LEAST 8u /* shorter values are words that occur by chance */

typedef struct entry {
    char name[KOLM_LEASE_NAME_BYTES_MAX + 1];
    bool gone;
} entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    const child_request *request;
    bool reclaims;
    int fd;         /* -1: this call has no journal */
    bool whole;     /* the last line written ends with its LF; unknown before the first */
    entry *entries; /* of this call, in the order of their INTENT */
    uint32_t count;
} state = {.fd = -1};

static bool may_rent(const char *slot) {
    return strcmp(slot, HOST_CALL_TRAIN) == 0 || strcmp(slot, HOST_CALL_INFER) == 0 ||
           strcmp(slot, HOST_CALL_TEST) == 0 || strcmp(slot, HOST_CALL_RECLAIM) == 0;
}

void child_leases_open(const child_request *request) {
    state.request = request;
    if (!request->leases) return;
    state.fd = child_fd_high(HOST_FD_LEASES);
    if (strcmp(request->slot, HOST_CALL_RECLAIM) != 0) return;
    kolm_reclaim_args_t args;
    (void)host_read_reclaim_args(request->args, &args);
    state.entries = calloc(KOLM_LEASES_MAX, sizeof *state.entries);
    if (state.entries) kit_copy(state.entries[state.count++].name, sizeof state.entries->name, args.name);
}

void child_leases_table(bool reclaims) {
    state.reclaims = reclaims;
}

/* ---- What may be recorded. Under the lock. */

static entry *find(const char *name) {
    for (uint32_t i = 0; i < state.count; i++)
        if (strcmp(state.entries[i].name, name) == 0) return &state.entries[i];
    return NULL;
}

static bool is_leased(const char *name) {
    const cJSON *one;
    cJSON_ArrayForEach(one, state.request->leased) {
        if (cJSON_IsString(one) && strcmp(one->valuestring, name) == 0) return true;
    }
    return false;
}

static bool is_name(const char *text) {
    size_t n = text ? strnlen(text, KOLM_LEASE_NAME_BYTES_MAX + 1) : 0;
    return n > 0 && n <= KOLM_LEASE_NAME_BYTES_MAX && text[0] != '-' && text[0] != '.' &&
           strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool is_handle(const char *text) {
    size_t n = text ? strnlen(text, KOLM_LEASE_HANDLE_BYTES_MAX + 1) : 0;
    bool good = n > 0 && n <= KOLM_LEASE_HANDLE_BYTES_MAX;
    for (size_t i = 0; good && i < n; i++)
        good = text[i] > 0x20 && text[i] < 0x7F;
    return good;
}

static bool is_kind(const char *text) {
    size_t n = text ? strnlen(text, KOLM_LEASE_KIND_BYTES_MAX + 1) : 0;
    return n > 0 && n <= KOLM_LEASE_KIND_BYTES_MAX && strspn(text, "abcdefghijklmnopqrstuvwxyz") == n;
}

static bool is_line(const char *text, size_t most, bool may_be_empty) {
    size_t n = text ? strnlen(text, most + 1) : 0;
    return text && n <= most && (n > 0 || may_be_empty) && kit_utf8_valid(text, n) == n && kit_text_is_plain(text, n);
}

static bool is_amount(uint64_t value) {
    return value <= INT64_MAX || value == UINT64_MAX;
}

/* Returns the first field that breaks the rules of kolm_lease_t, and the rule; NULL: none. */
static const char *fault_of(const kolm_lease_t *l, const char **out_rule) {
    const bool intent = l->event == KOLM_LEASE_INTENT, handle = l->event == KOLM_LEASE_HANDLE;
    const struct {
        const char *field, *rule;
        bool good;
    } rules[] = {
        {"event", "use one of KOLM_LEASE_*", l->event <= KOLM_LEASE_GONE},
        {"name", "use at most 63 characters of A-Z, a-z, 0-9, '.', '_' and '-'", is_name(l->name)},
        {"handle", "pass the provider's id with HANDLE, in printable ASCII, and \"\" otherwise",
         handle ? is_handle(l->handle) : l->handle && !l->handle[0]},
        {"kind", "pass one word of a-z with INTENT, and \"\" otherwise",
         intent ? is_kind(l->kind) : l->kind && !l->kind[0]},
        {"place", "pass one line of UTF-8 with INTENT, and \"\" otherwise",
         intent ? is_line(l->place, KOLM_LEASE_PLACE_BYTES_MAX, false) : l->place && !l->place[0]},
        {"note", "pass one line of UTF-8, or \"\"", is_line(l->note, KOLM_LEASE_NOTE_BYTES_MAX, true)},
        {"price_micro_usd_per_hour", "use UINT64_MAX if it is not known", is_amount(l->price_micro_usd_per_hour)},
        {"billed_micro_usd", "use UINT64_MAX if it is not known", is_amount(l->billed_micro_usd)},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        *out_rule = rules[i].rule;
        if (!rules[i].good) return rules[i].field;
    }
    return NULL;
}

static bool ends_in(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Finds a secret of the backend, other than an address, in the lease. */
static const char *secret_in(const kolm_lease_t *l) {
    const char *const texts[] = {l->name, l->handle, l->place, l->note};
    for (size_t i = 0; i < state.request->secret_count; i++) {
        const child_value *s = &state.request->secrets[i];
        if (!s->value || strlen(s->value) < SECRET_LEAST || ends_in(s->name, "_HOST") || ends_in(s->name, "_ADDRESS"))
            continue;
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            if (strstr(texts[k], s->value)) return s->name;
    }
    return NULL;
}

static kit_status check_secrets(const kolm_lease_t *l, kolm_error_t *err) {
    static const char remedy[] = "do not record secrets";
    const char *name = secret_in(l);
    if (!name) return KOLM_OK;
    child_breach(HOST_BREACH_RECORD, "a lease", remedy, "contains the value of %s, and was refused", name);
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, remedy, "the lease contains the value of %s: it was not recorded",
                    name);
}

static kit_status check_record(const kolm_lease_t *l, kolm_error_t *err) {
    char about[80];
    const char *rule = NULL, *field = fault_of(l, &rule);
    if (!field) return KOLM_OK;
    kit_format(about, sizeof about, "the %s of a lease", field);
    child_breach(HOST_BREACH_RECORD, about, rule, "is not valid, and the lease was refused");
    return kit_fail(err, KOLM_E_INVALID_ARGUMENT, rule, "the %s of the lease is not valid: it was not recorded", field);
}

/* Checks that the event may follow those already recorded. */
static kit_status check_order(const kolm_lease_t *l, const entry *known, kolm_error_t *err) {
    static const char *const events[] = {"an intent", "a handle", "its end"};
    static const char out_of_turn[] = "record the INTENT before anything is created, then the HANDLE, then GONE";
    if (l->event == KOLM_LEASE_INTENT && strcmp(state.request->slot, HOST_CALL_RECLAIM) == 0) {
        child_breach(HOST_BREACH_RECORD, "a lease", "rent in train, infer and test only",
                     "was recorded, and this slot may not rent");
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "rent in train, infer and test only",
                        "reclaim may not rent anything");
    }
    if (l->event == KOLM_LEASE_INTENT && (known || is_leased(l->name))) {
        child_breach(HOST_BREACH_RECORD, "the name of a lease", "use each name once: make it of random digits",
                     "is already recorded, and the lease was refused");
        return kit_fail(err, KOLM_E_ALREADY_EXISTS, "use each name once: make it of random digits",
                        "the name %s is already recorded", l->name);
    }
    if (l->event != KOLM_LEASE_INTENT && (!known || (known->gone && l->event == KOLM_LEASE_HANDLE))) {
        child_breach(HOST_BREACH_RECORD, "a lease", out_of_turn, "was recorded with %s, and %s; it was refused",
                     events[l->event], known ? "is gone" : "without an intent");
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, out_of_turn, "%s %s", l->name,
                        known ? "is recorded as gone" : "has no intent recorded");
    }
    if (!known && state.count == KOLM_LEASES_MAX)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "rent less in one call", "this call has recorded %u leases",
                        KOLM_LEASES_MAX);
    return KOLM_OK;
}

/* ---- The record */

static kit_status write_line(const kolm_lease_t *l, kolm_error_t *err) {
    static const char *const events[] = {"intent", "handle", "gone"};
    struct timespec now;
    kit_buf line = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    const host_lease_line record = {.at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
                                    .event = events[l->event],
                                    .price_micro_usd_per_hour =
                                        l->event == KOLM_LEASE_GONE ? UINT64_MAX : l->price_micro_usd_per_hour,
                                    .billed_micro_usd = l->event == KOLM_LEASE_GONE ? l->billed_micro_usd : UINT64_MAX,
                                    .name = l->name,
                                    .handle = l->handle,
                                    .kind = l->kind,
                                    .place = l->place,
                                    .note = l->note};
    /* Start a new line after one left incomplete by a full disk or a dead process. */
    kit_buf_str(&line, state.whole ? "{" : "\n{");
    host_write_lease_line(&line, &record);
    clock_gettime(CLOCK_BOOTTIME, &now);
    kit_buf_fmt(&line, ",\"" HOST_LEASE_UP "\":\"%llu\"}\n",
                (unsigned long long)now.tv_sec * 1000 + (unsigned long long)now.tv_nsec / 1000000);
    kit_status status = kit_buf_ok(&line, err);
    state.whole = false;
    if (status == KOLM_OK) status = kit_write_all(state.fd, line.data, line.length, err);
    if (status == KOLM_OK && fsync(state.fd) != 0) status = kit_fail_errno(err, errno, "it may not be on the disk");
    if (status != KOLM_OK) kit_fail_context(err, "the lease %s could not be recorded", l->name);
    state.whole = status == KOLM_OK;
    kit_buf_free(&line);
    return status;
}

static kit_status record(const kolm_lease_t *l, kolm_error_t *err) {
    entry *known = l->name ? find(l->name) : NULL;
    KIT_TRY(check_record(l, err));
    KIT_TRY(check_secrets(l, err));
    KIT_TRY(check_order(l, known, err));
    if (known && known->gone) return KOLM_OK;
    if (l->event == KOLM_LEASE_HANDLE && state.request->lease_fault == HOST_LEASE_DIES) raise(SIGKILL);
    if (l->event == KOLM_LEASE_INTENT && state.request->lease_fault == HOST_LEASE_REFUSED)
        return kit_fail(err, KOLM_E_RESOURCE_EXHAUSTED, "create nothing", "the record is refused, as a test");
    if (!state.entries) state.entries = calloc(KOLM_LEASES_MAX, sizeof *state.entries);
    if (!state.entries) return kit_no_memory(err);
    KIT_TRY(write_line(l, err));
    if (!known) {
        known = &state.entries[state.count++];
        kit_copy(known->name, sizeof known->name, l->name);
    }
    known->gone = l->event == KOLM_LEASE_GONE;
    return KOLM_OK;
}

static kit_status check_call(kolm_error_t *err) {
    if (!may_rent(state.request->slot)) {
        child_breach(HOST_BREACH_RECORD, "a lease", "rent in train, infer and test only",
                     "was recorded, and this slot may not rent");
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "rent in train, infer and test only", "%s may not rent anything",
                        state.request->slot);
    }
    if (!state.reclaims) {
        child_breach(HOST_BREACH_RECORD, "a lease", "implement reclaim, which ends what a lease names",
                     "was recorded, and there is no slot reclaim");
        return kit_fail(err, KOLM_E_FAILED_PRECONDITION, "implement reclaim, which ends what a lease names",
                        "this backend has no slot reclaim, and may not rent anything");
    }
    if (!state.request->network)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "choose a local backend, or allow the network",
                        "this call has no network, and may not rent anything");
    if (state.fd < 0)
        return kit_fail(err, KOLM_E_PERMISSION_DENIED, "", "this call has no journal, and may not rent anything");
    return KOLM_OK;
}

int32_t child_lease(void *user, const kolm_lease_t *lease, kolm_error_t *out_error) {
    (void)user;
    kolm_error_t ignored = KIT_ERROR_INIT, *err = out_error ? out_error : &ignored;
    uint32_t size = 0;
    kolm_lease_t copy = {0};
    kit_status status = check_call(err);
    if (lease) memcpy(&size, lease, sizeof size);
    if (status == KOLM_OK && size < offsetof(kolm_lease_t, note) + sizeof copy.note) {
        child_breach(HOST_BREACH_RECORD, "a lease", "set its struct_size to sizeof of the record",
                     "was refused: its struct_size is %u", size);
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "set struct_size to sizeof(kolm_lease_t)",
                          "the lease is not a valid record: it was not recorded");
    }
    if (status != KOLM_OK) return status;
    memcpy(&copy, lease, size < sizeof copy ? size : sizeof copy);
    pthread_mutex_lock(&lock);
    status = record(&copy, err);
    pthread_mutex_unlock(&lock);
    return status;
}

uint32_t child_leases_left(const char **out_first) {
    uint32_t left = 0;
    /* A leftover thread of the plugin may hold the lock forever. */
    if (pthread_mutex_trylock(&lock) != 0) return 0;
    for (uint32_t i = state.count; i > 0; i--) {
        if (state.entries[i - 1].gone) continue;
        *out_first = state.entries[i - 1].name;
        left++;
    }
    pthread_mutex_unlock(&lock);
    return left;
}
