/* SPDX-License-Identifier: Apache-2.0 */
/* Prints leases. */
#include "cli/lease_text.h"

#include "cli/output.h"

#include <time.h>

static void name_of(const lease_entry *e, char *out, size_t capacity) {
    if (e->name[0])
        kit_format(out, capacity, "%s%s%s%s", e->name, e->handle[0] ? " (" : "", e->handle, e->handle[0] ? ")" : "");
    else
        kit_format(out, capacity, "%s:%llu (a line that is damaged)", e->journal, (unsigned long long)e->line);
}

void cli_lease_print(cli_context *context, const lease_entry *e, const char *state) {
    char name[300], age[32] = "", price[48] = "", usd[32];
    uint64_t now = (uint64_t)time(NULL) * 1000;
    name_of(e, name, sizeof name);
    if (e->begun_ms > 0 && now > e->begun_ms) session_duration(age, sizeof age, now - e->begun_ms);
    if (e->price_micro_usd_per_hour <= INT64_MAX && e->price_micro_usd_per_hour > 0)
        kit_format(price, sizeof price, "%s an hour", session_usd(usd, sizeof usd, e->price_micro_usd_per_hour));
    cli_print(context, "  %-12s %-9s ", cli_safe(e->backend), e->kind[0] ? cli_safe(e->kind) : "?");
    cli_print(context, "%s", cli_safe(name));
    cli_print(context, "  %s", cli_safe(e->place));
    cli_print(context, "  %s%s%s  %s", age, price[0] ? "  " : "", price, state);
    cli_print(context, "%s%s\n", e->note[0] ? "  " : "", cli_safe(e->note));
}

static bool put_micro(cJSON *object, const char *key, uint64_t micro) {
    return micro >= KIT_JSON_MICRO_LIMIT ? kit_json_put_null(object, key)
                                         : kit_json_put(object, key, kit_json_micro(micro));
}

static bool put_time(cJSON *object, const char *key, uint64_t ms) {
    return ms > 0 ? kit_json_put_u64(object, key, ms / 1000) : kit_json_put_null(object, key);
}

cJSON *cli_lease_json(const lease_entry *e, const char *state) {
    cJSON *row = cJSON_CreateObject();
    bool good = kit_json_put_string(row, "backend", e->backend) &&
                kit_json_put_string(row, "name", e->name[0] ? e->name : NULL) &&
                kit_json_put_string(row, "handle", e->handle[0] ? e->handle : NULL) &&
                kit_json_put_string(row, "kind", e->kind) && kit_json_put_string(row, "place", e->place) &&
                kit_json_put_string(row, "note", e->note) && kit_json_put_string(row, "state", state) &&
                kit_json_put_string(row, "journal", e->journal) &&
                (e->state == LEASE_DAMAGED ? kit_json_put_u64(row, "line", e->line) : kit_json_put_null(row, "line")) &&
                kit_json_put_string(row, "job", e->job[0] ? e->job : NULL) && put_time(row, "begun", e->begun_ms) &&
                put_micro(row, "cost_per_hour_usd", e->price_micro_usd_per_hour) &&
                put_micro(row, "billed_usd", e->billed_micro_usd);
    return cli_whole(row, good);
}
