/* SPDX-License-Identifier: Apache-2.0 */
/* Parses a journal: each complete line independently of the others. */
#include "host/protocol.h"
#include "kolm/kit/text.h"
#include "lease/internal.h"

#include <stdlib.h>
#include <string.h>

lease_entry *lease_list_add(lease_list *list) {
    if (list->count == list->room) {
        size_t room = list->room * 2 + 4;
        lease_entry *grown = realloc(list->at, room * sizeof *grown);
        if (!grown) return NULL;
        list->at = grown;
        list->room = room;
    }
    lease_entry *entry = &list->at[list->count++];
    memset(entry, 0, sizeof *entry);
    entry->price_micro_usd_per_hour = entry->billed_micro_usd = UINT64_MAX;
    return entry;
}

void lease_list_free(lease_list *list) {
    free(list->at);
    *list = (lease_list){0};
}

kit_status lease_list_join(lease_list *list, lease_list *from, kolm_error_t *err) {
    bool good = true;
    for (size_t i = 0; good && i < from->count; i++) {
        lease_entry *entry = lease_list_add(list);
        good = entry != NULL;
        if (entry) *entry = from->at[i];
    }
    lease_list_free(from);
    return good ? KOLM_OK : kit_no_memory(err);
}

size_t lease_list_open(const lease_list *list) {
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++)
        n += list->at[i].state != LEASE_GONE;
    return n;
}

bool lease_list_billed(const lease_list *list, uint64_t *out_micro_usd) {
    uint64_t sum = 0;
    bool known = true;
    for (size_t i = 0; i < list->count; i++) {
        uint64_t billed = list->at[i].billed_micro_usd;
        if (list->at[i].state != LEASE_GONE || billed > INT64_MAX)
            known = false;
        else
            sum = sum > INT64_MAX - billed ? INT64_MAX : sum + billed;
    }
    *out_micro_usd = sum;
    return known;
}

/* ---- One journal */

static bool is_text(const char *text, size_t most) {
    size_t n = strlen(text);
    return n <= most && kit_text_is_plain(text, n);
}

typedef struct reading {
    lease_list *list;
    size_t from; /* entries before it are of other journals */
    const char *id;
    char backend[33], job[64], boot[LEASE_BOOT_BYTES];
    uint64_t line;
    bool full;   /* it has the entry that stands for all further ones */
    bool failed; /* out of memory */
} reading;

/* "acme" of "acme-0123456789abcdef". */
static void backend_of(const char *id, char out[33]) {
    const char *dash = strrchr(id, '-');
    size_t n = dash ? (size_t)(dash - id) : strlen(id);
    kit_format(out, 33, "%.*s", (int)(n < 32 ? n : 32), id);
}

/* NULL: out of memory, or too many, for which there is one damaged entry. */
static lease_entry *add(reading *r) {
    if (r->full) return NULL;
    lease_entry *entry = lease_list_add(r->list);
    if (!entry) {
        r->failed = true;
        return NULL;
    }
    kit_copy(entry->journal, sizeof entry->journal, r->id);
    kit_copy(entry->backend, sizeof entry->backend, r->backend);
    kit_copy(entry->job, sizeof entry->job, r->job);
    kit_copy(entry->boot, sizeof entry->boot, r->boot);
    r->full = r->list->count - r->from == LEASE_ENTRIES_MAX;
    if (!r->full) return entry;
    entry->state = LEASE_DAMAGED;
    return NULL;
}

static lease_entry *find(const reading *r, const char *name) {
    for (size_t i = r->from; i < r->list->count; i++)
        if (r->list->at[i].state != LEASE_DAMAGED && strcmp(r->list->at[i].name, name) == 0) return &r->list->at[i];
    return NULL;
}

static void damaged(reading *r) {
    lease_entry *entry = add(r);
    if (!entry) return;
    entry->state = LEASE_DAMAGED;
    entry->line = r->line;
}

static void forget(reading *r, const host_lease_line *line) {
    char number[24];
    for (size_t i = r->from; i < r->list->count; i++) {
        lease_entry *entry = &r->list->at[i];
        kit_format(number, sizeof number, "%llu", (unsigned long long)entry->line);
        if (entry->state == LEASE_DAMAGED && strcmp(number, line->handle) == 0) {
            entry->state = LEASE_GONE;
            entry->gone_ms = line->at_ms;
            return;
        }
    }
}

/* A later event of the same name updates the entry. */
static bool take_event(reading *r, const host_lease_line *line, uint64_t up_ms) {
    const bool intent = strcmp(line->event, "intent") == 0, handle = strcmp(line->event, "handle") == 0,
               gone = strcmp(line->event, "gone") == 0;
    if (strcmp(line->event, "forget") == 0) {
        forget(r, line);
        return true;
    }
    if ((!intent && !handle && !gone) || !line->name[0] || !is_text(line->name, KOLM_LEASE_NAME_BYTES_MAX) ||
        !is_text(line->handle, KOLM_LEASE_HANDLE_BYTES_MAX) || !is_text(line->kind, KOLM_LEASE_KIND_BYTES_MAX) ||
        !is_text(line->place, KOLM_LEASE_PLACE_BYTES_MAX) || !is_text(line->note, KOLM_LEASE_NOTE_BYTES_MAX))
        return false;
    lease_entry *entry = find(r, line->name);
    if (!entry) entry = add(r);
    if (!entry) return true;
    kit_copy(entry->name, sizeof entry->name, line->name);
    if (line->handle[0]) kit_copy(entry->handle, sizeof entry->handle, line->handle);
    if (line->kind[0]) kit_copy(entry->kind, sizeof entry->kind, line->kind);
    if (line->place[0]) kit_copy(entry->place, sizeof entry->place, line->place);
    if (line->note[0]) kit_copy(entry->note, sizeof entry->note, line->note);
    if (line->price_micro_usd_per_hour <= INT64_MAX) entry->price_micro_usd_per_hour = line->price_micro_usd_per_hour;
    if (!entry->begun_ms) entry->begun_ms = line->at_ms;
    if (!gone) entry->made_ms = line->at_ms, entry->up_ms = up_ms;
    if (gone && entry->state == LEASE_OPEN) {
        entry->state = LEASE_GONE;
        entry->gone_ms = line->at_ms;
        entry->billed_micro_usd = line->billed_micro_usd <= INT64_MAX ? line->billed_micro_usd : UINT64_MAX;
    }
    return true;
}

static uint64_t up_of(const cJSON *json) {
    const char *text = NULL;
    uint64_t up_ms = 0;
    return kit_json_get_string(json, HOST_LEASE_UP, &text) && kit_parse_u64(text, &up_ms) ? up_ms : 0;
}

/* The first line, which kolm writes itself. */
static bool take_head(reading *r, const cJSON *json) {
    uint64_t version = 0;
    const char *job = NULL, *boot = "";
    if (!kit_json_get_u64(json, "journal", &version) || version != 1 || !kit_json_get_string(json, "job", &job))
        return false;
    if (is_text(job, sizeof r->job - 1)) kit_copy(r->job, sizeof r->job, job);
    (void)kit_json_get_string(json, "boot", &boot); /* missing in journals of older kolms */
    if (is_text(boot, sizeof r->boot - 1)) kit_copy(r->boot, sizeof r->boot, boot);
    return true;
}

static void take_line(reading *r, const char *text, size_t length) {
    cJSON *json = NULL;
    host_lease_line line;
    r->line++;
    if (length == 0) return;
    bool good = length <= LEASE_LINE_MAX;
    if (good) {
        kit_status status = kit_json_parse(text, length, &json, NULL);
        r->failed = r->failed || status == KOLM_E_RESOURCE_EXHAUSTED;
        good = status == KOLM_OK;
    }
    if (good && !(r->line == 1 && take_head(r, json)))
        good = host_read_lease_line(json, &line) && take_event(r, &line, up_of(json));
    if (!good && r->line > 1) damaged(r);
    cJSON_Delete(json);
}

kit_status lease_read(const char *bytes, size_t length, const char *id, lease_list *list, size_t *out_whole,
                      kolm_error_t *err) {
    reading r = {.list = list, .from = list->count, .id = id};
    size_t from = 0;
    backend_of(id, r.backend);
    while (from < length && !r.failed) {
        const char *lf = memchr(bytes + from, '\n', length - from);
        if (!lf) break;
        take_line(&r, bytes + from, (size_t)(lf - (bytes + from)));
        from = (size_t)(lf - bytes) + 1;
    }
    if (out_whole) {
        const char *last = length > 0 ? memrchr(bytes, '\n', length) : NULL;
        *out_whole = last ? (size_t)(last - bytes) + 1 : 0;
    }
    return r.failed ? kit_no_memory(err) : KOLM_OK;
}
