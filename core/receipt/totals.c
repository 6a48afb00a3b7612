/* SPDX-License-Identifier: Apache-2.0 */
/* Adds up the chain: how many jobs, how long, and what they cost. */
#include "receipt/totals.h"

#include "kolm/kit/json.h"
#include "kolm/kit/lines.h"
#include "kolm/kit/text.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define RECEIPT_LINE_MAX (16u << 20) /* as in the chain */

/* "2026-05-14T09:00:00Z" into seconds since 1970. */
static bool parse_time(const char *text, int64_t *out) {
    struct tm when;
    memset(&when, 0, sizeof when);
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &when);
    if (!rest) return false;
    *out = (int64_t)timegm(&when);
    return true;
}

/* The time when the compile of a receipt ended; false if unknown. */
static bool receipt_time(const cJSON *predicate, int64_t *out) {
    static const char *const keys[] = {"finished_at", "finishedOn", "time", "created_at"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *text = NULL;
        uint64_t seconds = 0;
        if (kit_json_get_string(predicate, keys[i], &text) && parse_time(text, out)) return true;
        if (kit_json_get_u64(predicate, keys[i], &seconds)) {
            *out = (int64_t)seconds;
            return true;
        }
    }
    return false;
}

static int by_day(const void *a, const void *b) {
    const receipt_day *x = a, *y = b;
    int order = strcmp(x->day, y->day);
    return order != 0 ? order : strcmp(x->backend, y->backend);
}

/* Returns the sums of that backend and day; NULL if out of memory. */
static receipt_day *day_of(receipt_totals *sums, const cJSON *compute, bool dated, int64_t when) {
    receipt_day key = {.jobs = 0};
    const char *backend = NULL;
    time_t seconds = (time_t)when;
    struct tm tm;
    if (kit_json_get_string(compute, "backend", &backend)) kit_copy(key.backend, sizeof key.backend, backend);
    if (!dated || !gmtime_r(&seconds, &tm) || strftime(key.day, sizeof key.day, "%Y-%m-%d", &tm) != 10)
        key.day[0] = '\0';
    for (size_t i = 0; i < sums->day_count; i++)
        if (by_day(&sums->days[i], &key) == 0) return &sums->days[i];
    if (sums->day_count == sums->day_room) {
        size_t room = sums->day_room * 2 + 8;
        receipt_day *grown = realloc(sums->days, room * sizeof *grown);
        if (!grown) return NULL;
        sums->days = grown;
        sums->day_room = room;
    }
    sums->days[sums->day_count] = key;
    return &sums->days[sums->day_count++];
}

static bool cost_of(const cJSON *compute, uint64_t *out_micro) {
    double usd = 0;
    if (kit_json_get_u64(compute, "cost_micro_usd", out_micro)) return true;
    if (!kit_json_get_number(compute, "cost_usd", &usd) || usd < 0 || usd >= 1e9) return false;
    *out_micro = (uint64_t)llround(usd * 1e6);
    return true;
}

static bool add_compute(receipt_totals *sums, const cJSON *compute, bool dated, int64_t when) {
    uint64_t ms = 0, micro = 0;
    bool known = cost_of(compute, &micro);
    receipt_day *day = day_of(sums, compute, dated, when);
    if (!day) return false;
    sums->jobs++;
    day->jobs++;
    if (kit_json_get_u64(compute, "wall_duration_ms", &ms)) sums->wall_ms += ms;
    sums->cost_micro_usd += known ? micro : 0;
    day->cost_micro_usd += known ? micro : 0;
    sums->unknown_cost += known ? 0 : 1;
    day->unknown_cost += known ? 0 : 1;
    return true;
}

/* Adds a line of the chain: a DSSE envelope whose payload is an in-toto Statement. Others are ignored. Fails only if
 * out of memory: a sum without a line would be wrong. */
static kit_status add_receipt(receipt_totals *sums, int64_t since, const char *text, size_t length, kolm_error_t *err) {
    cJSON *envelope = NULL, *statement = NULL;
    kit_buf payload = {0};
    const char *encoded = NULL;
    int64_t when = 0;
    kit_status status = kit_json_parse(text, length, &envelope, err);
    if (status == KOLM_OK && !kit_json_get_string(envelope, "payload", &encoded)) status = KOLM_E_INVALID_ARGUMENT;
    if (status == KOLM_OK) status = kit_base64_decode(&payload, encoded, strlen(encoded), err);
    if (status == KOLM_OK) status = kit_json_parse(kit_buf_text(&payload), payload.length, &statement, err);
    if (status != KOLM_OK) {
        if (status == KOLM_E_RESOURCE_EXHAUSTED) goto out;
        status = KOLM_OK;
        sums->unreadable++;
        goto out;
    }
    const cJSON *predicate = kit_json_get(statement, "predicate");
    const cJSON *compute = kit_json_get(kit_json_get(predicate, "metrics"), "compute");
    if (!cJSON_IsObject(compute)) goto out;
    bool dated = receipt_time(predicate, &when) || receipt_time(compute, &when);
    if (since != INT64_MIN && (!dated || when < since)) goto out;
    if (!add_compute(sums, compute, dated, when)) status = kit_no_memory(err);
out:
    kit_buf_free(&payload);
    cJSON_Delete(statement);
    cJSON_Delete(envelope);
    return status;
}

kit_status receipt_totals_read(const char *path, int64_t since, const volatile sig_atomic_t *stop,
                               receipt_totals *out_totals, kolm_error_t *err) {
    kit_lines *lines = NULL;
    const char *line = NULL;
    size_t length = 0;
    struct stat info;
    int fd = -1;
    kit_status status = KOLM_OK;
    *out_totals = (receipt_totals){0};
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* do not wait for a writer if it is a FIFO */
    if (fd < 0) {
        if (errno != ENOENT && errno != ENOTDIR) status = kit_fail_errno(err, errno, "cannot open %s", path);
        goto out;
    }
    if (fstat(fd, &info) != 0)
        status = kit_fail_errno(err, errno, "cannot access %s", path);
    else if (!S_ISREG(info.st_mode))
        status = kit_fail(err, KOLM_E_INVALID_ARGUMENT, "move it away", "%s is not a regular file", path);
    if (status == KOLM_OK) status = kit_lines_open(fd, RECEIPT_LINE_MAX, &lines, err);
    while (status == KOLM_OK) {
        status = kit_lines_next(lines, &line, &length, err);
        if (status == KOLM_OK && *stop != 0) status = kit_fail(err, KOLM_E_CANCELLED, "", "interrupted");
        if (status != KOLM_OK) kit_fail_context(err, "%s", path);
        if (status != KOLM_OK || !line) break;
        if (length > 0) status = add_receipt(out_totals, since, line, length, err);
    }
    if (out_totals->day_count > 1) qsort(out_totals->days, out_totals->day_count, sizeof(receipt_day), by_day);
out:
    kit_lines_close(lines);
    if (fd >= 0) close(fd);
    return status;
}

void receipt_totals_free(receipt_totals *totals) {
    free(totals->days);
    *totals = (receipt_totals){0};
}
