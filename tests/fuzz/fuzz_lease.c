/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: a journal of leases. For any content, all texts that are read can be shown, and a complete line never
 * removes what another records. */
#include "fuzz.h"
#include "kolm/kit/text.h"
#include "lease/lease.h"

#include <string.h>

static void check(const lease_entry *e) {
    const char *const texts[] = {e->journal, e->backend, e->job, e->name, e->handle, e->kind, e->place, e->note};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        must(kit_text_is_plain(texts[i], strlen(texts[i])));
    must((e->state == LEASE_DAMAGED) == (e->name[0] == '\0') || e->state == LEASE_GONE);
    must(e->billed_micro_usd <= INT64_MAX || e->billed_micro_usd == UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char more[] = "\n{\"at\":\"1\",\"event\":\"intent\",\"price\":\"1\",\"billed\":\"0\",\"name\":\"fuzz-"
                               "its-own\",\"handle\":\"\","
                               "\"kind\":\"job\",\"place\":\"x\",\"note\":\"\"}\n";
    lease_list list = {0}, longer = {0};
    kolm_error_t err = KIT_ERROR_INIT;
    size_t whole = 0;
    kit_buf text = {0};
    kit_buf_add(&text, data, size);
    must(lease_read(kit_buf_text(&text), text.length, "vast-0123456789abcdef", &list, &whole, &err) == KOLM_OK);
    must(whole <= size && (whole == 0 || data[whole - 1] == '\n'));
    for (size_t i = 0; i < list.count; i++)
        check(&list.at[i]);
    /* One more lease adds one entry, whatever precedes it. */
    text.length = whole;
    kit_buf_str(&text, more);
    must(lease_read(kit_buf_text(&text), text.length, "vast-0123456789abcdef", &longer, NULL, &err) == KOLM_OK);
    bool there = false;
    for (size_t i = 0; i < longer.count; i++)
        there = there || strcmp(longer.at[i].name, "fuzz-its-own") == 0;
    must((there || list.count >= LEASE_ENTRIES_MAX - 1) && longer.count >= list.count);
    lease_list_free(&list);
    lease_list_free(&longer);
    kit_buf_free(&text);
    return 0;
}
